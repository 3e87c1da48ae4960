"""Replays of many dead letters as a person sees them: counted, started, watched, cancelled.

A replay is a long-running job, `dead_letters/jobs/replay_dead_letters.py`; its id is the job's.
"""

from __future__ import annotations

from dataclasses import dataclass

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import TransactionRejected
from adbot_queue.core.errors import Conflict, Invalid, NotFound
from adbot_queue.core.idempotency import TAG, IdempotencyRecord, key_of
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.core.settings import settings
from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.dead_letters.store import DeadLetterStore
from adbot_queue.jobs import job_types, service
from adbot_queue.jobs.lifecycle import Lifecycle
from adbot_queue.jobs.long_running import Progress
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.service import JobService, TimeLeft
from adbot_queue.jobs.store.items import item_of
from adbot_queue.ledger import Actor, Ledger, LedgerEntry

TYPE = "replay-dead-letters"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a replay would go through.

    Attributes:
        count: dead letters; `is_exact` is false if there are more than are counted.
        cut_off: those that died before this (ms).
    """

    count: int
    is_exact: bool
    cut_off: int


@dataclass(frozen=True, slots=True)
class Started:
    """The job of a replay; `repeated` if the Idempotency-Key had started it before."""

    job: Job
    repeated: bool = False


class Replays:
    """Everything that a person does about replays of many dead letters."""

    def __init__(self, jobs: JobService, letters: DeadLetterStore, ledger: Ledger, now: Clock = system_clock) -> None:
        self._jobs = jobs
        self._letters = letters
        self._ledger = ledger
        self._now = now

    def preview(self, wanted: DeadLetterFilter, cut_off: int | None = None) -> Preview:
        """Count the dead letters that a replay would go through: those that died before the cut-off (ms), or now."""
        cut_off = min(self._now(), cut_off or self._now())
        entries, is_exact = self._letters.counted(wanted.before(cut_off))
        return Preview(len(entries), is_exact, cut_off)

    def start(
        self,
        wanted: DeadLetterFilter,
        rate: float,
        reason: str,
        actor: Actor,
        *,
        canary: bool = False,
        confirmed: Preview | None = None,
        key: str | None = None,
        fingerprint: str = "",
        time_left: TimeLeft | None = None,
    ) -> Started:
        """Begin a replay of what is dead now.

        Items: the job, the ledger entry, the key (refuses if it was used).

        Args:
            wanted: which dead letters.
            rate: dead letters per second, at most.
            reason: why.
            actor: who; signs for every dead letter.
            canary: replay one first, and go on when it has completed.
            confirmed: what the dry run counted, and its cut-off; may be left out where at most one matches.
            key: idempotency key.
            fingerprint: of the request, to tell it from another one under the same key.
            time_left: as `JobService.enqueue`.

        Raises:
            Conflict: not as many match as were confirmed.
            Invalid: more than one matches, and none was confirmed.
            IdempotencyMismatch: the key began another replay.
            NotFound: the key began a replay that has been deleted.
        """
        now, store, job_type = self._now(), self._jobs.store, job_types.find(TYPE)
        record = None
        if key:
            until = now + job_type.window_s * 1000
            record = IdempotencyRecord(key_of("replay.start", actor.id, key), fingerprint, until)
            if duplicate := record.find(store.client, store.table, now):
                return Started(self.show(duplicate.checked()), repeated=True)
        found = self.preview(wanted, confirmed.cut_off if confirmed else None)
        if confirmed and confirmed.count != found.count:
            raise Conflict(f"confirm: {found.count} dead letters match, not {confirmed.count}", count=found.count)
        if confirmed is None and found.count > 1:
            text = f"required: {found.count} dead letters match; send count and cut_off of the dry run"
            raise Invalid.field("confirm", text)
        job_id = f"rep_{time_ordered_id(now)}"
        chosen = {name: value for name in DeadLetterFilter.__slots__ if (value := getattr(wanted, name))}
        if wanted.job_ids:
            chosen["job_ids"] = list(wanted.job_ids)
        payload = {
            "filter": chosen,
            "rate_per_second": rate,
            "canary": canary,
            "cut_off": found.cut_off,
            "count": found.count,
            "count_is_exact": found.is_exact,
            "reason": reason,
            "started_by": {"id": actor.id, "role": actor.role, "request_id": actor.request_id},
        }
        begun = Progress(of=found.count if found.is_exact else None, cut_off=found.cut_off).stored()
        new = Job(job_id, TYPE, job_type.queue, payload, now, tenant=actor.id, long_running=True, checkpoint=begun)
        job = new.waiting(now)
        transaction = store.transaction().create("job", store.table, item_of(job))
        after = {"filter": chosen, "rate": repr(rate), "letters": found.count}
        self._ledger.sign(transaction, LedgerEntry(actor, "replay.start", f"job:{job_id}", after=after, reason=reason))
        if record:
            record.add(transaction, store.table, job_id, now)
        try:
            transaction.commit()
        except TransactionRejected as refused:
            if record and (stored := refused.failed.get(TAG)):
                return Started(self.show(record.duplicate_of(stored).checked()), repeated=True)
            if "job" not in refused.failed:  # its id is unique: the answer was lost, and the client sent it again
                raise
        self._jobs.dispatch([job], time_left)
        return Started(job)

    def show(self, job_id: str) -> Job:
        """Return a replay.

        Raises:
            NotFound: there is none.
        """
        found = self._jobs.store.get(job_id)
        if found is None or found.type != TYPE:
            raise NotFound(f"there is no replay {job_id}")
        return found

    def cancel(self, job_id: str, actor: Actor, reason: str = "") -> Job:
        """Stop before the next dead letters. Cancelling twice changes nothing.

        Raises:
            NotFound: there is none.
            Conflict: it has ended otherwise.
        """
        return Lifecycle(self._jobs).cancel(self.show(job_id).id, actor, reason)


def canary_of(replay: Job) -> str | None:
    """Return the job that must complete before a replay goes on; None: it waits for none."""
    cursor = Progress.read(replay.checkpoint).cursor
    return cursor[2] if cursor and not replay.is_terminal else None


def from_env() -> Replays:
    """The replays of this process."""
    letters = DeadLetterStore(aws.dynamodb(), settings().jobs_table)
    return Replays(service.from_env(), letters, ledgers.from_env())
