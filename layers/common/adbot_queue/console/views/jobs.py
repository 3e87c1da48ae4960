"""One job: its page, its drawer in every list, and what a person does about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from http import HTTPStatus
from typing import Any

from adbot_queue import ledger
from adbot_queue.console import job_words
from adbot_queue.console.job_words import Span, Why
from adbot_queue.console.request import Done, Page, Reply, Undo, Visit
from adbot_queue.core import strict_json
from adbot_queue.core.errors import Conflict, Invalid, NotFound
from adbot_queue.core.strict_json import NotJson
from adbot_queue.jobs import lifecycle, service
from adbot_queue.jobs.api.progress import ProgressView
from adbot_queue.jobs.enqueue import owner_check
from adbot_queue.jobs.masking import masked
from adbot_queue.jobs.model import RETRYABLE, Attempt, Job, JobState
from adbot_queue.ledger import search
from adbot_queue.messaging import sent_messages
from adbot_queue.messaging import service as messaging

MAX_REASON = 500
CONTEXT = 3
"""Lines around a change that a diff shows."""

MAX_ACTS = 10
"""Changes by people that a job shows."""

TEXTS = frozenset({"codes", "messages"})
"""Queues whose jobs send texts; those of `email` send mails."""

NOT_DELIVERED = frozenset({"dropped", "blocked", "bounced", "reported", "undelivered", "failed", "canceled"})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Sent:
    """A message that a job sent, and how far it is. `at` is in ms."""

    message_id: str
    channel: str
    status: str
    reason: str
    at: int

    @property
    def is_bad(self) -> bool:
        """Whether it will not arrive."""
        return self.status in NOT_DELIVERED


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
    deliveries: list[Sent]
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
        result="" if job.result is None else pretty(masked(job.result)),
        progress=ProgressView.of_job(job),
        deliveries=_deliveries(job),
        acts=list(acts),
        max_attempts=job_words.max_attempts(job),
        close=close,
    )


def _deliveries(job: Job) -> list[Sent]:
    """Read what became of a job's messages: one read for mails, three at most for a text."""
    if job.queue == "email":
        found = messaging.from_env().of_job(job.id)
        return [
            Sent(one.message_id, one.channel, one.furthest.status.value, one.furthest.reason, one.furthest.at)
            for one in found
        ]
    if job.queue not in TEXTS:
        return []
    try:
        text = sent_messages.from_env().delivery(job.provider_key)
    except NotFound:
        return []
    reason = f"error {text.error_code}" if text.error_code else ""
    return [Sent(text.sid, "phone", text.state, reason, text.changed_at)]


def opened(visit: Visit) -> Details | None:
    """Return the job that the drawer of a list shows; None: no drawer is open."""
    return details(visit, visit.opened, visit.here(job=None)) if visit.opened else None


def show(visit: Visit) -> Reply:
    """One job."""
    found = details(visit, visit.params["id"], "/console/queues")
    return Page("job.html", found.job.type, {"opened": found})


def retry(visit: Visit) -> Reply:
    """Run an ended job again, with the payload of the form if it has one."""
    typed = visit.form.get("payload")
    payload = None if typed is None else parsed(typed)
    reason, job_id = reason_of(visit), visit.params["id"]
    before = service.from_env().job(job_id)
    owner_check.check(visit.caller, before.type, before.payload if payload is None else payload)
    job = lifecycle.from_env().retry(job_id, visit.actor, reason, payload=payload, time_left=visit.time_left)
    now = "" if job.state is JobState.WAITING else f" It is {job.state.value} now."
    with_it = " with the edited payload" if payload is not None else ""
    page = f"/console/jobs/{job.id}"
    return Done(
        f"{job.type} {job.id[-6:]} runs again{with_it}.{now}", None, page, page if payload is not None else None
    )


def edit(visit: Visit) -> Reply:
    """The payload of an ended job in a form; a refresh also shows that it runs again by now."""
    job = service.from_env().job(visit.params["id"]) if visit.is_tick else _ended(visit)
    return _editor(job, pretty(masked(job.payload)))


def check(visit: Visit) -> Reply:
    """What a retry with the edited payload would change; it writes nothing, so it may be sent again."""
    job, text = _ended(visit), visit.form.get("payload", "")
    try:
        payload = parsed(text)
        lifecycle.edited(job, payload)
    except Invalid as wrong:
        return _editor(job, text, errors=[f"{one.field}: {one.message}" for one in wrong.errors])
    if not visit.caller.is_owner and (why := owner_check.needs_owner(job.type, payload)):
        return _editor(job, text, errors=[why])
    return _editor(job, text, diff=diff(pretty(masked(job.payload)), pretty(payload)))


def _editor(job: Job, text: str, errors: Sequence[str] = (), diff: list[tuple[str, str]] | None = None) -> Page:
    shown = {"job": job, "text": text, "errors": errors, "diff": diff, "max_attempts": job_words.max_attempts(job)}
    status = HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK
    return Page("job_edit.html", f"Edit {job.type}", shown, status=int(status))


def _ended(visit: Visit) -> Job:
    job = service.from_env().job(visit.params["id"])
    if job.state not in RETRYABLE:
        states = ", ".join(sorted(RETRYABLE))
        raise Conflict(f"job {job.id} is {job.state.value}; retried are {states}", state=job.state.value)
    return job


def parsed(text: str) -> dict[str, Any]:
    """Return a payload that a person typed.

    Raises:
        Invalid: it is no JSON object; says where it stops to be one.
    """
    try:
        found = strict_json.loads(text)
    except NotJson as wrong:
        raise Invalid.field("payload", f"must be JSON: {wrong.place(text)}") from wrong
    if not isinstance(found, dict):
        raise Invalid.field("payload", "must be a JSON object")
    return found


def diff(before: str, after: str) -> list[tuple[str, str]]:
    """Return the lines of an edited text, each with `del`, `ins` or `same`; what is far from a change is left out."""
    if before == after:
        return []
    kinds = {"-": "del", "+": "ins", " ": "same", "@": "same"}
    lines = list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=CONTEXT))[2:]
    return [(kinds[line[0]], "…" if line.startswith("@@") else line) for line in lines][1:]


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
