"""Messages that match no lead: kept until a person matches them, and for 90 days at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adbot_queue.core import dynamodb
from adbot_queue.core.clock import iso
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.errors import NotFound
from adbot_queue.leads.inbound_messages import Inbound
from adbot_queue.leads.messages import RETENTION_MS
from adbot_queue.messaging.opt_outs import Wish

if TYPE_CHECKING:
    from adbot_queue.leads.store import LeadStore
    from adbot_queue.leads.writer import Writer

_PARTITION = "INBOX"


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A message that matches no lead, and when it came (ms)."""

    message: Inbound
    at: int


def add(store: LeadStore, message: Inbound, at: int) -> None:
    """Keep a message; the same one again changes nothing."""
    row: Item = {
        **_key(message.sid, at),
        "at": at,
        "channel": message.channel,
        "phone": message.phone,
        "wa_id": message.wa_id,
        "text": message.text,
        "wish": message.wish.value if message.wish else None,
        "name": message.name,
        "media": message.media,
        "expires_at": (at + RETENTION_MS) // 1000,
    }
    kept = {name: value for name, value in row.items() if value not in {None, ""}}
    dynamodb.put_if(store.client, store.table, kept, condition="attribute_not_exists(pk) OR attribute_exists(pk)")


def page(store: LeadStore, limit: int, cursor: str | None) -> tuple[list[Unmatched], str | None]:
    """Read a page, newest first."""
    found, following = dynamodb.query_page(
        store.client, store.table, "pk = :pk", limit=limit, cursor=cursor, pk=_PARTITION
    )
    return [_unmatched(item) for item in found], following


def get(store: LeadStore, sid: str) -> tuple[Unmatched, Mapping[str, Any]]:
    """Read a message and the key of its entry.

    Raises:
        NotFound: it is not in the inbox (any more).
    """
    seen = dynamodb.get(store.client, store.table, {"pk": f"SID#{sid}", "sk": "S"})
    key = _key(sid, seen["at"]) if seen else None
    item = dynamodb.get(store.client, store.table, key) if key else None
    if item is None or key is None:
        raise not_there(sid)
    return _unmatched(item), key


def remove(writer: Writer, store: LeadStore, key: Mapping[str, Any]) -> None:
    """Take an entry out in a transaction (tag `inbox`); refused if it is gone."""
    writer.transaction.delete("inbox", store.table, dict(key))


def not_there(sid: str) -> NotFound:
    """Return the error for a message that is not in the inbox."""
    return NotFound(f"message {sid} is not in the inbox")


def _key(sid: str, at: int) -> Item:
    return {"pk": _PARTITION, "sk": f"{iso(at)}#{sid}"}


def _unmatched(item: Item) -> Unmatched:
    wish = item.get("wish")
    message = Inbound(
        item["sk"].partition("#")[2],
        item["channel"],
        item.get("phone"),
        item.get("wa_id"),
        item.get("text", ""),
        Wish(wish) if wish else None,
        item.get("name", ""),
        item.get("media", 0),
    )
    return Unmatched(message, item["at"])
