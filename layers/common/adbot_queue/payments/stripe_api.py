"""Stripe, over its own library.

The only module that imports it, and only when it is used: that takes 230 to 450 ms more than boto3 has taken already,
nearly all of it for `requests` and TLS, whichever part of the library is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import secrets
from adbot_queue.core.errors import BadSignature, IdempotencyMismatch, NotConfigured, ProviderFailed
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger

if TYPE_CHECKING:
    from stripe import StripeClient, StripeError

TOLERANCE = 300
"""Seconds for which a signature is good, Stripe's recommendation: a recorded request is worthless after that."""

TIMEOUT = (2, 5)
"""Seconds to connect and to read; the library's default of 80 is longer than the function may run."""

RETRIES = 2
CONFLICT, SERVER_ERROR = 409, 500
_SETTING = "STRIPE_SECRET_ID"


def webhook_secrets() -> list[str]:
    """The secrets with which events may be signed: one, or two while one replaces the other.

    Raises:
        NotConfigured, Unavailable: as `secrets.read`.
    """
    found = secrets.read(settings().stripe_secret_id, "webhook_secret", _SETTING)
    return [found] if isinstance(found, str) else list(found)


def verify(raw: bytes, signature: str | None, valid: Sequence[str]) -> str:
    """The body as text, if one of the secrets signed exactly these bytes, not more than `TOLERANCE` seconds ago.

    Raises:
        BadSignature: missing, malformed, wrong or too old.
    """
    from stripe import SignatureVerificationError, WebhookSignature  # noqa: PLC0415

    try:
        payload = raw.decode()
    except UnicodeDecodeError as error:
        raise BadSignature("the body is not UTF-8, so Stripe did not sign it") from error
    for secret in valid:
        try:
            WebhookSignature.verify_header(payload, signature, secret, TOLERANCE)
        except SignatureVerificationError:
            continue
        return payload
    raise BadSignature("the Stripe-Signature header is not valid for this body, or is too old")


def create_checkout(params: dict[str, Any], idempotency_key: str) -> tuple[str, str, int]:
    """Create a Checkout session; the same key creates it once.

    Args:
        params: as in https://docs.stripe.com/api/checkout/sessions/create.
        idempotency_key: what tells a repetition from a second wish.

    Returns:
        The session's id, the address to send the customer to, and when it expires (seconds since 1970).

    Raises:
        NotConfigured, Unavailable: as `secrets.read`.
        IdempotencyMismatch: the key was used with other parameters.
        ProviderFailed: Stripe refused, or could not be reached; `retryable` says whether to try again.
    """
    import stripe  # noqa: PLC0415

    client = _client(secrets.read(settings().stripe_secret_id, "api_key", _SETTING), settings().stripe_api_base)
    try:
        session = client.v1.checkout.sessions.create(params, {"idempotency_key": idempotency_key})  # type: ignore[arg-type]
    except stripe.IdempotencyError as error:
        raise IdempotencyMismatch("this Idempotency-Key was used with another request") from error
    except stripe.AuthenticationError as error:
        raise NotConfigured(f"Stripe does not accept the API key in the secret that {_SETTING} names") from error
    except stripe.StripeError as error:
        raise _failure(error) from error
    return session.id, session.url or "", session.expires_at


def _failure(error: StripeError) -> ProviderFailed:
    again = is_retryable(error)
    logger.warning("Stripe refused", error=type(error).__name__, status=error.http_status, request=error.request_id)
    if error.http_status is None:
        sentence = "Stripe could not be reached; try again in a moment"
    elif again:
        sentence = f"Stripe is busy (HTTP {error.http_status}); try again in a moment"
    else:
        sentence = f"Stripe refused: {error.user_message or type(error).__name__}"
    return ProviderFailed(sentence, retryable=again)


def is_retryable(error: StripeError) -> bool:
    """Whether the same request may succeed later. `APIError` is the base of nearly all and tells nothing."""
    import stripe  # noqa: PLC0415

    if isinstance(error, stripe.APIConnectionError | stripe.RateLimitError):
        return True
    status = error.http_status or 0
    return status == CONFLICT or status >= SERVER_ERROR


@lru_cache(maxsize=2)
def _client(api_key: str, api_base: str) -> StripeClient:
    """A client that keeps its connections. The library retries by itself what is safe, but no 429."""
    import stripe  # noqa: PLC0415

    return stripe.StripeClient(
        api_key,
        base_addresses={"api": api_base} if api_base else {},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=TIMEOUT),
    )
