"""Stripe's webhooks, over its own library, which is imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from adbot_queue.core.errors import BadSignature, NotConfigured
from adbot_queue.payments.envelope import Source, livemode_of
from adbot_queue.providers import registry

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
