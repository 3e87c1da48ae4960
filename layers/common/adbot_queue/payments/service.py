"""Payments: recording what the provider reports, and settling it into orders and bots."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from adbot_queue.adbots import service as adbots_service
from adbot_queue.adbots.commands import Command, race
from adbot_queue.adbots.model import ExecutionMode, Order, OrderStatus, Status
from adbot_queue.adbots.service import AdbotService
from adbot_queue.core import aws, queues, telemetry
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import Contended, Refused, Transaction
from adbot_queue.core.errors import BadSignature, Invalid, Malformed, NotFound, Unavailable
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import Actor, Entry
from adbot_queue.payments import model, stripe_api, stripe_events
from adbot_queue.payments.model import Decision, Fact, Payment, Setback, Step
from adbot_queue.payments.store import Gathered, PaymentStore, Received

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

PROVIDER = "stripe"
MOST_EVENT_ID = 255

OVERDUE_MS = 60_000
"""Age at which an event counts as left behind: the queue settles within seconds."""
SWEEP_MS = 5 * 60_000
HOUR_MS = 60 * 60_000
MOST_OVERDUE = 1000
"""Events that one sweep looks at."""
RESERVE_MS = 10_000
"""Time left at which a sweep stops: settling one event directly, retries included, fits in."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery: `new`, `repeated` (recorded before, not settled yet), `settled` or `ignored`."""

    event_id: str
    outcome: str


class PaymentService:
    """The door of the capability: `receive` for the webhook, `settle` for the consumer, `resend` for the sweeper."""

    def __init__(
        self,
        store: PaymentStore,
        adbots: AdbotService,
        sqs: SQSClient,
        queue_url: str,
        default_pool: str,
        secrets: Callable[[], list[str]] = stripe_api.webhook_secrets,
        now: Clock = system_clock,
    ) -> None:
        self._store = store
        self._adbots = adbots
        self._sqs = sqs
        self._queue_url = queue_url
        self._default_pool = default_pool
        self._secrets = secrets
        self._now = now

    # Receiving

    def receive(self, raw: bytes, signature: str | None) -> Receipt:
        """Take one delivery of a webhook: verify, record once, hand over.

        When it returns, the event is recorded, and is settled, or on its way to be. A repeated delivery changes
        nothing, but one that is not settled yet is handed over again.

        Args:
            raw: the body, exactly the bytes that came.
            signature: the Stripe-Signature header.

        Raises:
            BadSignature: nothing was recorded.
            Malformed: signed, but not an event; nothing was recorded.
            NotConfigured: the webhook's secret is not filled in.
            Unavailable: the provider must send it again, which settles it if the sweeper has not by then.
        """
        if not signature:
            raise BadSignature("the Stripe-Signature header is missing")
        payload = stripe_api.verify(raw, signature, self._secrets())
        event_id, event_type = _envelope(payload)
        handled = stripe_events.is_handled(event_type)
        received, new = self._store.record(event_id, event_type, payload, self._now(), ignored=not handled)
        telemetry.count("EventsReceived", new)
        if received.unsettled:
            self._hand_over(received.key)
            return Receipt(event_id, "new" if new else "repeated")
        return Receipt(event_id, "ignored" if new else "settled")

    def _hand_over(self, key: str) -> None:
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

    def resend(self, time_left: Callable[[], int]) -> int:
        """Hand over again what was recorded and should have been settled by now, oldest first.

        What fails for more than an hour is handed over once an hour: each time may end as one more dead letter.

        Args:
            time_left: milliseconds until the caller must be done.

        Returns:
            How many overdue events there are, counted up to `MOST_OVERDUE`. One that fails does not stop the others.
        """
        now = self._now()
        overdue = self._store.unsettled(now - OVERDUE_MS, MOST_OVERDUE)
        hourly = now % HOUR_MS < SWEEP_MS
        for key, received_at in overdue:
            if time_left() < RESERVE_MS:
                break
            if hourly or received_at > iso(now - HOUR_MS):
                self._hand_over_or_leave(key)
        return len(overdue)

    def _hand_over_or_leave(self, key: str) -> None:
        try:
            self._hand_over(key)
        except Unavailable:
            logger.warning("event stays unsettled", event=key)

    # Settling

    def settle(self, key: str, *, direct: bool = False) -> None:
        """Carry out what a recorded event means, once.

        Each round reads everything anew, decides, and writes one transaction; the last one marks the event. So
        settling may be repeated, run twice at once, or die anywhere: the next try goes on where it stood.

        Args:
            key: as recorded.
            direct: not by the queue's consumer, which the bot's execution mode will show.

        Raises:
            NotFound: no such event was recorded.
            Unavailable: it lost too many races; try again.
        """
        mode = ExecutionMode.SYNC_DIRECT if direct else ExecutionMode.ASYNC_QUEUE
        while race(lambda: self._round(key, mode)):
            pass

    def _round(self, key: str, mode: ExecutionMode) -> bool:
        """One transaction; True when another round is needed."""
        received = self._store.event(key)
        if received is None:
            raise NotFound(f"event {key} was never recorded")
        if not received.unsettled:
            return False
        event = json.loads(received.payload)
        if setback := stripe_events.setback(event):
            self._tell(received, setback)
            return False
        fact = stripe_events.interpret(event)
        if fact is None:
            self._commit(lambda transaction: self._store.settle(transaction, key, "ignored", self._now()))
            return False
        gathered = self._store.gather(fact)
        key_of, known = gathered.home.key, gathered.home.payment
        payment = known.merge(fact.told)
        before = self._adbots.store.order(model.order_id_of(key_of))
        decide = partial(model.apply, key_of, payment, fact, before, self._now(), default_pool=self._default_pool)
        this = _Round(received, fact, gathered, payment, before)
        decision = decide(bot_is_gone=self._pays_for_cancelled(before, known, fact))
        try:
            self._write(this, decision, mode)
        except Invalid:  # said before anything was written: there is no such pool
            decision = decide(refusal="metadata.pool is no pool that there is")
            self._write(this, decision, mode)
        return decision.more

    def _tell(self, received: Received, setback: Setback) -> None:
        """Have a person look at money that came back: an alarm, and an entry that says which."""
        entry = Entry(
            Actor(PROVIDER, "provider", received.event_id),
            setback.action,
            setback.target,
            after=dict(setback.facts),
            reason=str(setback.facts.get("reason", "")),
        )

        def fill(transaction: Transaction) -> None:
            self._store.settle(transaction, received.key, setback.action, self._now())
            self._adbots.ledger.sign(transaction, entry)

        # Before it is written: an alarm too many is better than none, should the process die in between.
        telemetry.count("MoneyCameBack")
        logger.error("money came back", action=setback.action, id=setback.id, job_id=setback.job)
        self._commit(fill)

    def _pays_for_cancelled(self, before: Order | None, known: Payment, fact: Fact) -> bool:
        """Whether the event brings new money for a bot that is cancelled."""
        if before is None or before.adbot_id is None or not fact.told.paid.keys() - known.paid.keys():
            return False
        return self._adbots.adbot(before.adbot_id, None).status is Status.CANCELLED

    def _write(self, this: _Round, decision: Decision, mode: ExecutionMode) -> None:
        """Write one round.

        Items and what each refuses: the event, when it is settled already; the payment, its parts and new ids,
        when they changed; the order, when it changed; with what the bot's command adds. Refused as a whole means
        that somebody was faster: the round is run again.
        """
        order = decision.order
        actor = Actor(PROVIDER, "provider", this.event.event_id)

        def extras(transaction: Transaction) -> None:
            self._store.save(transaction, this.gathered, this.payment, self._now())
            if not decision.more:
                self._store.settle(transaction, this.event.key, this.fact.action, self._now())
                self._adbots.ledger.sign(transaction, _entry(this, order, actor))

        def with_order(transaction: Transaction) -> None:
            if order is not None and order != this.before:
                self._adbots.store.put_order(transaction, this.before, order)
            extras(transaction)

        command = Command(actor, reason=this.event.event_type)
        try:
            if decision.step is Step.CREATE and order:
                self._adbots.buy(order, mode, actor, extras, replaces=this.before)
            elif decision.step is Step.NONE or order is None or order.adbot_id is None:
                self._commit(with_order)
            elif decision.step is Step.CANCEL:
                self._adbots.cancel(order.adbot_id, command, lambda transaction, _adbot: with_order(transaction))
            else:
                held = decision.step is Step.HOLD
                self._adbots.hold(
                    order.adbot_id, command, lambda transaction, _adbot: with_order(transaction), held=held
                )
        except Refused as refused:
            raise Contended(str(refused)) from refused
        if order and _comes_into_review(this.before, order):
            telemetry.count("OrdersInReview")
            logger.warning("order needs a person", order_id=order.id, reason=order.review_reason)

    def _commit(self, fill: Callable[[Transaction], None]) -> None:
        transaction = self._adbots.store.transaction()
        fill(transaction)
        try:
            transaction.commit()
        except Refused as refused:
            raise Contended(str(refused)) from refused


