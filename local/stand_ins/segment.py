"""Segment's tracking API as far as the project uses it: events are kept to be read and go nowhere.

Segment publishes no schema; the rules are those of its description of the HTTP API. Where Segment would answer 200
and drop the event (no person or no event is named), this one answers 400, so that a mistake shows.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from local.stand_ins.fault_injection import FaultInjection
from local.stand_ins.refusals import refusal
from local.stand_ins.stub_response import Effects, StubResponse

MAX_KEPT = 1000
"""Events that can be read; the oldest goes first."""

MAX_BYTES, MAX_ID = 32 * 1024, 100
KNOWN = {
    "anonymousId", "channel", "context", "event", "integrations", "messageId", "properties", "sentAt", "timestamp",
    "userId", "version",
}  # fmt: skip


class Segment:
    """A source that takes events under any write key."""

    def __init__(self) -> None:
        self.events: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)
        self.effects = Effects()
        self._seen: set[str] = set()
        self._faults = FaultInjection()
        self._lock = threading.Lock()

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: str) -> StubResponse:
        """Answer a request; header names are in lower case."""
        if (method, path) == ("GET", "/events"):
            return StubResponse(200, {"items": list(self.events)})
        if (method, path) != ("POST", "/v1/track"):
            return _refusal("not found", 404)
        if not _write_key(headers.get("authorization", "")):
            return _refusal("invalid write key", 401)
        event = _read(body)
        if isinstance(event, str):
            return _refusal(event)
        key = event.get("messageId")
        self.effects.asked(key)
        mood = self._faults.of(key, json.dumps(event))
        if mood.refusal or mood.status:
            said = {"success": False, "message": "a failure that was asked for"}
            return (
                refusal("segment", mood.refusal) if mood.refusal else StubResponse(mood.status or 0, said, mood.headers)
            )
        with self._lock:
            if key is None or key not in self._seen:
                self._seen.add(key or "")
                self.events.append({"received_at": int(time.time()), "event": event})
                self.effects.happened(key)
        return StubResponse(200, {"success": True}, delay=mood.delay)


def _refusal(message: str, status: int = 400) -> StubResponse:
    return StubResponse(status, {"success": False, "message": message})


def _write_key(authorization: str) -> str:
    """The user name of basic authentication, whose password is empty."""
    kind, _, text = authorization.partition(" ")
    try:
        name, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return name if kind.lower() == "basic" and colon and not password else ""


def _read(body: str) -> dict[str, Any] | str:
    """The event, or what is wrong with it."""
    if len(body.encode()) > MAX_BYTES:
        return "event exceeds 32KB"
    try:
        event = json.loads(body)
    except ValueError:
        return "malformed JSON"
    wrong = _complaint(event) if isinstance(event, dict) else "an event is an object"
    return wrong or dict(event)


def _complaint(event: dict[str, Any]) -> str | None:
    """The first rule that an event breaks."""
    unknown = event.keys() - KNOWN
    rules = {
        f"unknown fields: {', '.join(sorted(unknown))}": not unknown,
        "event is needed": bool(event.get("event")) and isinstance(event["event"], str),
        "no_user_anon_id": any(isinstance(event.get(name), str) and event[name] for name in ("userId", "anonymousId")),
        "properties must be an object": isinstance(event.get("properties", {}), dict),
        "messageId must have fewer than 100 characters": len(str(event.get("messageId", ""))) < MAX_ID,
        "timestamp must be an ISO 8601 date": _is_moment(event.get("timestamp", "2025-11-22T00:00:00Z")),
    }
    return next((complaint for complaint, kept in rules.items() if not kept), None)


def _is_moment(text: Any) -> bool:
    try:
        datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return False
    return True
