"""`refund-process`: gives a payment back, all of it or a part, never more than was paid.

Three things protect what was paid:

- Before it acts a job asks Stripe for the payment and all of its refunds, and refuses an excess. - Between that and the
refund another job may refund the same payment. Stripe decides then: it changes a charge for one request at a time (it
asks the second to retry, which is transient) and refuses an excess. - The job's key is Stripe's idempotency key, and
part of the refund's metadata. An attempt whose answer was lost finds its refund among those of the payment, also after
Stripe has forgotten the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from adbot_queue.core import telemetry
from adbot_queue.core.schema import Input
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.payments import stripe_calls as money
from adbot_queue.platform.owner_limit import OwnerLimit
from adbot_queue.providers import stripe_currencies as currencies

if TYPE_CHECKING:
    from stripe import Refund, StripeClient

VOID = frozenset(["failed", "canceled"])
"""Refunds of these statuses gave nothing back."""


class ProcessRefund(Input):
    """A refund to make now. Without an `amount`: of all that is left.

    `amount` is in the smallest unit of the payment's currency; `currency` is only compared with it.
    """

    transaction_id: str = Field(
        pattern=r"^(pi|ch)_[A-Za-z0-9_]{1,250}$", description="the pi_… or ch_… id of a payment"
    )
    amount: money.Amount | None = None
    currency: money.Currency | None = None
    reason: Literal["duplicate", "fraudulent", "requested_by_customer"] | None = None
    metadata: money.Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_the_currency(self) -> Self:
        if self.amount and self.currency:
            money.fit(self.amount, self.currency)
        return self

    @property
    def of(self) -> dict[str, str]:
        """The payment, as Stripe's parameters name it."""
        kind = "payment_intent" if self.transaction_id.startswith("pi_") else "charge"
        return {kind: self.transaction_id}


@dataclass(frozen=True, slots=True)
class _Paid:
    amount: int
    currency: str


def process_refund(payload: ProcessRefund, context: Context) -> dict[str, Any]:
    """Refund a payment.

    Returns:
        refund, status, amount, currency, amount_text, and `remaining`: what can still be refunded, as far as this
        attempt saw. Status `pending` or `requires_action`: Stripe has it, and it will come or fail later.

    Raises:
        PermanentError: nothing is left (`charge_already_refunded`), too little is left, it was never paid, or Stripe
            refused for another reason. TransientError: Stripe is busy or was not reached.
        NotConfigured, Unavailable, TimeoutError: as `money.asking`.
    """
    paid = _paid(payload, context)
    before = list(_refunds(payload, context))
    refund = money.own(before, context)
    left = paid.amount - sum(one.amount for one in before if one is not refund and one.status not in VOID)
    if refund is None:
        _check(payload, paid, left)
        context.check_cancelled()
        refund = _create(payload, context)
    if refund.status in VOID:
        raise PermanentError(
            f"refund {refund.id} {refund.status}: {getattr(refund, 'failure_reason', None) or 'no reason'}"
        )
    telemetry.count("RefundsProcessed" if refund.status == "succeeded" else "RefundsPending")
    logger.info("refund", refund=refund.id, status=refund.status)
    return {
        "refund": refund.id,
        "status": refund.status,
        **money.shown(refund),
        "remaining": left - refund.amount,
    }


def _paid(payload: ProcessRefund, context: Context) -> _Paid:
    """What Stripe took, and kept."""
    with money.asking(context, money.LOOK_READ_S) as client:
        intents, charges = client.v1.payment_intents, client.v1.charges
        ask = intents.retrieve if "payment_intent" in payload.of else charges.retrieve
        payment: Any = ask(payload.transaction_id, options=money.options())
    if payment.status != "succeeded":
        raise PermanentError(f"not paid: {payment.status}")
    # What was captured may be less than the amount. Stripe's schema has the field as optional: then it is the amount.
    taken = "amount_received" if "payment_intent" in payload.of else "amount_captured"
    return _Paid(getattr(payment, taken, payment.amount), payment.currency)


def _refunds(payload: ProcessRefund, context: Context) -> Iterator[Any]:
    def those(client: StripeClient, page: Any) -> Any:
        params: Any = {**payload.of, **page}
        return client.v1.refunds.list(params, money.options())

    return money.everything(context, those)


def _check(payload: ProcessRefund, paid: _Paid, left: int) -> None:
    if payload.currency and payload.currency != paid.currency:
        raise PermanentError(f"currency_mismatch: the payment was in {paid.currency}")
    if left <= 0:
        raise PermanentError("charge_already_refunded: nothing is left to refund")
    if payload.amount is None:
        return
    if payload.amount > left:
        raise PermanentError(f"amount_too_large: {currencies.text(left, paid.currency)} is left to refund")
    try:
        money.fit(payload.amount, paid.currency)
    except ValueError as error:
        raise PermanentError(f"invalid_amount: {error}") from error


def _create(payload: ProcessRefund, context: Context) -> Refund:
    optional = {"amount": payload.amount, "reason": payload.reason}
    params: Any = {
        **payload.of,
        **{name: value for name, value in optional.items() if value},
        "metadata": money.marked(payload.metadata, context),
    }
    with money.asking(context) as client:
        return client.v1.refunds.create(params, money.options(key=context.idempotency_key))


def needs_owner(payload: Mapping[str, Any], limit: OwnerLimit) -> str | None:
    """Return why a refund needs the owner; None: it does not."""
    return limit.reason("a refund", payload.get("amount"), payload.get("currency"))


def as_admin(payload: dict[str, Any], limit: OwnerLimit) -> dict[str, Any]:
    """Name the installation's currency in a refund of a part that names none: the job compares it with the payment's.

    A part of a payment is refunded in the payment's own currency, whichever that is.
    """
    if payload.get("amount") is not None and payload.get("currency") is None:
        return {**payload, "currency": limit.currency}
    return payload


JOB = JobType(
    queue="money",
    payload=ProcessRefund,
    handler=process_refund,
    needs_owner=needs_owner,
    as_admin=as_admin,
    window_s=90 * DAY_S,
    horizon_s=3 * DAY_S,
    cap_s=15 * MINUTE_S,
    needs=("stripe",),
    cancellable=True,
    example={"transaction_id": "pi_1", "reason": "duplicate"},
)
