"""One job: its page, its drawer in every list, and what a person does about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adbot_queue import ledger
from adbot_queue.console import job_words
from adbot_queue.console.job_words import Span, Why
from adbot_queue.console.request import Done, Page, Reply, Undo, Visit
from adbot_queue.core.errors import Invalid
from adbot_queue.jobs import lifecycle, service
from adbot_queue.jobs.api.progress import ProgressView
from adbot_queue.jobs.enqueue import owner_check
from adbot_queue.jobs.masking import masked
from adbot_queue.jobs.model import RETRYABLE, Attempt, Job, JobState
from adbot_queue.ledger import search
from adbot_queue.messaging import service as messaging
from adbot_queue.messaging.model import Delivery

MAX_REASON = 500
MAX_ACTS = 10
"""Changes by people that a job shows."""

SENDING = frozenset({"email", "codes", "messages", "accounts"})
"""Queues whose jobs send messages: only theirs are asked for deliveries."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Details:
    """What a job's page and drawer show.

    Attributes:
        close: where the drawer leads when it is closed.
        acts: what people did to the job, newest first.
    """

    job: Job
    why: Why
    spans: list[Span]
    payload: str
    result: str
    progress: ProgressView | None
    deliveries: list[Delivery]
    acts: list[Mapping[str, Any]]
    max_attempts: int
    close: str

    @property
    def attempts(self) -> list[tuple[Attempt, bool]]:
        """Its attempts, and whether each was spent."""
        return [(attempt, job_words.counts(attempt)) for attempt in self.job.attempts]

    @property
    def can_retry(self) -> bool:
        """Whether it has ended otherwise than well."""
        return self.job.state in RETRYABLE

    @property
    def can_cancel(self) -> bool:
        """Whether it has not ended."""
        return not self.job.is_terminal and not self.job.cancel_requested

    @property
    def shares(self) -> list[tuple[str, int, float, float]]:
        """The outcomes of long-running work: name, count, place and width in percent of the bar."""
        if self.progress is None or not self.progress.of:
            return []
        found, at = [], 0.0
        outcomes = self.progress.outcomes or {"done": self.progress.done}
        whole = max(self.progress.of, sum(outcomes.values()))
        for name, number in outcomes.items():
            found.append((name, number, round(at, 2), round(100 * number / whole, 2)))
            at += 100 * number / whole
        return found


def details(visit: Visit, job_id: str, close: str) -> Details:
    """Read a job for its page or drawer: at most three reads.

    Raises:
        NotFound: it does not exist.
    """
    job = service.from_env().job(job_id)
    acts, _ = search.read(
        ledger.from_env(),
        actor=None,
        action=None,
        target=f"job:{job.id}",
        since=None,
        until=None,
        limit=MAX_ACTS,
        cursor=None,
    )
    return Details(
        job=job,
        why=job_words.why(job, visit.snapshot.figures, visit.now),
        spans=job_words.waterfall(job, visit.now),
        payload=pretty(masked(job.payload)),
        result="" if job.result is None else pretty(job.result),
        progress=ProgressView.of_job(job),
        deliveries=messaging.from_env().of_job(job.id) if job.queue in SENDING else [],
        acts=list(acts),
        max_attempts=job_words.max_attempts(job),
        close=close,
    )


def opened(visit: Visit) -> Details | None:
    """Return the job that the drawer of a list shows; None: no drawer is open."""
    return details(visit, visit.opened, visit.here(job=None)) if visit.opened else None


def show(visit: Visit) -> Reply:
    """One job."""
    found = details(visit, visit.params["id"], "/console/queues")
    return Page("job.html", found.job.type, {"opened": found})


def retry(visit: Visit) -> Reply:
    """Run an ended job again."""
    job = again(visit, visit.params["id"], None)
    return Done(f"{job.type} {job.id[-6:]} runs again.{_now(job)}", back=f"/console/jobs/{job.id}")


def again(visit: Visit, job_id: str, payload: dict[str, Any] | None) -> Job:
    """Retry a job for the person, with another payload if one is given.

    Raises:
        NotFound, Conflict, Forbidden, Invalid: as `Lifecycle.retry` and `owner_check.check`.
    """
    reason = reason_of(visit)
    before = service.from_env().job(job_id)
    owner_check.check(visit.caller, before.type, before.payload if payload is None else payload)
    control = lifecycle.from_env()
    return control.retry(job_id, visit.actor, reason, payload=payload, time_left=visit.time_left)


def cancel(visit: Visit) -> Reply:
    """Cancel a job: at once, or at its next step if it runs."""
    job = lifecycle.from_env().cancel(visit.params["id"], visit.actor, reason_of(visit))
    page, name = f"/console/jobs/{job.id}", f"{job.type} {job.id[-6:]}"
    if not job.is_terminal:
        return Done(f"{name} stops at its next step.", back=page)
    return Done(f"Cancelled {name}.", Undo(f"{page}/retry", {"reason": "undone: cancelled by mistake"}), page)


def reason_of(visit: Visit) -> str:
    """Return the reason of a form.

    Raises:
        Invalid: there is none, or it is too long.
    """
    if not 1 <= len(visit.reason) <= MAX_REASON:
        raise Invalid.field("reason", f"must have 1 to {MAX_REASON} characters")
    return visit.reason


def pretty(value: Any) -> str:
    """Return JSON as people read it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _now(job: Job) -> str:
    return "" if job.state is JobState.WAITING else f" It is {job.state.value} now."
