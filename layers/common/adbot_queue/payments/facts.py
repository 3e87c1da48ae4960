"""What one event of a payment tells, and what the catalogue says of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adbot_queue.payments.model import Payment


@dataclass(frozen=True, slots=True)
class Fact:
    """The facts of one event.

    Attributes:
        action: the ledger's name for it.
        ids: the provider's ids of this payment, best first; events of one payment share at least one.
        facts: as a payment of which nothing else is known.
        subscription: the first id is a subscription's: it is the payment's key whatever was known before.
    """

    action: str
    ids: tuple[str, ...]
    facts: Payment
    subscription: bool = False

    @property
    def takes_away(self) -> bool:
        """Money goes back, or the subscription ends."""
        return self.facts.ended or bool(self.facts.refunded) or bool(self.facts.disputes)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the catalogue and the user pool say of a payment.

    Attributes:
        refusal: why no bot can be made although the metadata is usable: no such user, no such pool.
        problems: payment -> why it does not fit the plan that it names.
        pool, required: what the plan gives where the metadata does not say.
    """

    refusal: str | None = None
    problems: Mapping[str, str] = field(default_factory=dict)
    pool: str | None = None
    required: int | None = None
