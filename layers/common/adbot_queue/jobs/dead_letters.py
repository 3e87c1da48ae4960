"""What a person does about dead letters: look at them, replay one, discard one.

A replay of a message is a job (`send-dead-letter`) made in the same transaction as the decision: so the message goes
back at least once, whoever dies in between, and nobody can decide twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws, queues
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import Refused, Transaction
from adbot_queue.core.errors import Conflict, Invalid, NotFound, Unavailable
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.core.queues import QueueRefused
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_queues, job_types, service
from adbot_queue.jobs.intake import check_payload
from adbot_queue.jobs.items import item_of
from adbot_queue.jobs.letter_store import Entry, LetterStore
from adbot_queue.jobs.letters import NOWHERE, PREFIX, DeadLetter, Letter, Wanted
from adbot_queue.jobs.model import Failure, Job
from adbot_queue.jobs.retry import Permanent, Transient
from adbot_queue.jobs.service import JobService, TimeLeft
from adbot_queue.ledger import Actor, Ledger
from adbot_queue.ledger import Entry as Signed

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MOST_GROUPS = 100
MOST_BODY = 256 * 1024
"""Bytes of a body that is sent back instead of the one that died."""

RACES = 5
FIFO = {"allocation"}


@dataclass(frozen=True, slots=True)
class Group:
    """Letters that died of the same.

    Attributes:
        number: how many there are among those looked at.
        first_at: when the first of them died, in ms.
        last_at: the last.
        latest: id of the last.
        failure: of the last; None when it has been decided about meanwhile.
    """

    fingerprint: str
    queue: str
    type: str
    number: int
    first_at: int
    last_at: int
    latest: str
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Decided:
    """A letter after a decision, and the job that runs because of it."""

    letter: DeadLetter
    job: Job


class DeadLetters:
    """Everything that is done about dead letters one by one."""

    def __init__(
        self,
        jobs: JobService,
        store: LetterStore,
        ledger: Ledger,
        sqs: SQSClient,
        urls: Mapping[str, str],
        now: Clock = system_clock,
    ) -> None:
        self._jobs = jobs
        self.store = store
        self._ledger = ledger
        self._sqs = sqs
        self._urls = urls
        self._now = now

    # Looking

    def page(self, wanted: Wanted, limit: int, cursor: str | None) -> tuple[list[DeadLetter], str | None]:
        """Letters, newest first, and the cursor of the next page.

        Raises:
            Invalid: the cursor is not one that this list gave.
        """
        return self.store.page(wanted, limit, cursor)

    def groups(self, wanted: Wanted) -> tuple[list[Group], bool]:
        """Letters by what they died of, the largest group first; and whether all that match were counted.

        Looks at the newest `letter_store.COUNTED` at the most.
        """
        entries, complete = self.store.counted(wanted)
        grouped: dict[str, list[Entry]] = {}
        for entry in entries:
            grouped.setdefault(entry.fingerprint, []).append(entry)
        largest = sorted(grouped.values(), key=len, reverse=True)[:MOST_GROUPS]
        latest = self.store.rows([members[0] for members in largest])
        return [_group(members, latest.get(members[0].key["pk"])) for members in largest], complete

    def show(self, letter_id: str) -> tuple[DeadLetter, str | None]:
        """A letter, decided about or not, and its whole body if it is a message.

        Raises:
            NotFound: there is no such letter: no such message, or a job that is not dead.
        """
        if letter_id.startswith(PREFIX):
            found = self._letter(letter_id)
            return found, self.store.body(found)
        job = self._jobs.store.get(letter_id)
        if job is None or (not job.is_dead_letter and job.decision is None):
            raise NotFound(f"there is no dead letter {letter_id}")
        return job, None

    def _letter(self, letter_id: str) -> Letter:
        found = self.store.get(letter_id)
        if found is None:
            raise NotFound(f"there is no dead letter {letter_id}")
        return found

    # Deciding

    def replay(
        self,
        letter_id: str,
        actor: Actor,
        reason: str = "",
        *,
        payload: dict[str, Any] | None = None,
        body: str | None = None,
        time_left: TimeLeft | None = None,
    ) -> Decided:
        """Have a job run again, or a message sent back to its queue; edited, if another payload or body is given.

        Args:
            letter_id: which.
            actor: who decides.
            reason: why.
            payload: of a job, checked like a new one.
            body: of a message.
            time_left: as `JobService.enqueue`.

        Raises:
            NotFound: there is no such letter.
            Conflict: it was decided about, or there is no queue to send it back to.
            Invalid: a payload for a message, a body for a job, or a payload that breaks its type's rules.
            Unavailable: others keep changing it.
        """
        if letter_id.startswith(PREFIX):
            if payload is not None:
                raise Invalid.field("payload", "a message has a body")
            if body is not None and not 1 <= len(body.encode()) <= MOST_BODY:
                raise Invalid.field("body", f"1 to {MOST_BODY} bytes")
            return self._replay_message(letter_id, actor, reason, body, time_left)
        if body is not None:
            raise Invalid.field("body", "a job has a payload")

        def again(job: Job) -> Job:
            _must_be_dead(job)
            if payload is not None:
                check_payload(job_types.find(job.type), payload, job)
            return job.again(self._now(), payload)

        job = self._jobs.by_person(letter_id, "dead-letter.replay", again, actor, reason)
        job = self._jobs.hand_over([job], time_left).get(job.id, job)
        return Decided(job, job)

    def _replay_message(
        self, letter_id: str, actor: Actor, reason: str, body: str | None, time_left: TimeLeft | None
    ) -> Decided:
        for _ in range(RACES):
            before = self._letter(letter_id)
            _must_be_dead(before)
            if not self.can_send_back(before):
                why = NOWHERE.get(before.queue, f"there is no queue {before.queue}")
                raise Conflict(f"it cannot be sent back: {why}")
            job = self.send_back(before, actor, reason, body=body)
            if job:
                sent = self._jobs.hand_over([job], time_left).get(job.id, job)
                return Decided(self._letter(letter_id), sent)
        raise Unavailable(f"{letter_id} keeps changing; try again")

    def send_back(
        self,
        before: Letter,
        actor: Actor,
        reason: str,
        *,
        body: str | None = None,
        replay: str | None = None,
        also: Callable[[Transaction], None] | None = None,
    ) -> Job | None:
        """Decide that a message goes back to its queue.

        Items: the letter (refuses when it was decided about), its body's pieces, the job that sends it, the ledger
        entry, and what `also` adds.

        Args:
            before: the letter as it was read.
            actor: who decides.
            reason: why.
            body: what is sent instead of its own body.
            replay: the governed replay that does it.
            also: adds to the transaction.

        Returns:
            The job, still to be handed over; None when the transaction was refused.
        """
        now = self._now()
        known = job_types.find("send-dead-letter")
        job = Job(time_ordered_id(now), known.name, known.queue, {"letter": before.id}, now).waiting(now)
        after = before.replayed(job.id, now, edited=body is not None, replay=replay)

        transaction = self._jobs.store.transaction()
        self.store.decide(transaction, before, after, body)
        transaction.create("job", self.store.table, item_of(job))
        told = {"state": after.state, "job": job.id, "edited": after.edited} | ({"replay": replay} if replay else {})
        self._ledger.sign(transaction, _signed(actor, "dead-letter.replay", before, told, reason))
        if also:
            also(transaction)
        try:
            transaction.commit()
        except Refused:
            return None
        return job

    def can_send_back(self, letter: Letter) -> bool:
        """Whether there is a queue that it can go back to."""
        return letter.queue in self._urls

    def discard(self, letter_id: str, actor: Actor, reason: str = "") -> DeadLetter:
        """Decide that a letter stays dead; it is kept for 90 days. Discarding twice changes nothing.

        Raises:
            NotFound: there is no such letter.
            Conflict: it was replayed.
            Unavailable: others keep changing it.
        """
        if letter_id.startswith(PREFIX):
            return self._discard_message(letter_id, actor, reason)

        def discarded(job: Job) -> Job | None:
            if job.decision == "discarded":
                return None
            _must_be_dead(job)
            return job.discarded(self._now())

        return self._jobs.by_person(letter_id, "dead-letter.discard", discarded, actor, reason)

    def _discard_message(self, letter_id: str, actor: Actor, reason: str) -> Letter:
        for _ in range(RACES):
            before = self._letter(letter_id)
            if before.state == "discarded":
                return before
            _must_be_dead(before)
            after = before.discarded(self._now())
            transaction = self._jobs.store.transaction()
            self.store.decide(transaction, before, after)
            self._ledger.sign(
                transaction, _signed(actor, "dead-letter.discard", before, {"state": after.state}, reason)
            )
            try:
                transaction.commit()
            except Refused:
                continue
            return after
        raise Unavailable(f"{letter_id} keeps changing; try again")

    def deliver(self, letter_id: str) -> str:
        """Send a message back to its queue: what the job of a replay does. Answers the queue's name.

        Raises:
            Permanent: there is no such letter, or nowhere to send it.
            Transient: SQS did not take it.
        """
        found = self.store.get(letter_id)
        url = self._urls.get(found.queue) if found else None
        if found is None or url is None:
            raise Permanent("there is no such letter, or no queue to send it to")
        body = self.store.body(found, to_send=True)
        group = found.group or (letter_id if found.queue in FIFO else None)
        try:
            queues.send_text(self._sqs, url, body, group=group, deduplication=letter_id if group else None)
        except QueueRefused as error:
            raise Transient("SQS did not take it") from error
        return found.queue


def sources() -> dict[str, str]:
    """Queues that a message can be sent back to: name -> URL."""
    env = settings()
    others = {
        "payments": env.payments_queue_url,
        "allocation": env.allocation_queue_url,
        "notices": env.notices_queue_url,
    }
    return job_queues.queue_urls(env.queue_url) | others


def _must_be_dead(dead: DeadLetter) -> None:
    if dead.is_dead_letter:
        return
    state = dead.decision if isinstance(dead, Job) and dead.decision else dead.state
    raise Conflict(f"{dead.id} waits for no decision: it is {state}", state=str(state))


def _signed(actor: Actor, action: str, before: Letter, after: dict[str, Any], reason: str) -> Signed:
    return Signed(actor, action, f"dead-letter:{before.id}", {"state": before.state}, after, reason)


def _group(members: list[Entry], latest: DeadLetter | None) -> Group:
    last, first = members[0], members[-1]
    return Group(
        last.fingerprint,
        last.queue,
        last.type,
        len(members),
        first.listed_at,
        last.listed_at,
        last.key["pk"].partition("#")[2],
        latest.failure if latest and latest.is_dead_letter else None,
    )


def from_env(now: Clock = system_clock) -> DeadLetters:
    """The dead letters of this process; `now` is what its decisions are dated by."""
    jobs = service.from_env()
    store = LetterStore(aws.dynamodb(), settings().jobs_table)
    return DeadLetters(jobs, store, ledgers.from_env(), aws.sqs(), sources(), now)
