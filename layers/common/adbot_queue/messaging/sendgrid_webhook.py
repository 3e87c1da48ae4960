"""What SendGrid posts: a batch of events under one signature."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.errors import Malformed
from adbot_queue.core.telemetry import count, logger
from adbot_queue.messaging import sendgrid_events, service, suppressions
from adbot_queue.messaging.sendgrid_events import CHANNEL, Read
from adbot_queue.messaging.service import WRITE_FAILURES, DeliveryService
from adbot_queue.messaging.suppressions import Suppressions
from adbot_queue.providers import sendgrid_webhook

Verify = Callable[[bytes, str | None, str | None, int], None]

MAX_DIGITS = 30
"""Of an integer that is read."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many events were recorded, and how many ignored."""

    recorded: int
    ignored: int


class SendgridWebhook:
    """Takes batches, in whatever order and however often they come."""

    def __init__(
        self,
        deliveries: DeliveryService,
        suppressed: Suppressions,
        verify: Verify = sendgrid_webhook.verify,
        now: Clock = system_clock,
    ) -> None:
        self._deliveries = deliveries
        self._suppressed = suppressed
        self._verify = verify
        self._now = now

    def sendgrid(self, raw: bytes, signature: str | None, timestamp: str | None) -> Receipt:
        """Write down what a batch tells. When it returns, everything in the batch that can be read is written.

        An event that cannot be read is counted and left out: a repetition would be no more readable, and the others of
        its batch must not wait for it. An event that cannot be written now does not stop the others either; the error
        is raised after them, and SendGrid sends the batch again.

        Raises:
            BadSignature, NotConfigured, Unavailable: as `sendgrid_webhook.verify`.
            Malformed: the body is no list of events.
            TransactionConflict: too many wrote about the same.
            ClientError, BotoCoreError: something could not be written.
        """
        now = self._now()
        self._verify(raw, signature, timestamp, now)
        batch = _events(raw)
        at = _signed_at(timestamp, now)
        found = [event for one in batch if (event := sendgrid_events.read(one, at))]
        failures = [*self._process(found)]
        failures += self._deliveries.try_record(event.report for event in found if event.report)
        receipt = Receipt(len(found), len(batch) - len(found))
        unreadable = Counter(field for one in batch if (field := sendgrid_events.unreadable(one)))
        count("EventsIgnored", receipt.ignored)
        count("EventsUnreadable", unreadable.total())
        logger.info(
            "events",
            recorded=receipt.recorded,
            ignored=receipt.ignored,
            unreadable=dict(unreadable),
            failed=len(failures),
        )
        if failures:
            raise failures[0]
        return receipt

    def _process(self, events: Iterable[Read]) -> Iterator[Exception]:
        """Write whom nothing is sent to any more, and who takes mails again; what fails is yielded."""
        for event in events:
            try:
                if wish := event.unwanted:
                    self._suppressed.add(CHANNEL, wish.address, wish.reason, wish.at, wish.job, wish.group)
                if back := event.resubscribed:
                    self._suppressed.resubscribe(CHANNEL, back.address, "group_unsubscribe", back.at, back.group)
            except WRITE_FAILURES as error:
                yield error


def _events(raw: bytes) -> list[Any]:
    try:
        # A byte that is no text spoils one event: what is kept of texts are fixed words, ids and readable addresses.
        batch = json.loads(raw.decode("utf-8-sig", "replace"), parse_int=_number)
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is not JSON") from error
    if not isinstance(batch, list):
        raise Malformed("the body is not a list of events")
    return batch


def _number(digits: str) -> int | None:
    """An integer of JSON; None for one longer than any that is read, on which int() would give up the whole batch."""
    return int(digits) if len(digits) <= MAX_DIGITS else None


def _signed_at(timestamp: str | None, now: int) -> int:
    """When SendGrid signed the batch: the time of events that have none, the same at each repetition of the batch."""
    return min(int(timestamp) * 1000, now) if timestamp and timestamp.isascii() and timestamp.isdigit() else now


@lru_cache(maxsize=1)
def from_env() -> SendgridWebhook:
    """The reception of this process."""
    return SendgridWebhook(service.from_env(), suppressions.from_env())
