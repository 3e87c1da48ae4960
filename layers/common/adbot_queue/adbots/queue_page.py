"""The bots that wait in a pool, page by page: those with a place in order, then those that have none yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adbot_queue.adbots.model import Adbot
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry
from adbot_queue.adbots.storage.pool_store import FIRST_ID
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core.cursors import make_cursor, open_cursor
from adbot_queue.core.errors import Invalid


@dataclass(frozen=True, slots=True)
class WaitingBot:
    """A bot that waits.

    Attributes:
        place: 1 is served next; None: it has no place, in the inbox or parked.
        since: when it got its place, or was bought; milliseconds.
    """

    adbot: Adbot
    place: int | None
    since: int


MAX_ID = 64
"""Characters of an entry's id: more than any has."""

Page = tuple[list[WaitingBot], str | None]
"""Bots, and the cursor of the next page."""


def in_order(store: AdbotStore, header: PoolState, limit: int, cursor: str | None) -> Page:
    """Return a page of a pool's queue, then of its inbox. A page may be short, or empty, while more follow.

    One read of the queue's rows (three where it crosses partitions), one of the inbox after the queue's end, one of
    their bots. Places count from the page before: upper bounds, while bots ahead are served or cancelled.

    Raises:
        Invalid: the cursor is invalid.
    """
    seq, place, after = _position(cursor)
    if seq <= header.queue_head:
        place = 1  # whatever was ahead is served
    placed: list[QueueEntry] = []
    bought: list[InboxEntry] = []
    following: dict[str, Any] | None = None
    if not after:
        placed, seq = store.queue_page(header, seq, limit)
    if after or seq >= header.queue_tail:
        room = limit - len(placed)
        bought, ids = _inbox(store, header.pool, room, after or FIRST_ID) if room else ([], [])
        if len(ids) == room:
            following = {"inbox": max(ids, default=FIRST_ID)}
    wanted = [entry.adbot_id for entry in placed] + [entry.adbot_id for entry in bought]
    bots = {adbot.id: adbot for adbot in store.adbots(wanted)}
    # One that was served or cancelled between the reads does not wait any more.
    placed = [entry for entry in placed if (adbot := bots.get(entry.adbot_id)) and _waits(adbot, entry)]
    bought = [entry for entry in bought if (adbot := bots.get(entry.adbot_id)) and adbot.inbox_id == entry.id]
    if not after and seq < header.queue_tail:
        following = {"seq": seq, "place": place + len(placed)}
    page = [WaitingBot(bots[one.adbot_id], number, one.queued_at) for number, one in enumerate(placed, start=place)]
    page += [WaitingBot(bots[one.adbot_id], None, one.bought_at) for one in bought]
    return page, make_cursor(following) if following else None


def parked(store: AdbotStore, pool: str, limit: int, cursor: str | None) -> Page:
    """Return a page of the bots that are set aside until an operator looks.

    Raises:
        Invalid: the cursor is invalid.
    """
    ids, following = store.parked_page(pool, limit, cursor)
    bots = [adbot for adbot in store.adbots(ids) if adbot.is_parked]
    return [WaitingBot(adbot, None, adbot.queued_at or adbot.created_at) for adbot in bots], following


def _inbox(store: AdbotStore, pool: str, limit: int, after: str) -> tuple[list[InboxEntry], list[str]]:
    """Return the readable entries, and the ids of all."""
    found = store.read_inbox(pool, limit, after)
    return found.good, [entry.id for entry in found.good] + [str(unreadable.item["sk"]) for unreadable in found.bad]


def _waits(adbot: Adbot, entry: QueueEntry) -> bool:
    return adbot.waits_in_queue and adbot.seq == entry.seq


def _position(cursor: str | None) -> tuple[int, int, str]:
    """Return sequence number and place to begin at, or after which entry of the inbox."""
    match open_cursor(cursor) if cursor else {"seq": 0, "place": 1}:
        case {"seq": int(seq), "place": int(place), **rest} if not rest:
            return seq, place, ""
        case {"inbox": str(after), **rest} if not rest and after.isascii() and 0 < len(after) <= MAX_ID:
            return 0, 1, after
    raise Invalid.field("cursor", "is not a cursor of this list")
