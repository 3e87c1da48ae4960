"""A pool in plain Python: applies steps and changes as the store's transactions would, and checks what must hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from adbot_queue.adbots import changes
from adbot_queue.adbots.allocation import STEP_ITEMS, AllocationStep, Segment, plan
from adbot_queue.adbots.changes import PoolChange, StockPosition
from adbot_queue.adbots.model import Adbot, AdbotStatus, CreationSource, ExecutionMode, QueuedReason, Run
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry

Position = tuple[str, int]


@dataclass
class PoolInMemory:
    """Header, items and bots of one pool, with a naive model: the waiting bots and the free positions, each a list in
    order.
    """

    header: PoolState = field(default_factory=lambda: PoolState("p"))
    inbox: list[InboxEntry] = field(default_factory=list)
    entries: dict[int, QueueEntry] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)
    bots: dict[str, Adbot] = field(default_factory=dict)
    lost: set[Position] = field(default_factory=set)
    line: list[str] = field(default_factory=list)  # model: who waits, in order
    free: list[Position] = field(default_factory=list)  # model: what is free, in order
    now: int = 1_000

    def buy(self, required: int) -> str:
        name = f"bot{len(self.bots)}"
        entry = InboxEntry(f"in{len(self.bots):06d}", name, required, self.now)
        self.bots[name] = Adbot(
            id=name,
            order_id=f"ord-{name}",
            user_id="u",
            pool="p",
            status=AdbotStatus.QUEUED,
            required=required,
            assigned=0,
            missing=required,
            creation_source=CreationSource.PAYMENT,
            execution_mode=ExecutionMode.ASYNC_QUEUE,
            created_at=self.now,
            queued_reason=QueuedReason.SEQUENCING,
            inbox_id=entry.id,
        )
        self.inbox.append(entry)
        return name

    def upload(self, count: int, dead: frozenset[int] = frozenset()) -> None:
        upload = f"up{self.header.next_segment}"
        self.header, segment = changes.publish(self.header, (Run(upload, 0, count),), dead)
        self.segments[segment.number] = segment
        self.free += [(upload, n) for n in range(count) if n not in dead]

    def step(self, budget: int = STEP_ITEMS, read: int = 51, segments_read: int = 2) -> AllocationStep:
        waiting = [self.entries[seq] for seq in sorted(self.entries) if seq >= self.header.queue_head]
        stock = [self.segments[n] for n in sorted(self.segments) if n >= self.header.cursor_segment]
        step = plan(self.header, self.inbox[:read], waiting[:read], stock[:segments_read], self.now, budget)
        assert self._cost(step) <= budget
        if not step.changes_nothing:
            self._apply(step)
        return step

    def _cost(self, step: AllocationStep) -> int:
        served = sum(
            1 + len(given.runs) + (bool(given.inbox)) + (bool(given.inbox) and given.missing_after > 0)
            for given in step.assignments
        )
        return 1 + served + 3 * len(step.placements)

    def _apply(self, step: AllocationStep) -> None:
        assert step.before == self.header
        self.header = step.after
        placed = {placement.inbox.id: placement for placement in step.placements}
        for given in step.assignments:
            bot = self.bots[given.adbot_id]
            assert (bot.status, bot.missing) == (AdbotStatus.QUEUED, given.missing_before)
            if given.inbox:
                self.inbox.remove(given.inbox)
                self.line.append(bot.id)
                if given.missing_after:
                    self.entries[given.seq] = QueueEntry(given.seq, bot.id, given.missing_before, given.queued_at)
            else:
                assert bot.seq == given.seq
            self._model_serves(bot.id, given.runs, complete=not given.missing_after)
            self.bots[bot.id] = replace(
                bot,
                seq=given.seq,
                queued_at=given.queued_at,
                inbox_id=None,
                assigned=bot.assigned + given.count,
                missing=given.missing_after,
                runs=(*bot.runs, *given.runs),
                status=AdbotStatus.QUEUED if given.missing_after else AdbotStatus.READY,
                queued_reason=QueuedReason.INSUFFICIENT_STOCK if given.missing_after else None,
                version=bot.version + 1,
            )
        for placement in placed.values():
            bot = self.bots[placement.inbox.adbot_id]
            self.inbox.remove(placement.inbox)
            self.entries[placement.entry.seq] = placement.entry
            self.line.append(bot.id)
            self.bots[bot.id] = replace(
                bot,
                seq=placement.entry.seq,
                queued_at=placement.entry.queued_at,
                queued_reason=QueuedReason.INSUFFICIENT_STOCK,
                inbox_id=None,
                version=bot.version + 1,
            )

    def _model_serves(self, name: str, runs: tuple[Run, ...], *, complete: bool) -> None:
        """First in line, first of the stock: nothing else is allowed."""
        assert self.line[0] == name, "a bot jumped the queue"
        given = [(run.upload, offset) for run in runs for offset in range(run.offset, run.end)]
        assert given == self.free[: len(given)], "not the next sessions of the stock"
        del self.free[: len(given)]
        if complete:
            self.line.pop(0)

    def next_in_queue(self) -> QueueEntry | None:
        waiting = [self.entries[seq] for seq in sorted(self.entries) if seq >= self.header.queue_head]
        return waiting[1] if len(waiting) > 1 else None

    def apply(self, change: PoolChange) -> None:
        assert change.header_before == self.header
        before, after = change.before, change.after
        self.header = change.header_after
        self.bots[after.id] = after
        if before.inbox_id and not after.inbox_id:
            self.inbox = [entry for entry in self.inbox if entry.adbot_id != after.id]
        if change.leaves:
            assert before.seq is not None
            del self.entries[before.seq]
            self.line.remove(after.id)
        if change.entry_missing is not None:
            assert before.seq is not None
            self.entries[before.seq] = replace(self.entries[before.seq], missing=change.entry_missing)
        if change.joins:
            self.entries[change.joins.seq] = change.joins
            self.line.append(after.id)
        for place in change.taken:
            segment = self.segments[place.segment]
            self.segments[place.segment] = replace(segment, dead=segment.dead | {place.position})
            self.free.remove((place.upload, place.offset))
        if change.released:
            self.segments[change.released.number] = change.released
            self.free += [(run.upload, n) for run in change.released.ranges for n in range(run.offset, run.end)]

    def place(self, position: Position) -> StockPosition:
        """Return the place of a free session."""
        for number in sorted(self.segments, reverse=True):
            segment = self.segments[number]
            at = changes.position_in(segment, *position)
            if at is not None and at not in segment.dead:
                place = StockPosition(*position, number, at)
                if place.is_ahead_of(self.header):
                    return place
        raise AssertionError(f"{position} is not free")

    def check(self) -> None:
        """What must hold after every transaction."""
        header = self.header
        waiting = [bot for bot in self.bots.values() if bot.waits_in_queue]
        assert header.free == len(self.free)
        assert header.queue_length == len(waiting) == len(self.line)
        assert header.missing_total == sum(bot.missing for bot in waiting)
        by_seq = sorted(waiting, key=lambda bot: bot.seq or 0)
        assert [bot.id for bot in by_seq] == self.line
        assert header.oldest_queued_at == (by_seq[0].queued_at if by_seq else None)
        assert header.queue_head == (by_seq[0].seq if by_seq else header.queue_tail)
        times = [bot.queued_at or 0 for bot in by_seq]
        assert times == sorted(set(times))
        owned = [(run.upload, n) for bot in self.bots.values() for run in bot.runs for n in range(run.offset, run.end)]
        assert len(owned) == len(set(owned)), "a session has two owners"
        assert not set(owned) & set(self.free)
        assert not set(owned) & self.lost
        assert header.stock_total == len(owned) + len(self.free)
        for bot in self.bots.values():
            assert bot.assigned == sum(run.count for run in bot.runs)
            assert (bot.status is AdbotStatus.QUEUED) == (bot.missing > 0)
            if bot.status is not AdbotStatus.CANCELLED:
                assert bot.missing == bot.required - bot.assigned
