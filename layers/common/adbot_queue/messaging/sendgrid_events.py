"""Read SendGrid's events as delivery reports and as reasons to suppress an address. Pure but for a default clock.

Only the fields that count decide: `event` and `email` for a suppression; `event`, `job`, `key` and `sg_message_id` for
the report of a message. Every other field is optional: SendGrid leaves fields out, and custom arguments of other
programs share their names. A field that is missing, empty or foreign costs what it would have said, nothing else.

See https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event. Opens and clicks are left out: machines
open mails too, and what a person reads is that person's own business.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from adbot_queue.core.clock import system_clock
from adbot_queue.messaging.model import DeliveryEvent, DeliveryReport, DeliveryStatus

CHANNEL = "email"

_STATUSES = {
    "processed": DeliveryStatus.PROCESSED,
    "deferred": DeliveryStatus.DEFERRED,
    "delivered": DeliveryStatus.DELIVERED,
    "dropped": DeliveryStatus.DROPPED,
    "bounce": DeliveryStatus.BOUNCED,
    "spamreport": DeliveryStatus.REPORTED,
    "unsubscribe": DeliveryStatus.UNSUBSCRIBED,
    "group_unsubscribe": DeliveryStatus.UNSUBSCRIBED,
}
_SUPPRESSING = {"bounce", "spamreport", "unsubscribe", "group_unsubscribe"}
_GROUP_UNSUBSCRIBE, _GROUP_RESUBSCRIBE = "group_unsubscribe", "group_resubscribe"

# Reasons are sentences of mail servers, which quote addresses. These are codes and fixed words.
_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}|[245]\d\d")
_WORDS = {
    "Bounced Address", "Unsubscribed Address", "Spam Reporting Address", "Invalid", "Spam Content",
    "Recipient List over Package Quota", "Invalid Address", "Technical", "Content", "Reputation",
    "Frequency or Volume Too High", "Mailbox Unavailable", "Unclassified",
}  # fmt: skip

_ID = re.compile(r"[!-~]{1,255}")
_NAMED = re.compile(r"<([^<>]*)>\s*$")
MAX_ADDRESS = 320
MAX_TIMESTAMP_S = 100_000_000_000
MAX_AGE_MS = 30 * 86_400_000
"""Of an event whose time is believed. SendGrid repeats for a day, and a time of 1970 would lose to every later word."""
MAX_GROUP = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Unwanted:
    """An address that is suppressed: for everything, for marketing, or for marketing of one group."""

    address: str
    reason: str
    at: int
    job: str | None
    group: int | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Resubscribed:
    """An address whose owner takes a group's mails again."""

    address: str
    group: int
    at: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Read:
    """What an event tells: of a message of ours, of an address, of both."""

    report: DeliveryReport | None
    unwanted: Unwanted | None
    resubscribed: Resubscribed | None = None


def read(event: Any, received_at: int | None = None) -> Read | None:
    """Read what an event tells.

    Args:
        event: an element of SendGrid's batch, of any shape.
        received_at: the time (ms) of an event whose own cannot be read; by default now.

    Returns:
        None when the event tells nothing here: another kind, or none of SendGrid's.
    """
    kind, status = _kind(event), _status(event)
    if kind != _GROUP_RESUBSCRIBE and status is None:
        return None
    now = system_clock() if received_at is None else received_at
    stated = _millis(event.get("timestamp"))
    at = stated if stated is not None and stated > now - MAX_AGE_MS else now
    address, group = _address(event.get("email")), _group(event.get("asm_group_id"))
    if status is None:
        return Read(None, None, Resubscribed(address, group, at)) if address and group else None
    event_id, job, key = (_id(event.get(name)) for name in ("sg_event_id", "job", "key"))
    message_id = _message_id(event.get("sg_message_id"))
    report = None
    if job and key and message_id:
        report = DeliveryReport(
            CHANNEL, job, key, message_id, DeliveryEvent(event_id or "", status, at, _reason(event))
        )
    unwanted = None
    if address and kind in _SUPPRESSING and status is not DeliveryStatus.BLOCKED:
        # Every event of a mail names the mail's group; only these two are about it.
        unwanted = Unwanted(address, kind, at, job, group if kind == _GROUP_UNSUBSCRIBE else None)
    if report is None and unwanted is None and (stated is None or event_id is None):
        return None
    return Read(report, unwanted)


def unreadable(event: Any) -> str | None:
    """Name the field for want of which something that counts is not known; None when nothing is missing.

    An event of another kind, or of a mail that no job sent, misses nothing.
    """
    kind = _kind(event)
    if not kind:
        return "event"
    if kind in {*_SUPPRESSING, _GROUP_RESUBSCRIBE} and _address(event.get("email")) is None:
        return "email"
    if kind in {_GROUP_UNSUBSCRIBE, _GROUP_RESUBSCRIBE} and _group(event.get("asm_group_id")) is None:
        return "asm_group_id"
    ours = _id(event.get("job")) and _id(event.get("key"))
    return "sg_message_id" if kind in _STATUSES and ours and _message_id(event.get("sg_message_id")) is None else None


def _kind(event: Any) -> str:
    return _text(event.get("event")) if isinstance(event, dict) else ""


def _status(event: Any) -> DeliveryStatus | None:
    status = _STATUSES.get(_kind(event))
    if status is DeliveryStatus.BOUNCED and _text(event.get("type")) == "blocked":
        return DeliveryStatus.BLOCKED
    return status


def _text(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _message_id(value: Any) -> str | None:
    """What the sender was answered, to which SendGrid adds which of its machines took the mail."""
    found = _id(value)
    return re.split(r"\.(?:filter|recvd)", found, maxsplit=1)[0] or None if found else None


def _address(value: Any) -> str | None:
    """A mail address, also one in `Name <address>`."""
    if not isinstance(value, str):
        return None
    named = _NAMED.search(value[-2 * MAX_ADDRESS :])
    address = (named[1] if named else value).strip()
    # U+FFFD and lone surrogates stand for bytes that were no text: the address is not known.
    readable = 0 < len(address) <= MAX_ADDRESS and "@" in address and not re.search("[\ud800-\udfff\ufffd]", address)
    return address if readable else None


def _group(value: Any) -> int | None:
    """The id of an unsubscribe group, as a number or its text."""
    if isinstance(value, str) and value.isascii() and value.strip().isdigit() and len(value) < MAX_ADDRESS:
        value = int(value)
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    return int(value) if whole and 0 < value <= MAX_GROUP else None


def _millis(timestamp: Any) -> int | None:
    """Seconds since 1970, as a number or its text, in milliseconds: cut, so that a moment stays in its day."""
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float | str):
        return None
    try:
        seconds = float(timestamp)
    except (ValueError, OverflowError):
        return None
    known = math.isfinite(seconds) and 0 < seconds < MAX_TIMESTAMP_S
    return int(Decimal(repr(seconds)) * 1000) if known else None


def _reason(event: dict[str, Any]) -> str:
    report = [event.get(name) for name in ("status", "bounce_classification", "reason")]
    code, *words = [value if isinstance(value, str) else "" for value in report]
    return " ".join([*([code] if _CODE.fullmatch(code) else []), *(word for word in words if word in _WORDS)])
