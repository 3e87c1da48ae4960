"""Keys and items of the AdBots table, from values and back. Pure.

POOLS            <pool>                 registry: all pools
POOL#p           HDR                    header
POOL#p#INBOX     <time-ordered id>      bought, no place yet
POOL#p#Q#<b>     <seq>                  place in the queue; b = seq div 256. Kept after service, as proof of order
POOL#p#PARK      <adbot>                parked; ENTRY#<key> where the entry does not name its bot
POOL#p#SEG#<b>   <number>               stretch of stock; b = number div 1000. Kept: the directory of all uploads
UPLOAD#u         META                   an upload, staged or published
UPLOAD#u         PAGE#<k>               100 session ids, in order
UPLOAD#u         CLAIM#<k>              99 lines of it that are settled: `dead` became no session; `closed`: none did
UPLOAD#u         ALLOC#<offset>#<ver>   owner index: who got what, when
SESSION#id       S                      a session: its upload and offset, its secret material
ADBOT#id         A                      a bot
ORDER#id         O                      an order
MONEY#order      IN#…, OUT#…            money that came in or went out, on its day
IDEM#<hash>      I                      what an idempotency key names (`core.idempotency`)
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.model import (
    Adbot,
    Movement,
    Order,
    OrderStatus,
    Run,
)
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry
from adbot_queue.adbots.storage.rows import Reader
from adbot_queue.core.clock import iso
from adbot_queue.core.dynamodb import Item

QUEUE_BUCKET = 256
SEGMENT_BUCKET = 1000
PAGE = 100
"""Session ids in one page item: 100 ids of 64 characters stay below 7 KB."""
CLAIM = 99
"""Lines of an upload that one transaction settles: a session each, and the record that they are settled."""


def key(pk: str, sk: str) -> Item:
    """A primary key."""
    return {"pk": pk, "sk": sk}


def header_key(pool: str) -> Item:
    """Key of a pool's header."""
    return key(f"POOL#{pool}", "HDR")


def inbox_pk(pool: str) -> str:
    """Partition of a pool's inbox."""
    return f"POOL#{pool}#INBOX"


def queue_pk(pool: str, seq: int) -> str:
    """Partition that holds a place of a pool's queue."""
    return f"POOL#{pool}#Q#{seq // QUEUE_BUCKET:08d}"


def queue_key(pool: str, seq: int) -> Item:
    """Key of a place in a pool's queue."""
    return key(queue_pk(pool, seq), f"{seq:012d}")


def park_key(pool: str, adbot_id: str) -> Item:
    """Key of a bot that is set aside."""
    return key(f"POOL#{pool}#PARK", adbot_id)


def segment_pk(pool: str, number: int) -> str:
    """Partition of the stock directory that holds a segment."""
    return f"POOL#{pool}#SEG#{number // SEGMENT_BUCKET:06d}"


def segment_key(pool: str, number: int) -> Item:
    """Key of a segment."""
    return key(segment_pk(pool, number), f"{number:08d}")


def upload_key(upload: str) -> Item:
    """Key of an upload's description."""
    return key(f"UPLOAD#{upload}", "META")


def page_key(upload: str, page: int) -> Item:
    """Key of a page of session ids."""
    return key(f"UPLOAD#{upload}", f"PAGE#{page:04d}")


def claim_key(upload: str, number: int) -> Item:
    """Key of the record that lines of an upload are settled."""
    return key(f"UPLOAD#{upload}", f"CLAIM#{number:04d}")


def alloc_sk(offset: int, version: int) -> str:
    """Sort key in the owner index."""
    return f"ALLOC#{offset:08d}#{version:012d}"


def session_key(session_id: str) -> Item:
    """Key of a session."""
    return key(f"SESSION#{session_id}", "S")


def adbot_key(adbot_id: str) -> Item:
    """Key of a bot."""
    return key(f"ADBOT#{adbot_id}", "A")


def order_key(order_id: str) -> Item:
    """Key of an order."""
    return key(f"ORDER#{order_id}", "O")


def movement_item(order_id: str, name: str, movement: Movement) -> Item:
    """A movement of an order's money, to be written. It is in the list of its kind under its time."""
    return {
        **key(f"MONEY#{order_id}", name),
        **asdict(movement),
        "kind": "MONEY",
        "listed_at": f"{iso(movement.at)}#{order_id}#{name}",
    }


def header_item(header: PoolState) -> Item:
    """A header, to be written whole."""
    return {**header_key(header.pool), **asdict(header), "aside": header.aside or None}