@dataclass(frozen=True, slots=True)
class _Round:
    """What one round of settling has read. `payment` has the event's facts in it already."""

    event: Received
    fact: Fact
    gathered: Gathered
    payment: Payment
    before: Order | None


def _comes_into_review(before: Order | None, after: Order) -> bool:
    return after.status is OrderStatus.REVIEW and (before is None or before.status is not OrderStatus.REVIEW)


def _entry(this: _Round, after: Order | None, actor: Actor) -> Entry:
    if after is None:
        facts = {
            "amount_refunded": this.payment.amount_refunded,
            "disputed": this.payment.disputed,
            "ended": this.payment.ended,
        }
        return Entry(
            actor, this.fact.action, f"payment:{this.gathered.home.key}", after=facts, reason=this.event.event_type
        )
    target, before = f"order:{after.id}", _summary(this.before)
    if _comes_into_review(this.before, after):
        return Entry(actor, "payment.review", target, before, _summary(after), after.review_reason or "")
    return Entry(actor, this.fact.action, target, before, _summary(after), this.event.event_type)


def _summary(order: Order | None) -> dict[str, Any]:
    if order is None:
        return {}
    return {
        "status": order.status.value,
        "amount": order.amount,
        "amount_refunded": order.amount_refunded,
        "disputed": order.disputed,
        "ended": order.ended,
    }


def _envelope(payload: str) -> tuple[str, str]:
    """Id and type of an event.

    Raises:
        Malformed: not JSON, or not an event.
    """
    try:
        event = json.loads(payload)
    except ValueError as error:
        raise Malformed("the body is not JSON") from error
    if not isinstance(event, dict):
        raise Malformed("the body is not an event: an object was expected")
    event_id, event_type = event.get("id"), event.get("type")
    if not isinstance(event_id, str) or not 1 <= len(event_id) <= MOST_EVENT_ID or not isinstance(event_type, str):
        raise Malformed("the body is not an event: id or type is missing")
    return event_id, event_type


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
