"""SendGrid's events read as reports, and as reasons to write to an address no more. Pure.

See https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event. Opens and clicks are left out: machines
open mails too, and what a person reads is that person's own business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adbot_queue.delivery.model import Report, Status, Told

CHANNEL = "email"

_STATUSES = {
    "processed": Status.PROCESSED,
    "deferred": Status.DEFERRED,
    "delivered": Status.DELIVERED,
    "dropped": Status.DROPPED,
    "bounce": Status.BOUNCED,
    "spamreport": Status.REPORTED,
    "unsubscribe": Status.UNSUBSCRIBED,
}
_SUPPRESSING = {Status.BOUNCED: "bounce", Status.REPORTED: "spamreport", Status.UNSUBSCRIBED: "unsubscribe"}

# Reasons are sentences of mail servers, which quote addresses. These are codes and fixed words.
_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}|[245]\d\d")
_WORDS = {
    "Bounced Address", "Unsubscribed Address", "Spam Reporting Address", "Invalid", "Spam Content",
    "Recipient List over Package Quota", "Invalid Address", "Technical", "Content", "Reputation",
    "Frequency or Volume Too High", "Mailbox Unavailable", "Unclassified",
}  # fmt: skip

_Id = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[!-~]+$")]


class _Event(BaseModel):
    """What is read of an event."""

    model_config = ConfigDict(defer_build=True)

    event: str
    sg_event_id: _Id
    timestamp: int = Field(ge=0, lt=100_000_000_000)
    email: str = Field(min_length=1, max_length=320)
    sg_message_id: _Id | None = None
    job: _Id | None = None
    key: _Id | None = None
    type: str | None = None
    status: str | None = None
    reason: str | None = None
    bounce_classification: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Unwanted:
    """An address that nothing is to be sent to any more."""

    address: str
    reason: str
    at: int
    job: str | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Read:
    """What an event tells: of a message of ours, of an address, of both."""

    told: Told | None
    unwanted: Unwanted | None


def read(event: Any) -> Read | None:
    """What an event tells; None when it tells nothing here: another kind, or none of SendGrid's."""
    try:
        found = _Event.model_validate(event)
    except ValidationError:
        return None
    if found.event not in _STATUSES:
        return None
    status = Status.BLOCKED if found.type == "blocked" else _STATUSES[found.event]
    at = found.timestamp * 1000
    told = None
    if found.job and found.key and found.sg_message_id:
        report = Report(found.sg_event_id, status, at, _reason(found))
        told = Told(CHANNEL, found.job, found.key, _message_id(found.sg_message_id), report)
    cause = _SUPPRESSING.get(status)
    return Read(told, Unwanted(found.email, cause, at, found.job) if cause else None)


def _message_id(sg_message_id: str) -> str:
    """What the sender was answered, to which SendGrid adds which of its machines took the mail."""
    return re.split(r"\.(?:filter|recvd)", sg_message_id, maxsplit=1)[0]


def _reason(event: _Event) -> str:
    words = [word for word in (event.bounce_classification, event.reason) if word in _WORDS]
    code = event.status if event.status and _CODE.fullmatch(event.status) else None
    return " ".join([*([code] if code else []), *words])
