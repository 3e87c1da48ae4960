"""What commands do to a bot and to the header of its pool. Pure; `store.commit_change` writes it.

A command is any change except a resolver step: cancel, session lost, reassign, park, unpark. All consist of the same
movements: sessions leave a bot or join it, sessions leave the stock or return, the bot leaves the queue, keeps its
place, or joins the tail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.model import Adbot, AdbotStatus, QueuedReason, Run, joined, without
from adbot_queue.adbots.pool_state import PoolState, QueueEntry


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StockPosition:
    """The place of a free session in the stock."""

    upload: str
    offset: int
    segment: int
    position: int

    def is_ahead_of(self, header: PoolState) -> bool:
        """Whether the cursor has not passed it: the session is free unless it is dead."""
        return (self.segment, self.position) >= (header.cursor_segment, header.cursor_offset)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PoolChange:
    """The changes of one transaction, conditional on the versions of header and bot.

    Attributes:
        leaves: the bot's queue entry is deleted.
        entry_missing: the bot's entry stays and lacks this much now (for the head, the header says it instead).
        joins: the bot's new entry at the tail.
        released: sessions that return to stock, as a new segment at its end.
        taken: free sessions that the bot gets out of order.
        parks, unparks: the bot is parked, or returns.
        parked_as: the key of its parked entry, if that is not the bot's id.
    """

    header_before: PoolState
    header_after: PoolState
    before: Adbot
    after: Adbot
    leaves: bool = False
    entry_missing: int | None = None
    joins: QueueEntry | None = None
    released: Segment | None = None
    taken: tuple[StockPosition, ...] = ()
    parks: bool = False
    unparks: bool = False
    parked_as: str | None = None


def position_in(segment: Segment, upload: str, offset: int) -> int | None:
    """Return the position of a session in a segment, None if it is elsewhere."""
    passed = 0
    for run in segment.ranges:
        if run.covers(upload, offset):
            return passed + offset - run.offset
        passed += run.count
    return None


def cancel(header: PoolState, adbot: Adbot, next_in_queue: QueueEntry | None, now: int) -> PoolChange:
    """Cancel the bot; its sessions return to stock. `next_in_queue` is the entry behind the head, if any."""
    return _move(header, adbot, (), (), next_in_queue, now, QueuedReason.REASSIGNED, cancelled=True)


def lose(
    header: PoolState, adbot: Adbot, upload: str, offset: int, next_in_queue: QueueEntry | None, now: int
) -> PoolChange:
    """Take a lost session from the bot: it waits for a replacement, at the tail unless it is queued already."""
    change = _move(
        header, adbot, without(adbot.runs, upload, offset), (), next_in_queue, now, QueuedReason.SESSION_LOST, lost=1
    )
    return replace(change, header_after=replace(change.header_after, stock_total=header.stock_total - 1))


def reassign(
    header: PoolState,
    adbot: Adbot,
    remove: Iterable[tuple[str, int]],
    add: tuple[StockPosition, ...],
    next_in_queue: QueueEntry | None,
    now: int,
) -> PoolChange:
    """Return named sessions of the bot to stock, and give it named free ones."""
    runs = adbot.runs
    for upload, offset in remove:
        runs = without(runs, upload, offset)
    return _move(header, adbot, runs, add, next_in_queue, now, QueuedReason.REASSIGNED)


def unpark(header: PoolState, adbot: Adbot, now: int) -> PoolChange:
    """Queue a parked bot again, at the tail: the head never moves backwards.

    A bot that lacks nothing (a newer version served or cancelled it) only leaves the park.
    """
    if adbot.status is not AdbotStatus.QUEUED or not adbot.missing:
        after = replace(header, version=header.version + 1, parked=header.parked - 1)
        return PoolChange(header, after, adbot, replace(adbot, version=adbot.version + 1), unparks=True)
    entry, header_after = _join_tail(header, adbot.id, adbot.missing, now)
    return PoolChange(
        header_before=header,
        header_after=replace(header_after, version=header.version + 1, parked=header.parked - 1),
        before=adbot,
        after=replace(_queued(adbot, entry, QueuedReason.INSUFFICIENT_STOCK), version=adbot.version + 1),
        joins=entry,
        unparks=True,
    )


def remove_from_queue(header: PoolState, seq: int, missing: int, next_in_queue: QueueEntry | None) -> PoolState:
    """Return the header without one waiting bot; if that was the head, the next bot becomes it."""
    after = replace(header, queue_length=header.queue_length - 1, missing_total=header.missing_total - missing)
    if seq != header.queue_head:
        return after
    return replace(
        after,
        queue_head=next_in_queue.seq if next_in_queue else header.queue_tail,
        head_missing=None,
        oldest_queued_at=next_in_queue.queued_at if next_in_queue else None,
    )


def lose_free(header: PoolState) -> PoolState:
    """Return the header with one free session less, lost in place."""
    return replace(header, version=header.version + 1, free=header.free - 1, stock_total=header.stock_total - 1)


def publish(header: PoolState, ranges: tuple[Run, ...], dead: frozenset[int]) -> tuple[PoolState, Segment]:
    """Return the header with a new segment at the end of the stock."""
    segment = Segment(header.next_segment, ranges, dead)
    live = segment.count - len(dead)
    after = replace(
        header,
        version=header.version + 1,
        free=header.free + live,
        stock_total=header.stock_total + live,
        next_segment=header.next_segment + 1,
    )
    return after, segment


def _move(
    header: PoolState,
    adbot: Adbot,
    kept: tuple[Run, ...],
    added: tuple[StockPosition, ...],
    next_in_queue: QueueEntry | None,
    now: int,
    reason: QueuedReason,
    *,
    lost: int = 0,
    cancelled: bool = False,
) -> PoolChange:
    runs = joined([*kept, *(Run(place.upload, place.offset, 1) for place in added)])
    assigned = sum(run.count for run in runs)
    back = adbot.assigned - sum(run.count for run in kept) - lost
    missing = 0 if cancelled else adbot.required - assigned
    header_after = replace(header, version=header.version + 1, free=header.free + back - len(added))
    released = None
    if back:
        released = Segment(header.next_segment, _difference(adbot.runs, kept))
        header_after = replace(header_after, next_segment=header.next_segment + 1)
    status = AdbotStatus.CANCELLED if cancelled else adbot.status
    after = replace(
        adbot,
        status=status,
        assigned=assigned,
        missing=missing,
        runs=runs,
        releases=(*adbot.releases, released.number) if released else adbot.releases,
        version=adbot.version + 1,
    )
    change = PoolChange(header, header_after, adbot, after, released=released, taken=added)
    return _settle_queue(change, next_in_queue, now, reason)


def _settle_queue(  # noqa: PLR0911  one return a case, each a whole outcome
    change: PoolChange, next_in_queue: QueueEntry | None, now: int, reason: QueuedReason
) -> PoolChange:
    """Give the changed bot its place: none, its present one, or a new one at the tail."""
    header, before, after = change.header_after, change.before, change.after
    if before.is_parked:
        if after.missing:
            return change
        ready = _complete(after)
        return replace(change, header_after=replace(header, parked=header.parked - 1), after=ready, unparks=True)
    if before.waits_in_queue and before.seq is not None:
        if not after.missing:
            header = remove_from_queue(header, before.seq, before.missing, next_in_queue)
            return replace(change, header_after=header, after=_complete(after), leaves=True)
        header = replace(header, missing_total=header.missing_total + after.missing - before.missing)
        if before.seq == header.queue_head:
            return replace(change, header_after=replace(header, head_missing=after.missing))
        return replace(change, header_after=header, entry_missing=after.missing)
    if after.missing:
        entry, header = _join_tail(header, after.id, after.missing, now)
        return replace(change, header_after=header, after=_queued(after, entry, reason), joins=entry)
    return replace(change, after=_complete(after))


def _join_tail(header: PoolState, adbot_id: str, missing: int, now: int) -> tuple[QueueEntry, PoolState]:
    entry = QueueEntry(header.queue_tail, adbot_id, missing, max(now, header.last_queued_at + 1))
    is_empty = header.queue_length == 0
    return entry, replace(
        header,
        queue_head=entry.seq if is_empty else header.queue_head,
        queue_tail=entry.seq + 1,
        queue_length=header.queue_length + 1,
        missing_total=header.missing_total + missing,
        oldest_queued_at=entry.queued_at if is_empty else header.oldest_queued_at,
        head_missing=None if is_empty else header.head_missing,
        last_queued_at=entry.queued_at,
    )


def _queued(adbot: Adbot, entry: QueueEntry, reason: QueuedReason) -> Adbot:
    return replace(
        adbot, status=AdbotStatus.QUEUED, seq=entry.seq, queued_at=entry.queued_at, queued_reason=reason, inbox_id=None
    )


def _complete(adbot: Adbot) -> Adbot:
    """Return a bot that lacks nothing: it does not wait; a cancelled bot stays cancelled."""
    status = AdbotStatus.READY if adbot.status is AdbotStatus.QUEUED else adbot.status
    return replace(adbot, status=status, queued_reason=None, inbox_id=None)


def _difference(runs: tuple[Run, ...], kept: tuple[Run, ...]) -> tuple[Run, ...]:
    """Return the positions of `runs` that are not in `kept`, a part of them."""
    gone: list[Run] = []
    for run in runs:
        start = run.offset
        for inner in sorted(keep for keep in kept if keep.upload == run.upload and run.offset <= keep.offset < run.end):
            if inner.offset > start:
                gone.append(Run(run.upload, start, inner.offset - start))
            start = inner.end
        if start < run.end:
            gone.append(Run(run.upload, start, run.end - start))
    return joined(gone)
