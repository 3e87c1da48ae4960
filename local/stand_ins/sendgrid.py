"""SendGrid's API as far as the project uses it: sending a mail, which is kept to be read and goes nowhere."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from local.stand_ins.fault_injection import FaultInjection
from local.stand_ins.refusals import refusal
from local.stand_ins.sendgrid_events import Events
from local.stand_ins.stub_response import Effects, Schema, StubResponse

MAX_KEPT = 1000
"""Mails that can be read; the oldest goes first."""


class SendGrid:
    """An account that accepts mails from any sender; `events` reports on them."""

    def __init__(self, events: Events | None = None) -> None:
        self._events = events
        self.messages: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)
        self.effects = Effects()
        self._faults = FaultInjection()
        self._schema = Schema("sendgrid_mail_send.json")

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: str) -> StubResponse:
        """Answer a request; header names are in lower case."""
        if (method, path) == ("GET", "/messages"):
            return StubResponse(200, {"items": list(self.messages)})
        try:
            mail = self._read(f"{method} {path}", headers, body)
        except SendGridError as error:
            return error.reply
        # SendGrid knows no idempotency keys: each mail that it takes is one more.
        key = mail["personalizations"][0].get("custom_args", {}).get("key")
        self.effects.asked(key)
        mood = self._faults.of(key, mail["subject"])
        if mood.refusal:
            return refusal("sendgrid", mood.refusal)
        if mood.status:
            refused = SendGridError("a failure that was asked for", mood.status).reply
            return StubResponse(refused.status, refused.body, mood.headers)
        message_id = secrets.token_urlsafe(16)
        self.messages.append({"id": message_id, "received_at": int(time.time()), "message": mail})
        self.effects.happened(key)
        if self._events:
            self._events.follow(message_id, mail)
        return StubResponse(202, "", {"x-message-id": message_id}, mood.delay)

    def _read(self, route: str, headers: Mapping[str, str], body: str) -> dict[str, Any]:
        if route != "POST /v3/mail/send":
            raise SendGridError("not found", 404)
        if not headers.get("authorization", "").startswith("Bearer SG."):
            raise SendGridError("The provided authorization grant is invalid, expired, or revoked", 401)
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            raise SendGridError("Content-Type should be application/json.", 415)
        try:
            mail: dict[str, Any] = json.loads(body)
        except ValueError:
            raise SendGridError("Bad Request") from None
        for error in self._schema.errors(mail):
            raise SendGridError(error.message, field=".".join(str(part) for part in error.absolute_path))
        _check(mail)
        return mail


class SendGridError(Exception):
    """A refusal in SendGrid's words."""

    def __init__(self, message: str, status: int = 400, field: str | None = None) -> None:
        super().__init__(message)
        self.reply = StubResponse(status, {"errors": [{"message": message, "field": field or None, "help": None}]})


def _check(mail: dict[str, Any]) -> None:
    """Rules that SendGrid's schema does not tell."""
    kinds = [part["type"] for part in mail["content"]]
    if not kinds:
        raise SendGridError("The content value must be an array of at least one object.", field="content")
    order = [kind for kind in ("text/plain", "text/html") if kind in kinds]
    if kinds[: len(order)] != order or len(set(kinds)) < len(kinds):
        raise SendGridError("text/plain and text/html may be given once each, first, in this order.", field="content")
    if not mail["personalizations"] or not all(entry["to"] for entry in mail["personalizations"]):
        raise SendGridError("At least one recipient is required.", field="personalizations")
    recipients = [to for entry in mail["personalizations"] for to in entry["to"]]
    for field, address in [("from.email", mail["from"]), *(("personalizations.to.email", to) for to in recipients)]:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", address["email"]):
            raise SendGridError("Does not contain a valid address.", field=field)
