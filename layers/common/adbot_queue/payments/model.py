"""A payment as its provider reports it, and what follows for the order and its bot. Pure.

Events of one payment arrive late, twice and in any order. So nothing here depends on their order: each event is a
handful of facts, facts are merged by operations that ignore order and repetition (union, maximum, or), and the order's
status and its bot's state are computed from the merged facts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from adbot_queue.core.ids import derived_id
from adbot_queue.payments.payment_row import PaymentRow
from adbot_queue.payments.wishes import wish_of

_T = TypeVar("_T")


class Dispute(StrEnum):
    """A dispute's state; a later one wins over an earlier one, whichever is heard of first."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


_LATER = (Dispute.OPEN, Dispute.WON, Dispute.LOST)


@dataclass(frozen=True, slots=True)
class Payment(PaymentRow):
    """A payment: what is known of it, and what follows."""

    @property
    def amount(self) -> int:
        """All that was paid."""
        return sum(self.paid.values())

    @property
    def amount_refunded(self) -> int:
        """All that was given back."""
        return sum(self.refunded.values())

    @property
    def fully_refunded(self) -> bool:
        """Nothing of the money was kept."""
        return 0 < self.amount <= self.amount_refunded

    @property
    def nothing_is_left(self) -> bool:
        """The one payment that was made is lost in a dispute."""
        return self.lost and len(self.paid) == 1

    def is_given_back(self, name: str) -> bool:
        """Nothing of that one payment was kept, as far as it is known which charges paid it."""
        charges = [charge for charge in self.refunded if self._paid_by(charge) == name]
        return 0 < self.paid.get(name, 0) <= sum(self.refunded[charge] for charge in charges)

    def _paid_by(self, charge: str) -> str:
        """Return what a charge paid, by way of its intent: at most two steps."""
        step = self.tenders.get(charge, charge)
        return self.tenders.get(step, step)

    @property
    def disputed(self) -> bool:
        """A dispute is open."""
        return Dispute.OPEN in self.disputes.values()

    @property
    def lost(self) -> bool:
        """A dispute was lost."""
        return Dispute.LOST in self.disputes.values()

    @property
    def over_at(self) -> int | None:
        """The moment from which on nothing more is sold: the subscription's end, or a lost dispute."""
        return min(filter(None, (self.ended_at, self.lost_at)), default=None)

    @property
    def unmatched(self) -> bool:
        """Money went back, or is disputed, and nothing is known to have been bought for it, not by a job either."""
        return not self.has_order and not self.job and (self.amount_refunded > 0 or bool(self.disputes))

    @property
    def has_order(self) -> bool:
        """Whether there is a purchase: facts that precede it make no order."""
        return self.began or self.failed or bool(self.paid)

    def merge(self, other: Payment) -> Payment:
        """Both put together. The same facts again change nothing; the order of merging changes nothing."""
        disputes = dict(self.disputes)
        for name, state in other.disputes.items():
            disputes[name] = max(disputes.get(name, state), state, key=lambda known: _LATER.index(Dispute(known)))
        return Payment(
            began=self.began or other.began,
            failed=self.failed or other.failed,
            ended=self.ended or other.ended,
            paid=_highest(self.paid, other.paid),
            refunded=_highest(self.refunded, other.refunded),
            disputes=disputes,
            paid_until=max(filter(None, (self.paid_until, other.paid_until)), default=None),
            currency=self.currency or other.currency,
            metadata=_better(self.metadata, other.metadata),
            provider_ids={**other.provider_ids, **self.provider_ids},
            sales=_joined(
                self.sales, other.sales, lambda one, two: max(one, two, key=lambda sale: str(sorted(sale.items())))
            ),
            paid_at=_joined(self.paid_at, other.paid_at, min),
            returned_at=_joined(self.returned_at, other.returned_at, lambda one, two: _joined(one, two, min)),
            covers_until=_joined(self.covers_until, other.covers_until, max),
            ended_at=min(filter(None, (self.ended_at, other.ended_at)), default=None),
            lost_at=min(filter(None, (self.lost_at, other.lost_at)), default=None),
            tenders=_joined(self.tenders, other.tenders, max),
            job=max(self.job, other.job),
        )


def _highest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def _joined(one: Mapping[str, _T], other: Mapping[str, _T], join: Callable[[_T, _T], _T]) -> dict[str, _T]:
    """Both mappings; where both have a name, the join of its values."""
    both = {name: join(one[name], other[name]) for name in one.keys() & other.keys()}
    return {**one, **other, **both}


def _better(one: Mapping[str, str], other: Mapping[str, str]) -> Mapping[str, str]:
    """The metadata that can be used; the checkout's own may come after an invoice that has none."""
    if not one or (other and wish_of(one).problem and not wish_of(other).problem):
        return other
    return one


def order_id_of(key: str) -> str:
    """The id of the one order of a payment."""
    return derived_id("ord_", key)


def bot_id_of(order_id: str) -> str:
    """The id of the bot that a payment makes. An operator's bot for the same order has another one."""
    return derived_id("bot_", order_id)
