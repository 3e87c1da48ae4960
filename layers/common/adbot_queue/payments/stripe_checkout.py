"""Stripe's Checkout, over its own library, which is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adbot_queue.core.errors import IdempotencyMismatch, NotConfigured, ProviderFailed
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import stripe_client

if TYPE_CHECKING:
    from stripe import StripeError


def create_checkout(params: dict[str, Any], idempotency_key: str) -> tuple[str, str, int, bool]:
    """Create a Checkout session; the same key creates it once.

    Args:
        params: as in https://docs.stripe.com/api/checkout/sessions/create.
        idempotency_key: what tells a repetition from a second wish.

    Returns:
        The session's id, the address to send the customer to, when it expires (seconds since 1970), and whether an
        earlier request with the key had made it.

    Raises:
        NotConfigured, Unavailable: as `secrets.read`.
        IdempotencyMismatch: the key was used with other parameters.
        ProviderFailed: Stripe refused, or could not be reached; `retryable` says whether to try again.
    """
    import stripe  # noqa: PLC0415

    client = stripe_client.client()
    try:
        session = client.v1.checkout.sessions.create(params, {"idempotency_key": idempotency_key})  # type: ignore[arg-type]
    except stripe.IdempotencyError as error:
        raise IdempotencyMismatch(
            "this Idempotency-Key was used with another request, or the plan has changed since"
        ) from error
    except stripe.AuthenticationError as error:
        raise NotConfigured("Stripe does not accept the API key in the secret that StripeSecretArn names") from error
    except stripe.StripeError as error:
        raise _failure(error) from error
    headers = session.last_response.headers if session.last_response else {}
    return session.id, session.url or "", session.expires_at, headers.get("idempotent-replayed") == "true"


def _failure(error: StripeError) -> ProviderFailed:
    again = stripe_client.is_retryable(error)
    logger.warning("Stripe refused", error=type(error).__name__, status=error.http_status, request=error.request_id)
    if error.http_status is None:
        sentence = "Stripe could not be reached; try again in a moment"
    elif again:
        sentence = f"Stripe is busy (HTTP {error.http_status}); try again in a moment"
    else:
        sentence = f"Stripe refused: {error.user_message or type(error).__name__}"
    return ProviderFailed(sentence, retryable=again)
