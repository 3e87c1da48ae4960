"""Messages to and from a lead, as a conversation.

    LEAD#<id>   M#<time>#<ref>   a message: `ref` is the job that sends it, or Twilio's id of an inbound message

A row is written before Twilio is asked, so that a message without an answer is seen; reports move its state on, never
back. Rows go after 90 days.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from adbot_queue.core import dynamodb
from adbot_queue.core.clock import DAY_MS, iso
from adbot_queue.core.dynamodb import Item
from adbot_queue.leads import items
from adbot_queue.leads.items import Row
from adbot_queue.messaging.sent_messages import STEPS

if TYPE_CHECKING:
    from adbot_queue.leads.store import LeadStore
    from adbot_queue.leads.writer import Writer

RETENTION_MS = 90 * DAY_MS
RECEIVED, WAITING, ASKED, UNKNOWN, NOT_SENT = "received", "waiting", "asked", "unknown", "not_sent"
"""States that Twilio does not report: came in; its job has not run; Twilio is asked; the answer was lost; withheld."""


_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class MessageKey(NamedTuple):
    """Which message: of a lead, begun or received at a time (ms), and its ref."""

    lead_id: str
    at: int
    ref: str


@dataclass(frozen=True, slots=True)
class LeadMessage:
    """A message.

    Attributes:
        direction: `in` or `out`.
        channel: `whatsapp` or `sms`.
        state: Twilio's, or one of ours.
        text: free text; a template has content_sid and variables instead.
        sid: Twilio's id, once known.
        code: Twilio's error code.
        by: the user who wrote it; None: automation, or the lead.
        media: files that came with it.
    """

    key: MessageKey
    direction: str
    channel: str
    state: str
    text: str = ""
    content_sid: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    sid: str | None = None
    code: int | None = None
    by: str | None = None
    media: int = 0


def _key(key: MessageKey) -> Item:
    return {"pk": items.lead_key(key.lead_id)["pk"], "sk": f"M#{iso(key.at)}#{key.ref}"}


def _named(item: Item) -> dict[str, Any]:
    return {"key": (item["pk"].removeprefix("LEAD#"), item["at"], item["sk"].split("#", 2)[2])}


MESSAGES = Row(LeadMessage, lambda message: _key(message.key), _named)


def add(writer: Writer, store: LeadStore, message: LeadMessage) -> None:
    """Add a new message to a transaction (tag `message`); refused if it exists."""
    row = MESSAGES.item(message) | {"at": message.key.at, "step": -1, "expires_at": _expires(message.key.at)}
    row.pop("key", None)
    writer.transaction.create("message", store.table, row)


def drop(writer: Writer, store: LeadStore, key: MessageKey) -> None:
    """Take a message that Twilio certainly did not take out of the conversation."""
    writer.transaction.delete("message", store.table, _key(key), condition="attribute_not_exists(sid)")


def move(
    writer: Writer, store: LeadStore, key: MessageKey, state: str, sid: str | None = None, code: int | None = None
) -> None:
    """Move a message on in a transaction (tag `message`); refused if it is as far already, or gone."""
    changes = {"new_state": state, "step": STEPS.get(state, -1)}
    expression = "SET #state = :new_state, step = :step"
    for name, value in (("sid", sid), ("code", code)):
        if value is not None:
            expression += f", #{name} = :new_{name}"
            changes[f"new_{name}"] = value
    condition = "attribute_exists(pk) AND step < :step" if state in STEPS else "step < :none"
    if state not in STEPS:
        changes["none"] = 0
    writer.transaction.update("message", store.table, _key(key), expression, condition=condition, **changes)


def page(store: LeadStore, lead_id: str, limit: int, cursor: str | None) -> tuple[list[LeadMessage], str | None]:
    """Read a page of a conversation, newest first."""
    found, following = dynamodb.query_page(
        store.client,
        store.table,
        "pk = :pk AND begins_with(sk, :prefix)",
        limit=limit,
        cursor=cursor,
        pk=items.lead_key(lead_id)["pk"],
        prefix="M#",
    )
    return [MESSAGES.read(item) for item in found], following


def _expires(at: int) -> int:
    return (at + RETENTION_MS) // 1000


def rendered(message: LeadMessage, body: str | None) -> LeadMessage:
    """Return a template's message with the text that the person reads, if the template is known."""
    if body is None or message.text:
        return message
    text = _VARIABLE.sub(lambda match: message.variables.get(match[1], match[0]), body)
    return replace(message, text=text)
