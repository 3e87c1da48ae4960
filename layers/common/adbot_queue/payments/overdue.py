"""What a sweep finds in the Payments table: events that nothing settled, money without a sale."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from adbot_queue.adbots import service as adbots_service
from adbot_queue.adbots.commands import retry_on_conflict
from adbot_queue.adbots.model import CreationSource, Order, OrderStatus
from adbot_queue.adbots.service import AdbotService
from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.errors import Unavailable
from adbot_queue.core.instants import instant
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import SYSTEM, LedgerEntry
from adbot_queue.payments import reviews
from adbot_queue.payments import service as payments_service
from adbot_queue.payments.model import Payment, order_id_of
from adbot_queue.payments.service import PaymentService
from adbot_queue.payments.settling import RESERVE_MS, announce_review, summary_of
from adbot_queue.payments.waiting import WaitingPayments

OVERDUE_MS = 60_000
"""Age at which an event counts as left behind: the queue settles within seconds."""
SWEEP_MS = 5 * 60_000
HOUR_MS = 60 * 60_000
MAX_OVERDUE = 1000
"""Events that one sweep looks at."""
GRACE_MS = 24 * 60 * 60_000
"""How long a refund or a dispute waits for the sale that it belongs to."""
MAX_UNMATCHED = 1000
"""Payments without a sale that one sweep looks at."""


class Overdue:
    """Sends events again, and has a person look at money that waits for its sale too long."""

    def __init__(
        self,
        payments: PaymentService,
        store: WaitingPayments,
        adbots: AdbotService,
        default_pool: str,
        now: Clock = system_clock,
    ) -> None:
        self._payments = payments
        self._store = store
        self._adbots = adbots
        self._default_pool = default_pool
        self._now = now

    def resend(self, time_left: Callable[[], int]) -> int:
        """Hand over again what was recorded and should have been settled by now, oldest first.

        What fails for more than an hour is handed over once an hour: each time may end as one more dead letter.

        Args:
            time_left: milliseconds until the caller must be done.

        Returns:
            How many overdue events there are, counted up to `MAX_OVERDUE`. One that fails does not stop the others.
        """
        now = self._now()
        overdue = self._store.unsettled(now - OVERDUE_MS, MAX_OVERDUE)
        hourly = now % HOUR_MS < SWEEP_MS
        for key, received_at in overdue:
            if time_left() < RESERVE_MS:
                break
            if hourly or received_at > iso(now - HOUR_MS):
                self._try_dispatch(key)
        return len(overdue)

    def _try_dispatch(self, key: str) -> None:
        try:
            self._payments.dispatch(key)
        except Unavailable:
            logger.warning("event stays unsettled", event=key)

    def oldest_unsettled_s(self) -> int:
        """Age in seconds of the oldest event that is not settled, 0 if there is none. One Query."""
        now = self._now()
        oldest = self._store.unsettled(now, 1)
        return max(0, now - instant(oldest[0][1])) // 1000 if oldest else 0

    # Money without a sale

    def review_unmatched(self, time_left: Callable[[], int]) -> int:
        """Have a person look at refunds and disputes for which no sale was reported within a day.

        Events of one payment come in any order, and Stripe repeats a delivery for three days: a sale that comes later
        still takes them over.

        Args:
            time_left: milliseconds until the caller must be done.

        Returns:
            How many came into review.
        """
        found = 0
        for key in self._store.unmatched(self._now() - GRACE_MS, MAX_UNMATCHED):
            if time_left() < RESERVE_MS:
                break
            found += retry_on_conflict(partial(self._review_unmatched, key))
        return found

    def _review_unmatched(self, key: str) -> int:
        known = self._store.payment(key)
        if known is None or known.unmatched_since is None or not known.payment.unmatched:
            return 0
        order = _order_of(key, known.payment, self._now(), self._default_pool)

        def fill(transaction: Transaction) -> None:
            self._store.matched(transaction, known)
            self._adbots.store.put_order(transaction, None, order)
            reason = order.review_reason or ""
            entry = LedgerEntry(SYSTEM, "payment.review", f"order:{order.id}", after=summary_of(order), reason=reason)
            self._adbots.ledger.sign(transaction, entry)

        self._payments.commit(fill)
        announce_review(order)
        return 1


def _order_of(key: str, payment: Payment, now: int, default_pool: str) -> Order:
    """The order in REVIEW of money that went back, or is disputed, although nothing was sold for it."""
    reason = reviews.unmatched(payment)
    return Order(
        order_id_of(key),
        OrderStatus.REVIEW,
        CreationSource.PAYMENT,
        now,
        pool=default_pool,
        currency=payment.currency,
        amount_refunded=payment.amount_refunded,
        disputed=payment.disputed,
        provider_ids=dict(payment.provider_ids) or {"payment_intent" if key.startswith("pi_") else "payment": key},
        problems={"unmatched": reason},
        review_reason=reason,
        dated=True,
    )


@lru_cache(maxsize=1)
def from_env() -> Overdue:
    """Return what the sweep of this process works with."""
    env = settings()
    store = WaitingPayments(aws.dynamodb(), env.payments_table)
    return Overdue(payments_service.from_env(), store, adbots_service.from_env(), env.default_pool)
