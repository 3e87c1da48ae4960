"""`payment-process`: takes a payment by card through Stripe, once.

The job's key is Stripe's idempotency key, so an attempt whose answer was lost is answered by the next one's with the
same PaymentIntent. Stripe remembers its own failures (500) under the key as well: such a job asks each hour until
Stripe has forgotten the key, after a day. Then it searches for its PaymentIntent first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from adbot_queue.core import telemetry
from adbot_queue.core.schema import Input
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.payments import stripe_calls as money

if TYPE_CHECKING:
    from stripe import PaymentIntent


def _https(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or parts.username:
        raise ValueError("must be an https address, without a user name")
    return address


class ProcessPayment(Input):
    """A payment to take now.

    `amount` is in the currency's smallest unit: cents, but whole yen (zero-decimal currencies) and thousandths of a
    dinar, the last digit 0 (three-decimal ones).
    """

    amount: money.Amount
    currency: money.Currency
    payment_method: str = Field(min_length=1, max_length=255, pattern=r"^[\w-]+$", description="the pm_… id of a card")
    customer: str | None = Field(
        default=None, min_length=1, max_length=255, pattern=r"^[\w-]+$", description="a cus_… id"
    )
    description: str = Field(default="", max_length=1000)
    metadata: money.Metadata = Field(default_factory=dict)
    return_url: Annotated[str, Field(max_length=2000), AfterValidator(_https)] | None = Field(
        default=None, description="where the bank sends the customer after 3-D Secure"
    )

    @model_validator(mode="after")
    def _fits_the_currency(self) -> Self:
        money.fit(self.amount, self.currency)
        return self


def process_payment(payload: ProcessPayment, context: Context) -> dict[str, Any]:
    """Create and confirm a PaymentIntent.

    Returns:
        payment_intent, status, amount, currency, amount_text. Status `requires_action` comes with `next_action`: the
        customer has to authenticate, at its `url` if a return_url was given. Nothing was charged until then.

    Raises:
        PermanentError: declined, or refused for what was asked. TransientError: Stripe is busy or was not reached.
        NotConfigured, Unavailable, TimeoutError: as `money.asking`.
    """
    try:
        intent = _made_before(context) or _create(payload, context)
    except money.Declined:
        telemetry.count("PaymentsDeclined")
        raise
    telemetry.count("PaymentsProcessed" if intent.status == "succeeded" else "PaymentsPending")
    logger.info("payment", intent=intent.id, status=intent.status)
    return _result(intent)


def _made_before(context: Context) -> PaymentIntent | None:
    """What an attempt made whose key Stripe may have forgotten."""
    if not money.key_may_be_forgotten(context):
        return None
    # Stripe's search is a minute behind, and the key was good for longer than that.
    query = f"metadata['job']:'{context.idempotency_key}'"
    with money.asking(context, money.LOOK_READ_S) as client:
        found = client.v1.payment_intents.search({"query": query}, money.options()).data
    intent: PaymentIntent | None = money.own(found, context)
    if intent and intent.status == "requires_payment_method":
        failed = intent.last_payment_error
        raise money.Declined(f"declined: {(failed and (failed.decline_code or failed.code)) or intent.status}")
    return intent


def _create(payload: ProcessPayment, context: Context) -> PaymentIntent:
    with money.asking(context) as client:
        return client.v1.payment_intents.create(
            _params(payload, context),  # type: ignore[arg-type]
            money.options(key=context.idempotency_key),
        )


def _params(payload: ProcessPayment, context: Context) -> dict[str, Any]:
    optional = {"customer": payload.customer, "description": payload.description, "return_url": payload.return_url}
    return {
        "amount": payload.amount,
        "currency": payload.currency,
        "payment_method": payload.payment_method,
        "payment_method_types": ["card"],
        "confirm": True,
        "metadata": money.marked(payload.metadata, context),
        **{name: value for name, value in optional.items() if value},
    }


def _result(intent: PaymentIntent) -> dict[str, Any]:
    result: dict[str, Any] = {"payment_intent": intent.id, "status": intent.status, **money.shown(intent)}
    if action := intent.next_action:
        redirect = action.redirect_to_url if action.type == "redirect_to_url" else None
        result["next_action"] = {"type": action.type, "url": redirect.url if redirect else None}
    return result


JOB = JobType(
    queue="money",
    payload=ProcessPayment,
    handler=process_payment,
    window_s=90 * DAY_S,
    horizon_s=3 * DAY_S,
    cap_s=15 * MINUTE_S,
    needs=("stripe",),
    example={"amount": 4900, "currency": "eur", "payment_method": "pm_card_visa"},
)