_COUNTS = [
    name
    for name in PoolState.__slots__
    if name not in {"pool", "head_missing", "oldest_queued_at", "aside", "set_aside"}
]


def header_of(item: Item) -> PoolState:
    """Return a header as read.

    Raises:
        UnreadableRow: this version cannot read it.
    """
    row = Reader(item)
    return PoolState(
        pool=row.text("pool"),
        head_missing=row.number_or_none("head_missing"),
        oldest_queued_at=row.number_or_none("oldest_queued_at"),
        aside=tuple((number, offset) for number, offset in row.lists("aside", (int, int), optional=True)),
        set_aside=row.number_or_none("set_aside") or 0,
        **{name: row.number(name) for name in _COUNTS},
    )


def runs_list(runs: tuple[Run, ...]) -> list[list[Any]]:
    """Runs in their stored shape: [upload, offset, count]."""
    return [[run.upload, run.offset, run.count] for run in runs]


def runs_in(row: Reader, name: str) -> tuple[Run, ...]:
    """Return runs as read. Raises as `header_of`."""
    runs = tuple(Run(*entry) for entry in row.lists(name, (str, int, int)))
    if not all(run.upload and run.count for run in runs):
        raise row.refusal(name)
    return runs


def inbox_item(pool: str, entry: InboxEntry) -> Item:
    """An inbox entry, to be written."""
    return {
        **key(inbox_pk(pool), entry.id),
        "adbot_id": entry.adbot_id,
        "required": entry.required,
        "bought_at": entry.bought_at,
    }


def inbox_of(item: Item) -> InboxEntry:
    """Return an inbox entry as read. Raises as `header_of`."""
    row = Reader(item)
    return InboxEntry(item["sk"], row.text("adbot_id"), row.number("required", 1), row.number("bought_at"))


def queue_item(pool: str, entry: QueueEntry) -> Item:
    """A place in the queue, to be written."""
    return {
        **queue_key(pool, entry.seq),
        "adbot_id": entry.adbot_id,
        "missing": entry.missing,
        "queued_at": entry.queued_at,
    }


def queue_of(item: Item) -> QueueEntry:
    """Return a place in the queue as read. Raises as `header_of`."""
    row = Reader(item)
    return QueueEntry(_number(row), row.text("adbot_id"), row.number("missing", 1), row.number("queued_at"))


def segment_item(pool: str, segment: Segment) -> Item:
    """A segment, to be written."""
    return {
        **segment_key(pool, segment.number),
        "ranges": runs_list(segment.ranges),
        "dead": set(segment.dead) or None,
    }


def segment_of(item: Item) -> Segment:
    """Return a segment as read: without the positions that came back by another one. Raises as `header_of`."""
    row = Reader(item)
    ranges, dead = runs_in(row, "ranges"), frozenset(row.numbers("dead", set))
    until = row.number_or_none("until")
    if until is not None:
        ranges, dead = _first(ranges, until), frozenset(spot for spot in dead if spot < until)
    return Segment(_number(row), ranges, dead, row.number_or_none("moved_to"))


def _number(row: Reader) -> int:
    """The number that a sort key is."""
    key = row.text("sk")
    if not (key.isascii() and key.isdigit()):
        raise row.refusal("sk")
    return int(key)


def _first(ranges: tuple[Run, ...], count: int) -> tuple[Run, ...]:
    """The first positions of ranges."""
    kept: list[Run] = []
    for run in ranges:
        if count <= 0:
            break
        kept.append(replace(run, count=min(run.count, count)))
        count -= run.count
    return tuple(kept)


def adbot_item(adbot: Adbot) -> Item:
    """A bot, to be written whole. `owner`, `kind` and `listed_at` feed the two lists and never change."""
    return {
        **adbot_key(adbot.id),
        **{name: getattr(adbot, name) for name in Adbot.__slots__},
        "runs": runs_list(adbot.runs),
        "releases": list(adbot.releases),
        "owner": adbot.user_id or None,
        "kind": "ADBOT",
        "listed_at": f"{iso(adbot.created_at)}#{adbot.id}",
    }


def order_item(order: Order) -> Item:
    """An order, to be written whole. Only those a person must look at are in a list."""
    listed: Item = {}
    if order.status is OrderStatus.REVIEW:
        listed = {"kind": "REVIEW", "listed_at": f"{iso(order.created_at)}#{order.id}"}
    return {
        **order_key(order.id),
        **{name: getattr(order, name) for name in Order.__slots__},
        "invoices": list(order.invoices),
        **listed,
    }
