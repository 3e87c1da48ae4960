"""What SendGrid posts: a batch of events under one signature."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.errors import Malformed
from adbot_queue.core.telemetry import count, logger
from adbot_queue.delivery import sendgrid_events, service, suppressions
from adbot_queue.delivery.service import DeliveryService
from adbot_queue.delivery.suppressions import Suppressions
from adbot_queue.providers import sendgrid_webhook

Verify = Callable[[bytes, str | None, str | None, int], None]


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many events told something, and how many told nothing."""

    recorded: int
    ignored: int


class Reception:
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
        """Write down what a batch tells. When it returns, all of it is written.

        An event that cannot be read is counted and left out: it would be no better the next time, and the others of
        its batch must not wait for it.

        Raises:
            BadSignature, NotConfigured, Unavailable: as `sendgrid_webhook.verify`.
            Malformed: the body is no list of events.
            Contended: too many wrote about the same; SendGrid sends the batch again.
        """
        self._verify(raw, signature, timestamp, self._now())
        try:
            batch = json.loads(raw)
        except ValueError as error:
            raise Malformed("the body is not JSON") from error
        if not isinstance(batch, list):
            raise Malformed("the body is not a list of events")
        found = [event for event in map(sendgrid_events.read, batch) if event]
        for event in found:
            if wish := event.unwanted:
                self._suppressed.add(sendgrid_events.CHANNEL, wish.address, wish.reason, wish.at, wish.job)
        self._deliveries.record(event.told for event in found if event.told)
        receipt = Receipt(len(found), len(batch) - len(found))
        count("EventsIgnored", receipt.ignored)
        logger.info("events", recorded=receipt.recorded, ignored=receipt.ignored)
        return receipt


@lru_cache(maxsize=1)
def from_env() -> Reception:
    """The reception of this process."""
    return Reception(service.from_env(), suppressions.from_env())
