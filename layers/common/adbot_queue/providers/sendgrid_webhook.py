"""Whether a batch of events is SendGrid's: an ECDSA signature over its timestamp and its bytes.

`cryptography` itself: SendGrid's helper is the same call behind an import of the whole library, and takes text.
"""

from __future__ import annotations

import base64
import binascii

from adbot_queue.core import telemetry
from adbot_queue.core.errors import BadSignature, NotConfigured
from adbot_queue.providers import registry

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"

MAX_AGE_S = 25 * 3600
"""SendGrid retries for 24 hours, and does not say that it signs again. A replayed batch changes nothing, so this keeps
out only what no retry explains."""

MAX_AHEAD_S = 300
"""By which its clock may be ahead of ours."""


def verify(raw: bytes, signature: str | None, timestamp: str | None, now: int) -> None:
    """Accept the batch.

    Args:
        raw: the body, exactly the bytes that came.
        signature: the header of that name.
        timestamp: the header of that name, seconds since 1970.
        now: in ms.

    Raises:
        BadSignature: missing, wrong, too old, or ahead of time.
        NotConfigured: the secret holds no usable public key. Unavailable: as `secrets.read`.
    """
    if not signature or not timestamp:
        raise BadSignature("signature and timestamp are needed")
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  takes 75 ms
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    text = str(registry.credential("sendgrid", "webhook_public_key"))
    try:
        key = load_der_public_key(base64.b64decode(text))
    except ValueError:
        key = None
    if not isinstance(key, EllipticCurvePublicKey):
        raise NotConfigured("webhook_public_key in the secret that SendGridSecretArn names is no public key")
    age = now / 1000 - _seconds(timestamp)
    try:
        signed = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignature("the signature is not SendGrid's") from error
    try:
        key.verify(signed, timestamp.encode() + raw, ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        telemetry.gauge("BadSendGridSignatures", 1)
        raise BadSignature("the signature is not SendGrid's") from error
    if not -MAX_AHEAD_S <= age <= MAX_AGE_S:
        telemetry.gauge("BadSendGridSignatures", 1)
        raise BadSignature("the signature is too old, or ahead of time")
    telemetry.gauge("BadSendGridSignatures", 0)  # the minimum of an hour is 1 while not one is good


def _seconds(timestamp: str) -> int:
    if not timestamp.isascii() or not timestamp.isdigit():
        raise BadSignature("the timestamp is not one")
    return int(timestamp)
