"""Deliveries: providers' reports on messages, recorded and shown to operators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, TransactionConflict
from adbot_queue.core.errors import AppError
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.messaging.model import Delivery, DeliveryEvent, DeliveryReport, DeliveryStatus
from adbot_queue.messaging.store import DeliveryStore, Kept, Unreadable

MAX_ROUNDS = 5

WRITE_FAILURES = (ClientError, BotoCoreError, TransactionConflict, AppError)
"""What a write may fail with that says nothing of the next one."""


class DeliveryService:
    """Writes reports down, in whatever order and however often they come."""

    def __init__(self, store: DeliveryStore, now: Clock = system_clock) -> None:
        self._store = store
        self._now = now

    def of_job(self, job: str) -> list[Delivery]:
        """The messages that a job sent, and what became of them; more than one is a double."""
        return self._store.of_job(job)

    def message_of(self, job: str, key: str) -> str | None:
        """The provider's id of the message that went out under this key already."""
        return self._store.message_of(job, key)

    def accepted(self, channel: str, job: str, key: str, message_id: str) -> None:
        """The provider took a message. Never raises: it did, whether or not this can be written down."""
        report = DeliveryEvent(f"accepted-{message_id}", DeliveryStatus.ACCEPTED, self._now())
        try:
            self.record([DeliveryReport(channel, job, key, message_id, report)])
        except (ClientError, BotoCoreError, TransactionConflict) as error:
            logger.warning("that a message was accepted is not written down", error=type(error).__name__)

    def record(self, reports: Iterable[DeliveryReport]) -> None:
        """Record reports. A known report changes nothing and is not written.

        Raises:
            TransactionConflict: too many conflicts on the same messages; send all reports again.
            ClientError, BotoCoreError: a write failed; the others succeeded.
        """
        for error in self.try_record(reports):
            raise error

    def try_record(self, reports: Iterable[DeliveryReport]) -> list[Exception]:
        """Record reports as `record` does, and return the errors instead of raising."""
        by_message: dict[tuple[str, str], list[DeliveryReport]] = defaultdict(list)
        for one in reports:
            by_message[one.job, one.message_id].append(one)
        failures: list[Exception] = []
        for _ in range(MAX_ROUNDS):
            try:
                found = self._store.get_many(by_message)
            except WRITE_FAILURES as error:
                return [*failures, error]
            lost = []
            for message, some in by_message.items():
                try:
                    if not self._record_one(found.get(message), some):
                        lost.append(message)
                except WRITE_FAILURES as error:
                    failures.append(error)
            if not lost:
                return failures
            by_message = {message: by_message[message] for message in lost}
        return [*failures, TransactionConflict("deliveries")]

    def _record_one(self, kept: Kept | Unreadable | None, reports: Sequence[DeliveryReport]) -> bool:
        """Record the reports of one message. False if another writer was faster."""
        if isinstance(kept, Unreadable):
            count("DeliveriesUnreadable")
            return True
        before, version = kept or (None, 0)
        after = (before or Delivery.of(reports[0])).updated(one.report for one in reports)
        if after == before:
            return True
        try:
            self._store.put(after, version, self._now())
        except ConditionFailed:
            return False
        if before is None or before.furthest.status is not after.furthest.status:
            count(f"{after.channel.title()}s{after.furthest.status.title()}")
        return True


@lru_cache(maxsize=1)
def from_env() -> DeliveryService:
    """The deliveries as this process writes them."""
    return DeliveryService(DeliveryStore(aws.dynamodb(), settings().system_table))
