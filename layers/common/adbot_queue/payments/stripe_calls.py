"""What jobs that move money through Stripe share: amounts, calls, and the meaning of Stripe's refusals.

The job's key is Stripe's idempotency key and part of the metadata of what the job created (`job`). Stripe keeps a key
for at least 24 hours (https://docs.stripe.com/api/idempotent_requests); a job may be tried for three days, and again
when a dead one is retried. So a job older than `KEY_LIFE_MS` searches for its mark first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from adbot_queue.core.errors import AccountRefused, Reach
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, Throttled, TransientError
from adbot_queue.jobs.provider_call import calling
from adbot_queue.providers import stripe_client
from adbot_queue.providers import stripe_currencies as currencies
from adbot_queue.providers.waiting import retry_after

if TYPE_CHECKING:
    from stripe import RequestOptions, StripeClient, StripeError

MAX_AMOUNT = 1_000_000
ACT_READ_S = 15
"""Banks are slow to answer."""

LOOK_READ_S = 5
"""For a question, which asks no bank."""

KEY_LIFE_MS = 23 * 3_600_000
"""An hour less than Stripe promises: clocks differ."""

REPLAYED_S = 3600
"""When a request is repeated whose failure Stripe remembers under its key: it does so for a day."""

_NO_CALL_PASSES = frozenset(
    {
        "api_key_expired",
        "platform_api_key_expired",
        "secret_key_required",
        "testmode_charges_only",
        "tls_version_unsupported",
    }
)
"""Codes that are about the account or its key, whatever class of error they come as:
https://docs.stripe.com/error-codes"""

PAGE = 100
"""The most that Stripe lists at once."""

Amount = Annotated[int, Field(gt=0, le=MAX_AMOUNT)]
Currency = Annotated[str, Field(pattern=r"^[a-z]{3}$", description="a three-letter ISO 4217 code in lower case")]

# Stripe's limits are 50 entries, 40 and 500 characters; one entry is ours.
MetadataKey = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\[\]]+$")]
MetadataValue = Annotated[str, Field(max_length=500)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=49)]


class Declined(PermanentError):
    """The bank said no."""


def fit(amount: int, currency: str, *, payout: bool = False) -> None:
    """Check that an amount can be moved in its currency.

    Raises:
        ValueError: it has a fraction that the currency has not.
    """
    step = currencies.granularity(currency, payout=payout)
    if amount % step:
        raise ValueError(f"an amount in {currency} must be a multiple of {step}")


def shown(moved: Any) -> dict[str, Any]:
    """The part of a result that tells how much was moved."""
    return {
        "amount": moved.amount,
        "currency": moved.currency,
        "amount_text": currencies.text(moved.amount, moved.currency),
    }


@contextmanager
def asking(context: Context, read_s: int = ACT_READ_S, account: str | None = None) -> Iterator[StripeClient]:
    """Guard a request to Stripe; `account`: the connected account that it is sent for.

    Raises:
        Declined, PermanentError, TransientError: as `outcome`. Throttled, ProviderClosed: as `calling`. TimeoutError:
            no time left. NotConfigured, Unavailable: as `stripe_client.client`.
    """
    with calling("stripe", read_s + stripe_client.CONNECT_S, context, account or "") as seconds:
        client = stripe_client.client(max(1, int(seconds) - stripe_client.CONNECT_S))
        import stripe  # noqa: PLC0415

        try:
            yield client
        except stripe.StripeError as error:
            raise outcome(error, account) from error


def options(account: str | None = None, key: str | None = None) -> RequestOptions:
    """How a request is sent: once, for a connected account if one is named, under an idempotency key if it acts."""
    # The job is what is tried again, visibly; a library that repeats inside of an attempt hides it.
    made: RequestOptions = {"max_network_retries": 0}
    if account:
        made["stripe_account"] = account
    if key:
        made["idempotency_key"] = key
    return made


def everything(context: Context, ask: Callable[[StripeClient, Any], Any], account: str | None = None) -> Iterator[Any]:
    """All objects of a list of Stripe's; `ask` gets the client and which page. `account` as for `asking`.

    Raises:
        PermanentError, TransientError, NotConfigured, TimeoutError, Unavailable: as `asking`.
    """
    page: dict[str, Any] = {"limit": PAGE}
    while True:
        with asking(context, LOOK_READ_S, account) as client:
            found = ask(client, page)
        yield from found.data
        if not found.has_more:
            return
        page["starting_after"] = found.data[-1].id


def marked(metadata: Mapping[str, str], context: Context) -> dict[str, str]:
    """The metadata of what a job makes."""
    return {**metadata, "job": context.idempotency_key}


def own(found: Iterable[Any], context: Context) -> Any:
    """What an earlier attempt made; None: nothing."""
    return next((one for one in found if getattr(one.metadata, "job", None) == context.idempotency_key), None)


def key_may_be_forgotten(context: Context) -> bool:
    """Whether Stripe may not remember an earlier attempt by its key."""
    return context.created_at is not None and context.now() - context.created_at > KEY_LIFE_MS


def outcome(error: StripeError, account: str | None = None) -> Exception:
    """What a refusal means for the job. Codes and parameters only: Stripe's sentences may quote the customer.

    Args:
        error: what Stripe's library raised.
        account: the connected account that the request was for.
    """
    import stripe  # noqa: PLC0415

    detail = error.error
    code = (detail and (detail.decline_code or detail.code)) or error.code or type(error).__name__
    logger.warning("Stripe refused", code=code, status=error.http_status, request=error.request_id)
    if isinstance(error, stripe.CardError):
        return Declined(f"declined: {code}")
    headers = error.headers or {}
    if isinstance(error, stripe.RateLimitError):
        # Only one object is locked; its limits are an account's.
        reach = Reach.JOB if code == "lock_timeout" else Reach.PART
        return Throttled(f"Stripe is busy (HTTP {error.http_status})", retry_after(headers), reach)
    by_class = isinstance(error, stripe.AuthenticationError | stripe.PermissionError)
    if code in _NO_CALL_PASSES or (by_class and not (code == "account_invalid" and account)):
        # A restricted key may lack the permission for this request alone.
        may_pass = isinstance(error, stripe.PermissionError) and code not in {*_NO_CALL_PASSES, "account_invalid"}
        reach = Reach.JOB if may_pass else Reach.PROVIDER
        sentence = f"Stripe does not accept the API key in the secret that StripeSecretArn names ({code})"
        return AccountRefused(sentence, reach)
    if error.http_status is None and stripe_client.is_retryable(error):
        return TransientError("Stripe could not be reached")
    if headers.get("stripe-should-retry") == "true" or stripe_client.is_retryable(error):
        # A failure out of Stripe's memory of the key says nothing about Stripe now. When the key is forgotten, the
        # job looks for what it made, and asks anew.
        replayed = headers.get("idempotent-replayed") == "true"
        seconds = retry_after(headers)
        return TransientError(
            f"Stripe is busy (HTTP {error.http_status})",
            REPLAYED_S if replayed and seconds is None else seconds,
        )
    param = f", {detail.param}" if detail and detail.param else ""
    return PermanentError(f"Stripe refused: {code}{param}")
