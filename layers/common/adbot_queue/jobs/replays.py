"""Governed replays as a person sees them: started, watched, cancelled. `replay_slice` executes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import Contended, Refused
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotFound, Unavailable
from adbot_queue.core.ids import derived_id, time_ordered_id
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_types, service
from adbot_queue.jobs.items import item_of
from adbot_queue.jobs.letter_store import DeadLetterStore
from adbot_queue.jobs.letters import DeadLetterFilter
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.replay_model import Replay, ReplayState
from adbot_queue.jobs.replay_store import ReplayStore
from adbot_queue.jobs.service import JobService, TimeLeft
from adbot_queue.ledger import Actor, Ledger
from adbot_queue.ledger import Entry as Signed

RACES = 5


@dataclass(frozen=True, slots=True)
class Started:
    """A replay; `repeated` when the Idempotency-Key had started it before."""

    replay: Replay
    repeated: bool = False


class Replays:
    """Everything that a person does about governed replays."""

    def __init__(
        self,
        jobs: JobService,
        letters: DeadLetterStore,
        store: ReplayStore,
        ledger: Ledger,
        now: Clock = system_clock,
    ) -> None:
        self._jobs = jobs
        self._letters = letters
        self._store = store
        self._ledger = ledger
        self._now = now

    def preview(self, wanted: DeadLetterFilter) -> tuple[int, bool]:
        """How many letters a replay would go through, and whether these are all or only the most that are counted."""
        entries, exact = self._letters.counted(wanted)
        return len(entries), exact

    def start(
        self,
        wanted: DeadLetterFilter,
        rate: float,
        reason: str,
        actor: Actor,
        *,
        key: str | None = None,
        fingerprint: str = "",
        time_left: TimeLeft | None = None,
    ) -> Started:
        """Begin a replay of what is dead now.

        Items: the replay (refuses a key that was used), the job that executes it, the ledger entry.

        Args:
            wanted: which letters.
            rate: letters a second at the most.
            reason: why.
            actor: who; signs for every letter.
            key: idempotency key.
            fingerprint: of the request, to tell it from another one under the same key.
            time_left: as `JobService.enqueue`.

        Raises:
            IdempotencyMismatch: the key began another replay.
        """
        now = self._now()
        replay_id = derived_id("rep_", actor.id, key) if key else f"rep_{time_ordered_id(now)}"
        known = job_types.find("replay-dead-letters")
        job = Job(time_ordered_id(now), known.name, known.queue, {"replay": replay_id}, now).waiting(now)
        replay = Replay(
            replay_id, wanted, rate, now, actor, reason, job.id, 0, total_exact=True, fingerprint=fingerprint
        )
        total, exact = self.preview(replay.letters)
        replay = replace(replay, total=total, total_exact=exact, paced_at=now)
        transaction = self._jobs.store.transaction()
        self._store.create(transaction, replay)
        transaction.create("job", self._jobs.store.table, item_of(job))
        chosen = {name: value for name in DeadLetterFilter.__slots__ if (value := getattr(wanted, name))}
        after = {"filter": chosen, "rate": repr(rate), "letters": total, "job": job.id}
        self._ledger.sign(transaction, Signed(actor, "replay.start", f"replay:{replay_id}", after=after, reason=reason))
        try:
            transaction.commit()
        except Refused:
            stood = self._store.get(replay_id)
            if stood is None or stood.fingerprint != fingerprint:
                raise IdempotencyMismatch("the idempotency key was used for another replay") from None
            return Started(stood, repeated=True)
        self._jobs.hand_over([job], time_left)
        return Started(replay)

    def show(self, replay_id: str) -> Replay:
        """A replay, with how far it is.

        Raises:
            NotFound: there is none.
        """
        found = self._store.get(replay_id)
        if found is None:
            raise NotFound(f"there is no replay {replay_id}")
        return found

    def cancel(self, replay_id: str, actor: Actor, reason: str = "") -> Replay:
        """Stop before the next letter. Cancelling twice changes nothing.

        Raises:
            NotFound: there is none.
            Conflict: it is completed.
            Unavailable: it keeps changing.
        """
        for _ in range(RACES):
            replay = self.show(replay_id)
            if replay.state is ReplayState.CANCELLED:
                return replay
            if replay.state is ReplayState.COMPLETED:
                raise Conflict(f"replay {replay_id} is completed")
            transaction = self._jobs.store.transaction()
            self._store.cancel(transaction, replay, actor.id, self._now())
            before, after = {"state": replay.state.value}, {"state": ReplayState.CANCELLED.value}
            entry = Signed(actor, "replay.cancel", f"replay:{replay_id}", before, after, reason)
            self._ledger.sign(transaction, entry)
            try:
                transaction.commit()
            except (Refused, Contended):
                continue  # it has just completed, or gone on
            return self.show(replay_id)
        raise Unavailable(f"replay {replay_id} keeps changing; try again")


def from_env() -> Replays:
    """The replays of this process."""
    store = ReplayStore(aws.dynamodb(), settings().jobs_table)
    letters = DeadLetterStore(aws.dynamodb(), settings().jobs_table)
    return Replays(service.from_env(), letters, store, ledgers.from_env())
