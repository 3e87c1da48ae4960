"""What SendGrid reports of a mail afterwards, signed, as its event webhook posts it.

The first word of the recipient's address says what becomes of the mail: `bounce`, `blocked`, `deferred`, `dropped`,
`spamreport` and `unsubscribe`; of any other it is delivered. As at SendGrid's, events come late, twice and in no order,
and an address that bounced, complained or unsubscribed is on a list: further mails to it are dropped. Who unsubscribed
gets a mail that asks for `bypass_unsubscribe_management`; of a mail with a group (`asm`) only that group is left.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

Post = Callable[[bytes, dict[str, str]], int]
"""Posts a batch with its headers; answers the status it got."""

COURSES: dict[str, list[dict[str, str]]] = {
    "bounce": [
        {"event": "processed"},
        {
            "event": "bounce",
            "type": "bounce",
            "status": "5.1.1",
            "bounce_classification": "Invalid Address",
            "reason": "550 5.1.1 <{email}> does not exist",
        },
    ],
    "blocked": [
        {"event": "processed"},
        {"event": "bounce", "type": "blocked", "status": "5.7.1", "reason": "550 5.7.1 {email}: not now"},
    ],
    "deferred": [
        {"event": "processed"},
        {"event": "deferred", "attempt": "1", "response": "450 try {email} again later"},
        {"event": "delivered", "response": "250 OK"},
    ],
    "dropped": [{"event": "dropped", "reason": "Bounced Address", "status": "5.0.0"}],
    "spamreport": [{"event": "processed"}, {"event": "delivered", "response": "250 OK"}, {"event": "spamreport"}],
    "unsubscribe": [{"event": "processed"}, {"event": "delivered", "response": "250 OK"}, {"event": "unsubscribe"}],
}
DELIVERED = [{"event": "processed"}, {"event": "delivered", "response": "250 OK"}, {"event": "open"}]
LISTED = {
    "bounce": "Bounced Address",
    "spamreport": "Spam Reporting Address",
    "unsubscribe": "Unsubscribed Address",
    "group_unsubscribe": "Unsubscribed Address",
}
"""Why a mail to a listed address is dropped."""

TRIES, PAUSE_S = 5, 0.5
"""How often a batch is posted, and seconds before each time."""

MAX_COURSES = 50
"""Mails of a batch."""


class Events:
    """Reports to the webhook, while requests go on: in batches, one at a time, as SendGrid posts them."""

    def __init__(self, post: Post, key: Callable[[], str]) -> None:
        self._post = post
        self._key = key
        self._list: dict[tuple[str, int | None], str] = {}
        self._courses: SimpleQueue[list[dict[str, Any]]] = SimpleQueue()
        self._reporter = ThreadPoolExecutor(1, "reports")

    def follow(self, message_id: str, mail: Mapping[str, Any]) -> None:
        """Report a mail that was taken, soon."""
        address, group = _address(mail), _group(mail)
        bypassed = mail.get("mail_settings", {}).get("bypass_unsubscribe_management", {}).get("enable")
        reasons = [self._list[entry] for entry in ((address, None), (address, group)) if entry in self._list]
        dropped = next((reason for reason in reasons if not (bypassed and reason == LISTED["unsubscribe"])), None)
        events = course(message_id, mail, int(time.time()), dropped)
        for event in events:
            if event["event"] in LISTED and event.get("type") != "blocked":
                self._list[address, event.get("asm_group_id")] = LISTED[event["event"]]
        self._courses.put(events)
        self._reporter.submit(self._report)

    def _report(self) -> None:
        if self._courses.empty():
            return  # sent in an earlier batch
        time.sleep(PAUSE_S)
        courses: list[list[dict[str, Any]]] = []
        with suppress(Empty):
            while len(courses) < MAX_COURSES:
                courses.append(self._courses.get_nowait())
        late_and_twice = [event for events in courses for event in [*reversed(events), events[0]]]
        batch = (json.dumps(late_and_twice) + "\r\n").encode()
        for _ in range(TRIES):
            with suppress(OSError):
                if self._post(batch, signed(batch, self._key(), int(time.time()))) < 300:
                    return
            time.sleep(PAUSE_S)


def course(message_id: str, mail: Mapping[str, Any], now: int, dropped: str | None = None) -> list[dict[str, Any]]:
    """Return the events of a mail in the order in which they happen.

    Args:
        message_id: SendGrid's.
        mail: the request.
        now: seconds.
        dropped: why the address gets nothing; None when it does.
    """
    address = _address(mail)
    common = {
        **mail["personalizations"][0].get("custom_args", {}),
        "email": address,
        "smtp-id": f"<{message_id}@geopod-ismtpd-1>",
        "sg_message_id": f"{message_id}.recvd-1-1-6089EA4A-56.0",
    }
    steps: list[dict[str, Any]] = [{"event": "dropped", "reason": dropped}]
    if dropped is None:
        steps = [*COURSES.get(re.split(r"[^a-z]", address, maxsplit=1)[0], DELIVERED)]
    if group := _group(mail):
        steps = [
            step | {"event": "group_unsubscribe", "asm_group_id": group} if step["event"] == "unsubscribe" else step
            for step in steps
        ]
    return [
        {
            **common,
            **{name: value.format(email=address) if isinstance(value, str) else value for name, value in step.items()},
            "timestamp": now + number,
            "sg_event_id": secrets.token_urlsafe(24),
        }
        for number, step in enumerate(steps)
    ]


def _address(mail: Mapping[str, Any]) -> str:
    return str(mail["personalizations"][0]["to"][0]["email"])


def _group(mail: Mapping[str, Any]) -> int | None:
    return mail.get("asm", {}).get("group_id")  # type: ignore[no-any-return]


def signed(batch: bytes, key: str, at: int) -> dict[str, str]:
    """The headers of a batch: an ECDSA signature over timestamp and bytes."""
    private = load_der_private_key(base64.b64decode(key), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError("SendGrid signs with ECDSA")
    signature = private.sign(str(at).encode() + batch, ec.ECDSA(hashes.SHA256()))
    return {
        "content-type": "application/json;charset=utf-8",
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": str(at),
    }


def new_key() -> str:
    """A private key, as base64 of its DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    return base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


def public_key(key: str) -> str:
    """What SendGrid shows of it in its settings."""
    public = load_der_private_key(base64.b64decode(key), None).public_key()
    return base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def of_running_stack(file: Path) -> Events:
    """Events for the stack that describes itself in `file`, read whenever it is needed."""

    def post(batch: bytes, headers: dict[str, str]) -> int:
        address = json.loads(file.read_text())["api_url"] + "/webhooks/sendgrid"
        try:
            with urllib.request.urlopen(urllib.request.Request(address, batch, headers), timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    return Events(post, lambda: str(json.loads(file.read_text())["sendgrid_webhook_key"]))
