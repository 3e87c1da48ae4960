"""What a person does about dead letters one by one: look at them, replay one, discard one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.errors import Conflict, NotFound
from adbot_queue.core.settings import settings
from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.dead_letters.store import DeadLetterStore, IndexEntry
from adbot_queue.jobs import job_types, service
from adbot_queue.jobs.enqueue.request import check_payload
from adbot_queue.jobs.lifecycle import Lifecycle
from adbot_queue.jobs.masking import unmasked
from adbot_queue.jobs.model import Failure, Job
from adbot_queue.jobs.service import JobService, TimeLeft
from adbot_queue.ledger import Actor

MAX_GROUPS = 100


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters with the same fingerprint.

    Attributes:
        count: how many there are among those looked at.
        first_at: when the first of them died, in ms.
        last_at: when the last of them died, in ms.
        latest: the job that died last.
        failure: of the last one; None after a decision in the meantime.
    """

    fingerprint: str
    queue: str
    type: str
    count: int
    first_at: int
    last_at: int
    latest: str
    failure: Failure | None


class DeadLetters:
    """Everything that is done about dead letters one by one."""

    def __init__(self, jobs: JobService, store: DeadLetterStore, now: Clock = system_clock) -> None:
        self._jobs = jobs
        self._lifecycle = Lifecycle(jobs)
        self.store = store
        self._now = now

    def page(self, wanted: DeadLetterFilter, limit: int, cursor: str | None) -> tuple[list[Job], str | None]:
        """Return dead letters, newest first, and the cursor of the next page.

        Raises:
            Invalid: the cursor is not of this list.
        """
        return self.store.page(wanted, limit, cursor)

    def groups(self, wanted: DeadLetterFilter) -> tuple[list[Group], bool]:
        """Return groups by fingerprint, the largest first, and whether all dead letters that match were counted.

        Looks at the newest `letter_store.MAX_COUNTED` at most.
        """
        entries, complete = self.store.counted(wanted)
        grouped: dict[str, list[IndexEntry]] = {}
        for entry in entries:
            grouped.setdefault(entry.fingerprint, []).append(entry)
        largest = sorted(grouped.values(), key=len, reverse=True)[:MAX_GROUPS]
        latest = self.store.rows([members[0] for members in largest])
        return [_group(members, latest.get(members[0].job_id)) for members in largest], complete

    def show(self, job_id: str) -> Job:
        """Return a dead letter, decided about or not.

        Raises:
            NotFound: there is no such job, or it is not a dead letter.
        """
        job = self._jobs.store.get(job_id)
        if job is None or (not job.is_dead_letter and job.decision is None):
            raise NotFound(f"there is no dead letter {job_id}")
        return job

    def replay(
        self,
        job_id: str,
        actor: Actor,
        reason: str = "",
        *,
        payload: dict[str, Any] | None = None,
        time_left: TimeLeft | None = None,
    ) -> Job:
        """Run a dead letter again, with another payload if one is given.

        Args:
            job_id: which.
            actor: who decides.
            reason: why.
            payload: checked like that of a new job.
            time_left: as `JobService.enqueue`.

        Raises:
            NotFound: there is no such job.
            Conflict: it is not a dead letter (any more), or another job has taken its derived key.
            Invalid: the payload breaks its type's rules.
            Unavailable: others keep changing it.
        """

        def again(job: Job) -> Job:
            _must_be_a_dead_letter(job)
            self._jobs.must_hold_its_key(job)
            whole = unmasked(payload, job.payload) if payload is not None else None
            if whole is not None:
                check_payload(job_types.find(job.type), whole, job)
            return job.restarted(self._now(), whole)

        job = self._lifecycle.change_as(job_id, "dead-letter.replay", again, actor, reason)
        return self._jobs.dispatch([job], time_left).get(job.id, job)

    def discard(self, job_id: str, actor: Actor, reason: str = "") -> Job:
        """Decide that a job stays dead; its row is kept for 90 days. Discarding twice changes nothing.

        Raises:
            NotFound: there is no such job.
            Conflict: it is not a dead letter (any more).
            Unavailable: others keep changing it.
        """

        def discarded(job: Job) -> Job | None:
            if job.decision == "discarded":
                return None
            _must_be_a_dead_letter(job)
            return job.discarded(self._now())

        return self._lifecycle.change_as(job_id, "dead-letter.discard", discarded, actor, reason)


def _must_be_a_dead_letter(job: Job) -> None:
    if not job.is_dead_letter:
        state = job.decision or job.state.value
        raise Conflict(f"job {job.id} is not a dead letter: it is {state}", state=state)


def _group(members: list[IndexEntry], latest: Job | None) -> Group:
    last, first = members[0], members[-1]
    return Group(
        last.fingerprint,
        last.queue,
        last.type,
        len(members),
        first.died_at,
        last.died_at,
        last.job_id,
        latest.failure if latest and latest.is_dead_letter else None,
    )


def from_env(now: Clock = system_clock) -> DeadLetters:
    """The dead letters of this process; `now` dates its decisions."""
    return DeadLetters(service.from_env(), DeadLetterStore(aws.dynamodb(), settings().jobs_table), now)
