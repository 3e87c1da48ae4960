"""Settling: recorded events become orders and bots, one transaction a round."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from adbot_queue.adbots.commands import Command, retry_on_conflict
from adbot_queue.adbots.model import AdbotStatus, ExecutionMode, Order, OrderStatus
from adbot_queue.adbots.service import AdbotService
from adbot_queue.core import telemetry
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Transaction, TransactionConflict, TransactionRejected
from adbot_queue.core.errors import Invalid, TargetGone, Unavailable
from adbot_queue.core.instants import instant
from adbot_queue.core.telemetry import logger
from adbot_queue.core.text import LOST
from adbot_queue.ledger import SYSTEM, Actor, LedgerEntry
from adbot_queue.payments import checks, decisions, plan_versions, setbacks, stripe_events
from adbot_queue.payments.customers import Customers
from adbot_queue.payments.decisions import BotAction, Decision
from adbot_queue.payments.facts import Fact, Judgement
from adbot_queue.payments.model import Payment, order_id_of
from adbot_queue.payments.movements import movements
from adbot_queue.payments.records import Gathered, Received
from adbot_queue.payments.setbacks import Setback
from adbot_queue.payments.store import PaymentStore
from adbot_queue.payments.wishes import wish_of

PROVIDER = "stripe"
RESERVE_MS = 10_000
"""Time left at which a sweep stops: settling one event directly, retries included, fits in."""
_HALF_PAIRS = re.compile("[\ud800-\udfff]")


class Settling:
    """Carries out what events mean."""

    def __init__(
        self,
        store: PaymentStore,
        adbots: AdbotService,
        default_pool: str,
        customers: Callable[[], Customers],
        now: Clock,
    ) -> None:
        self._store = store
        self._adbots = adbots
        self._default_pool = default_pool
        self._customers = customers
        self._now = now

    def settle(self, key: str, *, direct: bool = False, time_left: Callable[[], int] | None = None) -> None:
        """Carry out what a recorded event means, once.

        Each round reads everything anew, decides, and writes one transaction; the last one marks the event. So settling
        may be repeated, run twice at once, or die anywhere: the next try continues.

        Args:
            key: as recorded.
            direct: not by the queue's consumer; recorded in the bot's execution mode.
            time_left: milliseconds until the caller must be done; None: enough.

        Raises:
            TargetGone: the event was not recorded.
            Unavailable: too many conflicts, or no time; try again.
            ProviderFailed, NotConfigured: the user pool did not answer; try again.
        """
        if time_left and time_left() < RESERVE_MS:  # of a batch whose others waited for a user pool that hangs
            raise Unavailable("there is no time left to settle the event; it comes again")
        mode = ExecutionMode.SYNC_DIRECT if direct else ExecutionMode.ASYNC_QUEUE
        while retry_on_conflict(lambda: self._round(key, mode)):
            pass

    def _round(self, key: str, mode: ExecutionMode) -> bool:
        """One transaction; True when another round is needed."""
        received = self._store.event(key)
        if received is None:
            raise TargetGone(f"event {key} was never recorded")
        if not received.unsettled:
            return False
        event = _event_of(received)
        if event["type"] in setbacks.SETBACKS:
            self._tell(received, setbacks.read(event))
            return False
        fact = stripe_events.interpret(event, instant(received.received_at))
        if fact is None:
            self.commit(lambda transaction: self._store.settle(transaction, key, "ignored", self._now()))
            return False
        gathered = self._store.gather(fact)
        key_of, known = gathered.home.key, gathered.home.payment
        payment = known.merge(fact.facts)
        before = self._adbots.store.order(order_id_of(key_of))
        judgement = self._judge(payment, known, fact, before)
        gone = self._pays_for_cancelled(before, known, fact)
        decide = partial(
            decisions.apply,
            key_of,
            payment,
            fact,
            before,
            self._now(),
            default_pool=self._default_pool,
            bot_is_gone=gone,
        )
        this = _Round(received, fact, gathered, payment, before)
        decision = decide(judgement=judgement)
        try:
            self._write(this, decision, mode)
        except Invalid:  # said before anything was written: there is no such pool
            pool = decision.order.pool if decision.order else ""
            refusal = f"metadata.pool: found {checks.quoted(pool)}, expected a pool that exists"
            decision = decide(judgement=replace(judgement, refusal=refusal))
            self._write(this, decision, mode)
        return decision.more

    def _judge(self, payment: Payment, known: Payment, fact: Fact, before: Order | None) -> Judgement:
        """Compare what was sold with the catalogue, and ask for the user, as far as money has come.

        The user pool is asked last and only when all else fits: what does not fit waits for a person anyway. It is
        asked for the first sale, and for every renewal that brings money, unless a person has said whose the bot is.

        Raises:
            ProviderFailed, NotConfigured: the pool gave no answer; come back later.
        """
        if not payment.paid:
            return Judgement()
        versions = {plan: plan_versions.versions(self._adbots, plan) for plan in checks.plan_ids(payment)}
        has_bot = before is not None and before.adbot_id is not None
        required = before.required_sessions if before and has_bot and not before.settled else None
        problems = checks.problems(payment, versions, required, has_bot=has_bot)
        plan = checks.offer(payment, versions)
        judgement = Judgement(
            problems=problems, pool=plan.pool if plan else None, required=plan.required_sessions if plan else None
        )
        wish = wish_of(payment.metadata)
        if before and has_bot:
            new = any(fact.facts.paid[name] for name in fact.facts.paid.keys() - known.paid.keys())
            user_id = before.user_id if new and not before.settled else ""
        else:
            user_id = "" if wish.problem or problems else wish.user_id
        if user_id and not self._customers().knows(user_id):
            found = "an address" if "@" in user_id else checks.quoted(user_id)
            return replace(judgement, refusal=f"metadata.user_id: found {found}, expected a user of the user pool")
        return judgement

    def _tell(self, received: Received, setback: Setback) -> None:
        """Have a person look at money that came back: an alarm, and an entry that says which."""
        entry = LedgerEntry(
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
        telemetry.count("RefundOrPayoutFailed")
        logger.error("money came back", action=setback.action, id=setback.id, job_id=setback.job)
        self.commit(fill)

    def _pays_for_cancelled(self, before: Order | None, known: Payment, fact: Fact) -> bool:
        """Whether the event brings new money for a bot that is cancelled."""
        if before is None or before.adbot_id is None or not fact.facts.paid.keys() - known.paid.keys():
            return False
        return self._adbots.adbot(before.adbot_id, None).status is AdbotStatus.CANCELLED

    def _write(self, this: _Round, decision: Decision, mode: ExecutionMode) -> None:
        """Write one round.

        Items and what each refuses: the event, if it is settled already; the payment, its parts and new ids, if they
        changed; the order, if it changed; and what the bot's command adds. A refusal means that another process was
        faster: the round runs again.
        """
        order = decision.order
        actor = Actor(PROVIDER, "provider", this.event.event_id)

        superseded = [
            order
            for part in this.gathered.parts
            if part.payment.unmatched and (order := self._adbots.store.order(order_id_of(part.key)))
        ]
        moved = movements(this.payment).items() - movements(this.gathered.own).items()

        def parts(transaction: Transaction) -> None:
            waits = order is None and this.payment.unmatched
            self._store.save(transaction, this.gathered, this.payment, self._now(), unmatched=waits)
            for name, movement in sorted(moved, key=lambda one: one[0]):
                self._adbots.store.put_movement(transaction, order_id_of(this.gathered.home.key), name, movement)
            for old in superseded:
                self._close(transaction, old, order_id_of(this.gathered.home.key))
            if not decision.more:
                self._store.settle(transaction, this.event.key, this.fact.action, self._now())
                self._adbots.ledger.sign(transaction, _entry(this, order, actor))

        try:
            self._carry_out(this, decision, mode, actor, parts)
        except TransactionRejected as refused:
            raise TransactionConflict(str(refused)) from refused
        if order and _comes_into_review(this.before, order):
            announce_review(order)

    def _carry_out(
        self,
        this: _Round,
        decision: Decision,
        mode: ExecutionMode,
        actor: Actor,
        parts: Callable[[Transaction], None],
    ) -> None:
        """Write order and parts in the transaction of the bot's command, or in one of their own."""
        order, command = decision.order, Command(actor, reason=this.event.event_type)

        def with_order(transaction: Transaction, *_adbot: Any) -> None:
            if order is not None and order != this.before:
                self._adbots.store.put_order(transaction, this.before, order)
            parts(transaction)

        if decision.step is BotAction.CREATE and order:
            self._adbots.purchases.create_paid(order, mode, actor, parts, replaces=this.before)
        elif decision.step is BotAction.NONE or order is None or order.adbot_id is None:
            self.commit(with_order)
        elif decision.step is BotAction.CANCEL:
            self._adbots.cancel(order.adbot_id, command, with_order)
        else:
            self._adbots.hold(order.adbot_id, command, with_order, held=decision.step is BotAction.HOLD)

    def _close(self, transaction: Transaction, old: Order, order_id: str) -> None:
        """Close the review of money that went back without an order: its sale has come, and has its own order."""
        closed = replace(
            old,
            status=OrderStatus.REFUNDED,
            amount_refunded=0,
            disputed=False,
            problems={},
            review_reason=None,
            provider_ids={**old.provider_ids, "order": order_id},
            version=old.version + 1,
        )
        self._adbots.store.put_order(transaction, old, closed)
        entry = LedgerEntry(SYSTEM, "payment.matched", f"order:{old.id}", summary_of(old), {"order": order_id})
        self._adbots.ledger.sign(transaction, entry)

    def commit(self, fill: Callable[[Transaction], None]) -> None:
        """Write what `fill` adds.

        Raises:
            TransactionConflict: a condition did not hold; read again.
        """
        transaction = self._adbots.store.transaction()
        fill(transaction)
        try:
            transaction.commit()
        except TransactionRejected as refused:
            raise TransactionConflict(str(refused)) from refused


