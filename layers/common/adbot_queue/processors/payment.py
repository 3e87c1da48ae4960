"""`payment-process`: takes a payment by card through Stripe, once.

The job's key is Stripe's idempotency key, so an attempt whose answer was lost is answered by the next one's with the
same PaymentIntent. Stripe remembers its own failures (500) under the key as well: such a job runs out of attempts and
a person looks at Stripe before it is replayed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from adbot_queue.core import telemetry
from adbot_queue.core.errors import NotConfigured
from adbot_queue.core.schema import Input
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.retry import Permanent, Transient
from adbot_queue.processors import currencies
from adbot_queue.processors.calls import calling
from adbot_queue.providers import stripe_client
from adbot_queue.providers.waiting import retry_after

if TYPE_CHECKING:
    from stripe import PaymentIntent, StripeError

MOST_AMOUNT = 1_000_000
READ_S = 15
"""Banks are slow to answer."""

# Stripe's limits are 50 entries, 40 and 500 characters; one entry is ours.
MetadataKey = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\[\]]+$")]
MetadataValue = Annotated[str, Field(max_length=500)]


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

    amount: int = Field(gt=0, le=MOST_AMOUNT)
    currency: str = Field(pattern=r"^[a-z]{3}$", description="ISO 4217, lower case")
    payment_method: str = Field(min_length=1, max_length=255, pattern=r"^[\w-]+$", description="pm_… of a card")
    customer: str | None = Field(default=None, min_length=1, max_length=255, pattern=r"^[\w-]+$")
    description: str = Field(default="", max_length=1000)
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=49)
    return_url: Annotated[str, Field(max_length=2000), AfterValidator(_https)] | None = Field(
        default=None, description="where the bank sends the customer after 3-D Secure"
    )

    @model_validator(mode="after")
    def _fits_the_currency(self) -> Self:
        step = currencies.granularity(self.currency)
        if self.amount % step:
            raise ValueError(f"an amount in {self.currency} must be a multiple of {step}")
        return self


def process_payment(payload: ProcessPayment, context: Context) -> dict[str, Any]:
    """Create and confirm a PaymentIntent.

    Returns:
        payment_intent, status, amount, currency, amount_text. Status `requires_action` comes with `next_action`: the
        customer has to authenticate, at its `url` if a return_url was given. Nothing was charged until then.

    Raises:
        Permanent: declined, or refused for what was asked. Transient: Stripe is busy or was not reached.
        NotConfigured, Unavailable: as `stripe_client.client`, or Stripe does not accept the key.
    """
    intent = _create(payload, context)
    telemetry.count("PaymentsProcessed" if intent.status == "succeeded" else "PaymentsPending")
    logger.info("payment", intent=intent.id, status=intent.status)
    return _result(intent)


def _create(payload: ProcessPayment, context: Context) -> PaymentIntent:
    with calling("stripe", READ_S + stripe_client.CONNECT_S, context) as seconds:
        client = stripe_client.client(max(1, int(seconds) - stripe_client.CONNECT_S))
        import stripe  # noqa: PLC0415

        try:
            return client.v1.payment_intents.create(
                _params(payload, context.job_id),  # type: ignore[arg-type]
                # The job is what is tried again, visibly; a library that repeats inside of an attempt hides it.
                {"idempotency_key": context.idempotency_key, "max_network_retries": 0},
            )
        except stripe.StripeError as error:
            raise _outcome(error) from error


def _params(payload: ProcessPayment, job_id: str) -> dict[str, Any]:
    optional = {"customer": payload.customer, "description": payload.description, "return_url": payload.return_url}
    return {
        "amount": payload.amount,
        "currency": payload.currency,
        "payment_method": payload.payment_method,
        "payment_method_types": ["card"],
        "confirm": True,
        "metadata": {**payload.metadata, "job": job_id},
        **{name: value for name, value in optional.items() if value},
    }


def _result(intent: PaymentIntent) -> dict[str, Any]:
    result: dict[str, Any] = {
        "payment_intent": intent.id,
        "status": intent.status,
        "amount": intent.amount,
        "currency": intent.currency,
        "amount_text": currencies.text(intent.amount, intent.currency),
    }
    if action := intent.next_action:
        redirect = action.redirect_to_url if action.type == "redirect_to_url" else None
        result["next_action"] = {"type": action.type, "url": redirect.url if redirect else None}
    return result


def _outcome(error: StripeError) -> Exception:
    """What a refusal means for the job. Codes and parameters only: Stripe's sentences may quote the customer."""
    import stripe  # noqa: PLC0415

    told = error.error
    code = (told and (told.decline_code or told.code)) or error.code or type(error).__name__
    logger.warning("Stripe refused", code=code, status=error.http_status, request=error.request_id)
    if isinstance(error, stripe.CardError):
        telemetry.count("PaymentsDeclined")
        return Permanent(f"declined: {code}")
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return NotConfigured("Stripe does not accept the API key in the secret that StripeSecretArn names")
    if error.http_status is None and stripe_client.is_retryable(error):
        return Transient("Stripe could not be reached")
    if stripe_client.is_retryable(error):
        return Transient(f"Stripe is busy (HTTP {error.http_status})", retry_after(error.headers))
    param = f", {told.param}" if told and told.param else ""
    return Permanent(f"Stripe refused: {code}{param}")
