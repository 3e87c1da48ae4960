"""What a pool consists of: its header, the bots in its inbox, their places in its queue. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolState:
    """The state of a pool, in one item.

    Attributes:
        free: sessions ready to be assigned.
        stock_total: sessions published and not lost, assigned or not.
        queue_head: place of the first waiting bot; equals `queue_tail` if the queue is empty.
        queue_tail: the next bot's place.
        missing_total: sessions that the waiting bots lack together.
        head_missing: what the first bot still lacks after it was served in part; None: as its entry says.
        oldest_queued_at: when the first waiting bot got its place.
        last_queued_at: time of the latest place; the next is later, whatever the clocks say.
        cursor_segment, cursor_offset: the first position of the stock not yet passed.
        next_segment: number of the next segment.
        parked: parked bots: refused three times, or unreadable.
        aside: segments that this version cannot read, each with the position up to which it was served.
        set_aside: sessions in them; `stock_total` counts these, `free` does not.
    """

    pool: str
    version: int = 1
    free: int = 0
    stock_total: int = 0
    queue_head: int = 0
    queue_tail: int = 0
    queue_length: int = 0
    missing_total: int = 0
    head_missing: int | None = None
    oldest_queued_at: int | None = None
    last_queued_at: int = 0
    cursor_segment: int = 0
    cursor_offset: int = 0
    next_segment: int = 0
    parked: int = 0
    aside: tuple[tuple[int, int], ...] = ()
    set_aside: int = 0


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """A paid bot without a place."""

    id: str
    adbot_id: str
    required: int
    bought_at: int


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A bot's place. `missing` is what it lacked when it got the place, or after the last command that changed it."""

    seq: int
    adbot_id: str
    missing: int
    queued_at: int