@dataclass(frozen=True, slots=True)
class _Round:
    """What one round of settling has read. `payment` has the event's facts in it already."""

    event: Received
    fact: Fact
    gathered: Gathered
    payment: Payment
    before: Order | None


def _event_of(received: Received) -> dict[str, Any]:
    """The event, in characters that every store takes: half of a surrogate pair is none."""
    text = json.dumps(json.loads(received.payload), ensure_ascii=False)
    event: dict[str, Any] = json.loads(_HALF_PAIRS.sub(LOST, text))
    return event


def _comes_into_review(before: Order | None, after: Order) -> bool:
    return after.status is OrderStatus.REVIEW and (before is None or before.status is not OrderStatus.REVIEW)


def announce_review(order: Order) -> None:
    """Count it, and log which and in which field: what the reason quotes is the ledger's and the order's."""
    telemetry.count("OrdersInReview")
    logger.warning("order needs a person", order_id=order.id, problems=sorted(order.problems))


def _entry(this: _Round, after: Order | None, actor: Actor) -> LedgerEntry:
    if after is None:
        facts = {
            "amount_refunded": this.payment.amount_refunded,
            "disputed": this.payment.disputed,
            "ended": this.payment.ended,
        }
        return LedgerEntry(
            actor, this.fact.action, f"payment:{this.gathered.home.key}", after=facts, reason=this.event.event_type
        )
    target, before = f"order:{after.id}", summary_of(this.before)
    if _comes_into_review(this.before, after):
        return LedgerEntry(actor, "payment.review", target, before, summary_of(after), after.review_reason or "")
    return LedgerEntry(actor, this.fact.action, target, before, summary_of(after), this.event.event_type)


def summary_of(order: Order | None) -> dict[str, Any]:
    """Return the part of an order that a ledger entry's before and after show."""
    if order is None:
        return {}
    return {
        "status": order.status.value,
        "amount": order.amount,
        "amount_refunded": order.amount_refunded,
        "disputed": order.disputed,
        "ended": order.ended,
    }
