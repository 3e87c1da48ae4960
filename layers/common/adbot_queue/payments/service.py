"""Payments: recording what the provider reports, and settling it into orders and bots."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.adbots import service as adbots_service
from adbot_queue.adbots.service import AdbotService
from adbot_queue.core import aws, queues, telemetry
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.errors import BadSignature, Malformed, Unavailable
from adbot_queue.core.events import is_text
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.payments import customers, envelope, rejections, stripe_api, stripe_events
from adbot_queue.payments.customers import Customers
from adbot_queue.payments.envelope import Source
from adbot_queue.payments.settling import Settling
from adbot_queue.payments.store import PaymentStore

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_EVENT_ID = 255

BAD_SIGNATURES = "BadSignatures"
"""1 for a bad signature, 0 for a good one: its minimum is 1 while not one is good, which is a wrong secret."""
_SIGNED = re.compile(r"\bt=\d+.*\bv1=")
"""The form of a signature; other callers than Stripe have as a rule none."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery.

    `new`, `repeated` (recorded before, not settled yet), `settled`, `ignored`, or `rejected`: it is another account's,
    or of the other mode.
    """

    event_id: str
    outcome: str


class PaymentService(Settling):
    """The door of the capability: `receive` for the webhook, `settle` for the consumer."""

    def __init__(
        self,
        store: PaymentStore,
        adbots: AdbotService,
        sqs: SQSClient,
        queue_url: str,
        default_pool: str,
        customers: Callable[[], Customers] = customers.from_env,
        now: Clock = system_clock,
    ) -> None:
        super().__init__(store, adbots, default_pool, customers, now)
        self._sqs = sqs
        self._queue_url = queue_url

    # Receiving

    def receive(self, raw: bytes, signature: str | None) -> Receipt:
        """Take one delivery of a webhook: verify, record once, hand over.

        When it returns, the event is recorded, and is settled, or on its way to be. A repeated delivery changes
        nothing, but one that is not settled yet is handed over again. An event that is not ours is rejected, which is
        counted, and recorded for the first hundred of a day.

        Args:
            raw: the body, exactly the bytes that came.
            signature: the Stripe-Signature header.

        Raises:
            BadSignature: nothing was recorded.
            Malformed: signed, but not an event; nothing was recorded.
            NotConfigured: the webhook's secret, or the API key that tells the mode, is not filled in. Nothing was
                recorded; Stripe sends it again for three days.
            Unavailable: the provider must send it again, which settles it if the sweeper has not by then.
        """
        if not signature:
            raise BadSignature("the Stripe-Signature header is missing")
        payload, source = self._verify(raw, signature)
        event = _event(payload)
        event_id, event_type = event["id"], event["type"]
        if why := envelope.rejection(event, source=source, livemode=stripe_api.livemode(), now=self._now()):
            telemetry.count("EventsRejected")
            logger.warning("event rejected", event_id=event_id, type=event_type, why=why)
            rejections.record(self._store, event_id, event_type, why, self._now())
            return Receipt(event_id, "rejected")
        handled = stripe_events.is_handled(event_type)
        received, new = self._store.record(event_id, event_type, payload, self._now(), ignored=not handled)
        telemetry.count("EventsReceived", new)
        if received.unsettled:
            self.dispatch(received.key)
            return Receipt(event_id, "new" if new else "repeated")
        return Receipt(event_id, "ignored" if new else "settled")

    def _verify(self, raw: bytes, signature: str) -> tuple[str, Source]:
        """The body as text, and what the secret that signed it is declared for; a secret may be there for both.

        Raises:
            BadSignature, NotConfigured, Unavailable: as `receive`.
        """
        known = stripe_api.webhook_secrets()
        for source in Source:
            valid = [secret for secret, accepts in known if accepts is source]
            try:
                payload = stripe_api.verify(raw, signature, valid)
            except BadSignature:
                continue
            telemetry.gauge(BAD_SIGNATURES, 0)
            return payload, source
        if _SIGNED.search(signature):
            telemetry.gauge(BAD_SIGNATURES, 1)
        raise BadSignature("the Stripe-Signature header is not valid for this body, or is too old")

    def dispatch(self, key: str) -> None:
        """Give an event to the consumer; settle it here and now when the queue does not take it."""
        try:
            queues.send(self._sqs, self._queue_url, {"event": key})
        except queues.QueueRefused as refused:
            telemetry.count("SettledDirectly")
            logger.warning("payments queue refused, settling directly", event=key, error=str(refused))
            try:
                self.settle(key, direct=True)
            except Exception as error:  # whatever it is: the event is safe, and the provider comes again
                logger.exception("settling directly failed", event=key)
                raise Unavailable("the event is recorded but not settled; send it again") from error


def _event(payload: str) -> dict[str, Any]:
    """An event with an id and a type.

    Raises:
        Malformed: not JSON, or not an event.
    """
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is not JSON") from error
    if not isinstance(event, dict):
        raise Malformed("the body is not an event: an object was expected")
    event_id, event_type = event.get("id"), event.get("type")
    if not is_text(event_id) or not 1 <= len(event_id) <= MAX_EVENT_ID or not is_text(event_type):
        raise Malformed("the body is not an event: id or type is missing")
    return event


@lru_cache(maxsize=1)
def from_env() -> PaymentService:
    """The service of this process."""
    env = settings()
    return PaymentService(
        PaymentStore(aws.dynamodb(), env.payments_table),
        adbots_service.from_env(),
        aws.sqs(),
        env.payments_queue_url,
        env.default_pool,
    )
