"""Web push: a message for one browser, encrypted (RFC 8291), and signed by who sends it (VAPID, RFC 8292).

Which push service a browser has is written in its subscription, so that address is a stranger's: `core.outbound` posts
to it. Encryption and signature are `cryptography`'s; what is put together here are the bytes between its calls.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from adbot_queue.core import outbound
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.errors import AccountRefused, Reach
from adbot_queue.core.outbound import Answer
from adbot_queue.providers import registry

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

TIMEOUT_S = 10.0

MAX_BYTES = 3993
"""Of a message: push services take bodies of 4,096 bytes, of which 103 are not the message (RFC 8291, section 4)."""

RECORD, POINT, AUTH, SALT = 4096, 65, 16, 16
TOKEN_S = 12 * 3600
"""For which a signature is good; a day is the most that push services take (RFC 8292, section 2)."""


class BadKey(ValueError):
    """A subscription's key is none: nothing can be encrypted for it."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Browser:
    """Where a browser is reached, and what to encrypt for it with."""

    endpoint: str
    p256dh: bytes
    auth: bytes


def decode(text: str) -> bytes:
    """Base64, of either alphabet, padded or not.

    Raises:
        ValueError: it is not.
    """
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def send(
    browser: Browser, message: bytes, headers: Mapping[str, str], seconds: float, now: Clock = system_clock
) -> Answer:
    """Post a message to a browser's push service.

    Args:
        browser: for whom.
        message: what, at most `MAX_BYTES`.
        headers: TTL, Urgency, Topic.
        seconds: for all of it.
        now: the clock that the signature's end is counted by.

    Returns:
        What the push service answered; any status.

    Raises:
        NotConfigured: the secret holds no usable key. Unavailable: as `secrets.read`.
        BadKey, outbound.BadAddress: nothing can ever be sent to it. outbound.Unreachable: no answer.
    """
    sent = {
        "content-type": "application/octet-stream",
        "content-encoding": "aes128gcm",
        "authorization": authorization(browser.endpoint, now() // 1000 + TOKEN_S),
        **headers,
    }
    return outbound.from_env().post(browser.endpoint, encrypt(message, browser), sent, seconds)


def encrypt(
    message: bytes, browser: Browser, own: EllipticCurvePrivateKey | None = None, salt: bytes | None = None
) -> bytes:
    """The body of a push: a header of 86 bytes and one encrypted record.

    Args:
        message: what to say.
        browser: who alone can read it.
        own: key of this message alone; by default a new one.
        salt: by default a new one.

    Raises:
        BadKey: the browser's key is not on the curve.
    """
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415  takes 75 ms
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    try:
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), browser.p256dh)
    except ValueError as error:
        raise BadKey("the key is not on the curve") from error
    own = own or ec.generate_private_key(ec.SECP256R1())
    salt = salt or secrets.token_bytes(SALT)
    public = _point(own)

    def derive(length: int, salted: bytes, info: bytes, material: bytes) -> bytes:
        return HKDF(hashes.SHA256(), length, salted, info).derive(material)

    shared = own.exchange(ec.ECDH(), theirs)
    material = derive(32, browser.auth, b"WebPush: info\0" + browser.p256dh + public, shared)
    key = derive(16, salt, b"Content-Encoding: aes128gcm\0", material)
    nonce = derive(12, salt, b"Content-Encoding: nonce\0", material)
    header = salt + RECORD.to_bytes(4, "big") + len(public).to_bytes(1, "big") + public
    return header + AESGCM(key).encrypt(nonce, message + b"\x02", None)  # 2: the last record


def authorization(endpoint: str, expires: int) -> str:
    """The Authorization header for an endpoint's push service, good until `expires` (seconds since 1970).

    Raises:
        NotConfigured, Unavailable: as `send`.
    """
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature  # noqa: PLC0415

    key = _private_key()
    place = urlsplit(endpoint)
    claims = {
        "aud": f"{place.scheme}://{place.netloc}",
        "exp": expires,
        "sub": registry.credential("web-push", "subject"),
    }
    token = f"{_json({'typ': 'JWT', 'alg': 'ES256'})}.{_json(claims)}"
    r, s = decode_dss_signature(key.sign(token.encode(), ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"vapid t={token}.{_base64(signature)}, k={_base64(_point(key))}"


def public_key() -> str:
    """What browsers subscribe with (`applicationServerKey`), base64url.

    Raises:
        NotConfigured, Unavailable: as `send`.
    """
    return _base64(_point(_private_key()))


def _private_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    try:
        number = int.from_bytes(decode(str(registry.credential("web-push", "private_key"))), "big")
        return ec.derive_private_key(number, ec.SECP256R1())
    except ValueError as error:
        raise AccountRefused(
            "private_key in the secret that WebPushSecretArn names is not base64url of 32 bytes",
            Reach.PART,
        ) from error


def _point(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _json(value: Mapping[str, object]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())
