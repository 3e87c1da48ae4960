"""Events and payments as the Payments table holds them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from adbot_queue.payments.model import Payment


@dataclass(frozen=True, slots=True)
class Received:
    """An event as recorded. `payload` is the text Stripe sent; empty for types that are ignored."""

    key: str
    event_id: str
    event_type: str
    payload: str
    unsettled: bool
    received_at: str


@dataclass(frozen=True, slots=True)
class StoredPayment:
    """A payment as stored: its key, its facts, and the version they were read with (0: not stored yet)."""

    key: str
    payment: Payment
    version: int = 0
    unmatched_since: str | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the ids of a fact lead to.

    Attributes:
        home: the payment they belong to; its facts are those of all parts.
        own: its facts without those of the parts.
        parts: payments that were known under other ids, and turn out to be this one.
        unlinked: ids that lead nowhere yet.
    """

    home: StoredPayment
    parts: tuple[StoredPayment, ...]
    unlinked: tuple[str, ...]
    own: Payment = field(default_factory=Payment)
