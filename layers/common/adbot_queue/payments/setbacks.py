"""Money that was sent on and came back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adbot_queue.payments import stripe_fields as fields
from adbot_queue.payments.stripe_fields import Object

SETBACKS = {"refund.failed": "failure_reason", "payout.failed": "failure_code"}
"""Events of money that came back -> which field says why."""


@dataclass(frozen=True, slots=True)
class Setback:
    """Money that was sent on and returned days later: the customer, or the payee, does not have it.

    What it was for is not undone here (a refund that failed may have cancelled a bot): an operator decides.

    Attributes:
        kind: `refund` or `payout`.
        id: the provider's id of it.
        job: the job that sent it; None: it was sent at the provider.
        facts: amount, currency, reason, and payment or account.
    """

    kind: str
    id: str
    job: str | None
    facts: Mapping[str, str | int]

    @property
    def action(self) -> str:
        """How the ledger calls it."""
        return f"payment.{self.kind}_failed"

    @property
    def target(self) -> str:
        """What the ledger's entry is about."""
        return f"job:{self.job}" if self.job else f"{self.kind}:{self.id}"


def read(event: Object) -> Setback:
    """Return the money that came back, of an event in `SETBACKS`.

    Raises:
        KeyError, TypeError, ValueError: as `stripe_events.interpret`.
    """
    moved = event["data"]["object"]
    # A job's key is its id, with a number after a definite refusal (`Job.provider_key`).
    job = fields.texts(moved.get("metadata")).get("job", "").partition("-")[0]
    named = fields.named(
        payment=fields.id_of(moved.get("payment_intent")) or fields.id_of(moved.get("charge")),
        account=fields.id_of(event.get("account")),
        reason=fields.id_of(moved.get(SETBACKS[event["type"]])),
    )
    moved_id = fields.required_id(moved)
    facts = {
        "id": moved_id,
        "amount": fields.whole(moved.get("amount")) or 0,
        "currency": fields.currency(moved),
        **named,
    }
    return Setback(event["type"].partition(".")[0], moved_id, job or None, facts)
