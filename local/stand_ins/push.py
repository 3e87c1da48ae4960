"""A push service with its browsers: it checks who sends, decrypts what they get, and keeps it to be read.

POST /push/subscribe makes a browser; DELETE /push/<id> unsubscribes it. Signatures and bodies are judged by
py-vapid and http-ece, which the sender does not use.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

from local.stand_ins.fault_injection import FaultInjection
from local.stand_ins.refusals import refusal
from local.stand_ins.stub_response import Effects, StubResponse

MAX_KEPT = 1000
"""Notifications that can be read; the oldest goes first."""

MAX_BYTES = 4096
URGENCIES = {"very-low", "low", "normal", "high"}


@dataclass
class _Browser:
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    gone: bool = False

    def keys(self) -> dict[str, str]:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"p256dh": _text(point), "auth": _text(self.auth)}


class PushService:
    """Takes notifications for the browsers that it made."""

    def __init__(self, base_url: str) -> None:
        self.messages: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)
        self.effects = Effects()
        self._base = base_url
        self._browsers: dict[str, _Browser] = {}
        self._faults = FaultInjection()
        self._lock = threading.Lock()

    def subscribe(self) -> dict[str, Any]:
        """A new browser's `PushSubscription`, as its `toJSON()` has it."""
        name, browser = secrets.token_urlsafe(16), _Browser()
        with self._lock:
            self._browsers[name] = browser
        return {"endpoint": f"{self._base}/push/{name}", "expirationTime": None, "keys": browser.keys()}

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> StubResponse:
        """Answer a request; header names are in lower case."""
        if (method, path) == ("GET", "/messages"):
            return StubResponse(200, {"items": list(self.messages)})
        if (method, path) == ("POST", "/subscribe"):
            return StubResponse(201, self.subscribe())
        name = path.strip("/")
        browser = self._browsers.get(name)
        if browser is None or method not in {"POST", "DELETE"}:
            return _refusal(404, "no such subscription")
        if method == "POST":
            return self._push(name, browser, headers, body)
        browser.gone = True
        return StubResponse(204, "")

    def _push(self, name: str, browser: _Browser, headers: Mapping[str, str], body: bytes) -> StubResponse:
        if refused := self._refused(browser, headers, body):
            return refused
        try:
            plain = http_ece.decrypt(body, private_key=browser.key, auth_secret=browser.auth)
            message = json.loads(plain)
        except (http_ece.ECEException, ValueError) as error:
            return _refusal(400, f"cannot be decrypted: {error}")
        key = f"{name}/{headers.get('topic', '')}"
        self.effects.asked(key)
        mood = self._faults.of(key, json.dumps(message))
        if mood.refusal:
            return refusal("push", mood.refusal)
        if mood.status:
            refused = _refusal(mood.status, "a failure that was asked for")
            return StubResponse(refused.status, refused.body, mood.headers)
        self.effects.happened(key)
        kept = {name: headers[name] for name in ("ttl", "urgency", "topic") if name in headers}
        made = secrets.token_urlsafe(16)
        entry = {"id": name, "message_id": made, "received_at": int(time.time()), "headers": kept, "message": message}
        self.messages.append(entry)
        return StubResponse(201, "", {"location": f"{self._base}/push/m/{made}"}, mood.delay)

    def _refused(self, browser: _Browser, headers: Mapping[str, str], body: bytes) -> StubResponse | None:
        """What there is to refuse before the body is opened."""
        if browser.gone:
            return _refusal(410, "unsubscribed")
        if len(body) > MAX_BYTES:
            return _refusal(413, "payload too large")
        if not self._is_signed(headers.get("authorization", "")):
            return _refusal(403, "the VAPID token is not good")
        wrong = _complaint(headers)
        return _refusal(400, wrong) if wrong else None

    def _is_signed(self, authorization: str) -> bool:
        found = re.fullmatch(r"vapid t=([\w-]+)\.([\w-]+)\.([\w-]+), ?k=([\w-]+)", authorization)
        if not found:
            return False
        head, claims, signature, key = found.groups()
        try:
            good = Vapid02().from_raw_public(key.encode()).verify_token(f"{head}.{claims}".encode(), signature)
        except ValueError:
            return False
        token = json.loads(_bytes(claims))
        in_time = 0 <= token["exp"] - time.time() <= 86_400
        return bool(good) and token["aud"] == self._base and in_time and token["sub"].startswith(("mailto:", "https:"))


def _complaint(headers: Mapping[str, str]) -> str | None:
    """The first rule of RFC 8030 and RFC 8188 that the headers break."""
    rules = {
        "content-encoding must be aes128gcm": headers.get("content-encoding") == "aes128gcm",
        "ttl is needed": headers.get("ttl", "").isdigit(),
        "no such urgency": headers.get("urgency", "normal") in URGENCIES,
        "a topic has at most 32 characters": re.fullmatch(r"[\w-]{0,32}", headers.get("topic", ""), re.ASCII)
        is not None,
    }
    return next((complaint for complaint, kept in rules.items() if not kept), None)


def _refusal(status: int, message: str) -> StubResponse:
    return StubResponse(status, {"error": message})


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
