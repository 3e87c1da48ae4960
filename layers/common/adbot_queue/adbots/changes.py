"""What commands do to a bot and to the header of its pool. Pure; `store.commit_change` writes it.

A command is anything but a resolver step: cancel, session lost, reassign, park, unpark. All are the same few
movements: sessions leave a bot or come to it, sessions leave the stock or come back, the bot leaves the queue,
keeps its place in it, or joins its tail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from adbot_queue.adbots.allocation import PoolState, QueueEntry, Segment
from adbot_queue.adbots.model import Adbot, AdbotStatus, QueuedReason, Run, joined, without


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StockPosition:
    """Where a free session stands in the stock."""

    upload: str
    offset: int
    segment: int
    position: int

    def is_ahead_of(self, header: PoolState) -> bool:
        """The cursor has not passed it: it is free unless it is dead."""
        return (self.segment, self.position) >= (header.cursor_segment, header.cursor_offset)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PoolChange:
    """What one transaction does, if header and bot still have their versions.

    Attributes:
        leaves: the bot's entry in the queue goes.
        entry_missing: the bot's entry stays and lacks this much now (the head's lack stands in the header instead).
        joins: the bot gets this entry at the tail.
        released: sessions that come back to stock, as a new segment at its end.
        taken: free sessions that go to the bot out of turn.
        parks, unparks: the bot is set aside, or comes back.
        parked_as: the park's key of it, where that is not the bot's id.
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


def cancel(header: PoolState, adbot: Adbot, next_in_queue: QueueEntry | None, now: int) -> PoolChange:
    """The bot ends; its sessions go back to stock. `next_in_queue` is the entry behind the head, if there is one."""
    return _move(header, adbot, (), (), next_in_queue, now, QueuedReason.REASSIGNED, cancelled=True)


def lose(
    header: PoolState, adbot: Adbot, upload: str, offset: int, next_in_queue: QueueEntry | None, now: int
) -> PoolChange:
    """A session of the bot is gone for good: it waits for another, at the tail unless it is in the queue already."""
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
    """Take named sessions from the bot, back to stock, and give it named free ones."""
    runs = adbot.runs
    for upload, offset in remove:
        runs = without(runs, upload, offset)
    return _move(header, adbot, runs, add, next_in_queue, now, QueuedReason.REASSIGNED)


def unpark(header: PoolState, adbot: Adbot, now: int) -> PoolChange:
    """A bot that was set aside waits again, at the tail: the head never moves backwards.

    One that lacks nothing (a newer version served it, or cancelled it) only leaves the park.
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
    """The header without one waiting bot; when that was the head, the bot behind it is the new one."""
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
    """The header with one free session less, lost where it lay."""
    return replace(header, version=header.version + 1, free=header.free - 1, stock_total=header.stock_total - 1)


def publish(header: PoolState, ranges: tuple[Run, ...], dead: frozenset[int]) -> tuple[PoolState, Segment]:
    """The header with a new segment at the end of the stock."""
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
    """Give the changed bot its place: none, the one it has, or a new one at the tail."""
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
    nobody_waits = header.queue_length == 0
    return entry, replace(
        header,
        queue_head=entry.seq if nobody_waits else header.queue_head,
        queue_tail=entry.seq + 1,
        queue_length=header.queue_length + 1,
        missing_total=header.missing_total + missing,
        oldest_queued_at=entry.queued_at if nobody_waits else header.oldest_queued_at,
        head_missing=None if nobody_waits else header.head_missing,
        last_queued_at=entry.queued_at,
    )


def _queued(adbot: Adbot, entry: QueueEntry, reason: QueuedReason) -> Adbot:
    return replace(
        adbot, status=AdbotStatus.QUEUED, seq=entry.seq, queued_at=entry.queued_at, queued_reason=reason, inbox_id=None
    )


def _complete(adbot: Adbot) -> Adbot:
    """A bot that lacks nothing (any more): it does not wait, and a cancelled one stays cancelled."""
    status = AdbotStatus.READY if adbot.status is AdbotStatus.QUEUED else adbot.status
    return replace(adbot, status=status, queued_reason=None, inbox_id=None)


def _difference(runs: tuple[Run, ...], kept: tuple[Run, ...]) -> tuple[Run, ...]:
    """The positions of `runs` that are not in `kept`, which is a part of them."""
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
