"""Signatures as Standard Webhooks defines them (https://www.standardwebhooks.com), by the installation's secrets."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from datetime import UTC, datetime

from adbot_queue.core import secrets
from adbot_queue.core.errors import NotConfigured
from adbot_queue.core.settings import settings

MIN_KEY, MAX_KEY = 24, 64
"""Bytes of a secret: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""

SETTING = "WEBHOOK_SECRET_ID"

_PREFIX = "whsec_"


def signed(message_id: str, now: int, body: str, keys: list[bytes]) -> dict[str, str]:
    """The three headers, with one signature for each key."""
    from standardwebhooks import Webhook  # noqa: PLC0415

    moment = datetime.fromtimestamp(now // 1000, tz=UTC)
    signatures = [Webhook(key).sign(message_id, moment, body) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now // 1000),
        "webhook-signature": " ".join(signatures),
    }


def signing_secrets() -> list[bytes]:
    """The keys in force: the current one, and the one before it while that is still there.

    A secret is base64, with or without `whsec_` before it. So what Secrets Manager generates, 64 letters and digits,
    is one as it is.

    Raises:
        NotConfigured: there is no current secret, or one is too short or no base64. Unavailable: not readable now.
    """
    secret_id = settings().webhook_secret_id
    found = [secrets.read(secret_id, "current", SETTING)]
    with suppress(NotConfigured):  # as it should be, but while receivers change over
        found.append(secrets.read(secret_id, "previous", SETTING))
    return [_key(str(text)) for text in found]


def _key(text: str) -> bytes:
    encoded = text.removeprefix(_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotConfigured(f"the secret that {SETTING} names is not base64") from error
    if not MIN_KEY <= len(key) <= MAX_KEY:
        raise NotConfigured(f"the secret that {SETTING} names must be {MIN_KEY} to {MAX_KEY} bytes, in base64")
    return key
