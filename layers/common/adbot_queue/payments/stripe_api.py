"""Stripe's Checkout and webhooks, over its own library, which is imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from adbot_queue.core.errors import BadSignature, IdempotencyMismatch, NotConfigured, ProviderFailed
from adbot_queue.core.telemetry import logger
from adbot_queue.payments.envelope import Source, livemode_of
from adbot_queue.providers import registry, stripe_client

if TYPE_CHECKING:
    from stripe import StripeError

TOLERANCE = 300
"""Seconds for which a signature is good, Stripe's recommendation: a recorded request is worthless after that."""


def webhook_secrets() -> list[tuple[str, Source]]:
    """The secrets with which events may be signed, and whose events each is declared for.

    In the secret: a text, or a list of texts and of `{"secret": "whsec_…", "accepts": "account" or "connect"}`: several
    while one replaces the other, and one more for the endpoint of connected accounts.

    Raises:
        NotConfigured: an entry is neither, or as `secrets.read`. Unavailable: as `secrets.read`.
    """
    found = registry.credential("stripe", "webhook_secret")
    return [_secret(entry) for entry in (found if isinstance(found, list) else [found])]


def _secret(entry: Any) -> tuple[str, Source]:
    if isinstance(entry, str) and entry:
        return entry, Source.ACCOUNT
    if isinstance(entry, dict) and isinstance(entry.get("secret"), str) and entry["secret"]:
        with suppress(ValueError):
            return entry["secret"], Source(entry.get("accepts", Source.ACCOUNT))
    raise NotConfigured(
        '"webhook_secret" in the secret that StripeSecretArn names: must be texts, or objects with "secret" and '
        '"accepts" (account or connect)'
    )


def livemode() -> bool:
    """Whether this installation takes live events.

    Raises:
        NotConfigured: no API key, or one of a foreign kind. Unavailable: as `secrets.read`.
    """
    return livemode_of(str(registry.credential("stripe", "api_key")))


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
