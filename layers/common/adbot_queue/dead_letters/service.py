"""What a person does about dead letters one by one: look at them, replay one, discard one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import TRANSACTION_LIMIT, TransactionConflict, TransactionRejected
from adbot_queue.core.errors import Conflict, NotFound
from adbot_queue.core.settings import settings
from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.dead_letters.pages import DeadLetterPages
from adbot_queue.dead_letters.store import COUNTED_PAGE_SIZE, MAX_COUNTED, IndexEntry
from adbot_queue.jobs import service
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.lifecycle import Lifecycle, edited
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.service import JobService, TimeLeft
from adbot_queue.ledger import Actor, LedgerEntry

MAX_GROUPS = 100
HOURS = 24
HOUR_MS = 3_600_000

MAX_DISCARDED = 1_000
"""Dead letters that one request discards."""

DISCARD_PAGE_SIZE = TRANSACTION_LIMIT // 2
"""Each is two items: the job, the ledger entry."""

RESERVE_MS = 3_000
"""Time left of a request at which it stops discarding."""


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters with the same fingerprint.

    Attributes:
        count: how many there are among those looked at.
        first_at: when the first of them died, in ms.
        last_at: when the last of them died, in ms.
        latest: the job that died last.
        failure: of the last one; None after a decision in the meantime.
        hours: how many died in each of the last `HOURS`, the running one last.
    """

    fingerprint: str
    queue: str
    type: str
    count: int
    first_at: int
    last_at: int
    latest: str
    failure: Failure | None
    hours: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Discarded:
    """How many dead letters matched (counted up to `MAX_DISCARDED`), how many are discarded, and whether more match.

    `cut_off`: all of them died before this moment (ms); with the count it means the same dead letters.
    """

    count: int
    discarded: int
    more: bool
    cut_off: int


class DeadLetters:
    """Everything that is done about dead letters one by one."""

    def __init__(self, jobs: JobService, store: DeadLetterPages, now: Clock = system_clock) -> None:
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

    def groups(self, wanted: DeadLetterFilter, max_counted: int = MAX_COUNTED) -> tuple[list[Group], bool]:
        """Return groups by fingerprint, the largest first, and whether all dead letters that match were counted.

        Looks at the newest `letter_store.MAX_COUNTED` at most.
        """
        entries, complete = self.store.counted(wanted, max_counted)
        grouped: dict[str, list[IndexEntry]] = {}
        for entry in entries:
            grouped.setdefault(entry.fingerprint, []).append(entry)
        largest = sorted(grouped.values(), key=len, reverse=True)[:MAX_GROUPS]
        latest = self.store.rows([members[0] for members in largest])
        now = self._now()
        return [_group(members, latest.get(members[0].job_id), now) for members in largest], complete

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
            return job.restarted(self._now(), None if payload is None else edited(job, payload))

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

    def count_discards(self, wanted: DeadLetterFilter) -> Discarded:
        """Count the dead letters that match now: the dry run of `discard_many`."""
        cut_off = self._now()
        found, more = self._oldest(wanted.before(cut_off))
        return Discarded(len(found), 0, more, cut_off)

    def discard_many(
        self,
        wanted: DeadLetterFilter,
        confirm: int,
        cut_off: int,
        actor: Actor,
        reason: str,
        time_left: TimeLeft,
        admit: Callable[[int], None] | None = None,
    ) -> Discarded:
        """Discard the dead letters that a person has counted.

        Each transaction discards some and signs for each of them: a request that dies halfway has discarded those that
        the ledger names.

        Args:
            wanted: which.
            confirm: the dry run's count.
            cut_off: the dry run's: what died later stays.
            actor: who decides.
            reason: why.
            time_left: milliseconds of the request.
            admit: refuses a number of discards by raising an error; asked before the first of them.

        Raises:
            Conflict: another number matches; `count` says how many, nothing was discarded.
        """
        found, more = self._oldest(wanted.before(cut_off))
        if len(found) != confirm:
            raise Conflict(f"{len(found)} dead letters match, not {confirm}", count=len(found))
        if admit:
            admit(len(found))
        number = 0
        for start in range(0, len(found), DISCARD_PAGE_SIZE):
            if time_left() < RESERVE_MS:
                more = True
                break
            number += self._discard(found[start : start + DISCARD_PAGE_SIZE], actor, reason)
        return Discarded(len(found), number, more, cut_off)

    def _oldest(self, wanted: DeadLetterFilter) -> tuple[list[IndexEntry], bool]:
        """The oldest that match, at most `MAX_DISCARDED`, and whether more follow."""
        found: list[IndexEntry] = []
        cursor: str | None = None
        for _ in range(MAX_COUNTED // COUNTED_PAGE_SIZE):
            page, cursor = self.store.entries(wanted, COUNTED_PAGE_SIZE, cursor, forward=True)
            found += page
            if cursor is None or len(found) > MAX_DISCARDED:
                break
        return found[:MAX_DISCARDED], cursor is not None or len(found) > MAX_DISCARDED

    def _discard(self, entries: list[IndexEntry], actor: Actor, reason: str) -> int:
        """Discard some in one transaction; one by one if a row has changed meanwhile."""
        rows = [row for row in self.store.rows(entries).values() if row.is_dead_letter]
        transaction = self._jobs.store.transaction()
        for row in rows:
            self._jobs.store.add_change(transaction, row, row.discarded(self._now()))
            before, after = {"state": row.state.value}, {"state": row.state.value}
            entry = LedgerEntry(actor, "dead-letter.discard", f"job:{row.id}", before, after, reason)
            self._jobs.ledger.sign(transaction, entry)
        try:
            if rows:
                transaction.commit()
        except (TransactionRejected, TransactionConflict):
            return sum(self._try_discard(row.id, actor, reason) for row in rows)
        return len(rows)

    def _try_discard(self, job_id: str, actor: Actor, reason: str) -> bool:
        try:
            self.discard(job_id, actor, reason)
        except (Conflict, NotFound):
            return False
        return True


def _must_be_a_dead_letter(job: Job) -> None:
    if not job.is_dead_letter:
        state = job.decision or job.state.value
        raise Conflict(f"job {job.id} is not a dead letter: it is {state}", state=state)


def _group(members: list[IndexEntry], latest: Job | None, now: int) -> Group:
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
        _hours(members, now),
    )


def _hours(members: list[IndexEntry], now: int) -> tuple[int, ...]:
    ages = Counter((now - entry.died_at) // HOUR_MS for entry in members)
    return tuple(ages[age] for age in range(HOURS - 1, -1, -1))


def from_env(now: Clock = system_clock) -> DeadLetters:
    """The dead letters of this process; `now` dates its decisions."""
    return DeadLetters(service.from_env(), DeadLetterPages(aws.dynamodb(), settings().jobs_table), now)
