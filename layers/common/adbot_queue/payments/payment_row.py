"""What is stored of a payment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """All that is known of one purchase: a single payment, or a subscription with all its invoices.

    Amounts are in the currency's smallest unit.

    Attributes:
        began: the customer finished the checkout; the money is not there yet.
        failed: the provider gave up getting it.
        ended: the subscription is over.
        paid: invoice, or else payment or checkout session -> amount.
        refunded: charge -> amount given back so far.
        disputes: dispute -> its state.
        paid_until: end of the last period that is paid, in milliseconds.
        metadata: what the checkout said was bought.
        provider_ids: under which names the provider's own pages show it.
        sales: session or invoice -> what it asked for: `pays` (a name in `paid`), mode, currency, `asked` (before
            discounts and taxes; a text where it is no amount), plan_id, required_sessions.
        paid_at: name in `paid` -> when the money came, in milliseconds.
        returned_at: charge -> sum given back so far, as text -> when.
        covers_until: name in `paid` -> end of the period that it pays.
        ended_at, lost_at: when the subscription ended, when the first dispute was lost.
        tenders: charge or payment intent -> what it paid: an intent, or a name in `paid`.
        job: of ours, that took this payment: it is no order.
    """

    began: bool = False
    failed: bool = False
    ended: bool = False
    paid: Mapping[str, int] = field(default_factory=dict)
    refunded: Mapping[str, int] = field(default_factory=dict)
    disputes: Mapping[str, str] = field(default_factory=dict)
    paid_until: int | None = None
    currency: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    provider_ids: Mapping[str, str] = field(default_factory=dict)
    sales: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paid_at: Mapping[str, int] = field(default_factory=dict)
    returned_at: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    covers_until: Mapping[str, int] = field(default_factory=dict)
    ended_at: int | None = None
    lost_at: int | None = None
    tenders: Mapping[str, str] = field(default_factory=dict)
    job: str = ""
