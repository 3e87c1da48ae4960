"""How stock meets the queue. Pure.

A pool is a log of sessions (segments, in order) with a cursor, and a queue of bots (sequence numbers, in order) with a
head. Serving moves both forward and never back. One row, the header, holds cursor, head and all counts, and the version
under which every change is committed: no session is given twice and no bot is overtaken, however many workers run at
once, since a stale version is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from adbot_queue.adbots.model import Run
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry

STEP_ITEMS = 100
"""The most items that a resolver step writes: the limit of a DynamoDB transaction."""

PLACEMENT = 3
"""Items that a place at the tail costs: the inbox entry deleted, the queue entry and the bot written."""

INBOX_SHARE = 30
"""Items of a step reserved for the inbox while the queue is long, so that buyers get their place without waiting."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Segment:
    """A part of the stock: ranges of uploads, one after the other.

    Positions in `dead`, counted from the segment's start, are skipped: lost, or taken out by an operator. `moved_to` is
    the segment that returned the positions behind its end, after the segment was set aside.
    """

    number: int
    ranges: tuple[Run, ...]
    dead: frozenset[int] = frozenset()
    moved_to: int | None = None

    @property
    def count(self) -> int:
        """Number of positions, dead ones included."""
        return sum(run.count for run in self.ranges)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Assignment:
    """Sessions that a step assigns to one bot. `inbox` is set for a bot without a place."""

    adbot_id: str
    seq: int
    runs: tuple[Run, ...]
    missing_before: int
    missing_after: int
    queued_at: int
    inbox: InboxEntry | None = None

    @property
    def count(self) -> int:
        """Number of sessions."""
        return self.missing_before - self.missing_after


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Placement:
    """A place at the tail for a bot from the inbox that gets no session yet."""

    inbox: InboxEntry
    entry: QueueEntry


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AllocationStep:
    """The changes of one transaction, conditional on the header's version `before.version`."""

    before: PoolState
    after: PoolState
    assignments: tuple[Assignment, ...]
    placements: tuple[Placement, ...]

    @property
    def changes_nothing(self) -> bool:
        """Whether there is nothing to commit."""
        return replace(self.after, version=self.before.version) == self.before

    def named_twice(self) -> set[str]:
        """Return the bots that the step names more than once.

        Header, inbox and queue are read one after the other: a bot that gets its place in between appears in both. Such
        a step would name one item twice, and is not sent.
        """
        bots = Counter(one.adbot_id for one in self.assignments)
        bots.update(one.entry.adbot_id for one in self.placements)
        return {name for name, number in bots.items() if number > 1}

    @property
    def gives_twice(self) -> bool:
        """Whether the step assigns a position twice."""
        runs = sorted(run for one in self.assignments for run in one.runs)
        return any(one.upload == other.upload and one.end > other.offset for one, other in pairwise(runs))


@dataclass(slots=True, eq=False, repr=False)
class _Tape:
    """The free stock from the cursor on, as far as it was read."""

    segments: Sequence[Segment]
    segment: int
    offset: int
    _index: int = field(default=0)

    def take(self, wanted: int, most_runs: int) -> tuple[Run, ...]:
        """Return up to `wanted` sessions in at most `most_runs` runs, and move the cursor past them."""
        runs: list[Run] = []
        while wanted and (segment := self._current()) is not None:
            run = self._next_run(segment, wanted)
            if run is None:
                continue
            if runs and (last := runs[-1]).upload == run.upload and last.end == run.offset:
                runs[-1] = replace(last, count=last.count + run.count)
            elif len(runs) == most_runs:
                break
            else:
                runs.append(run)
            self.offset += run.count
            wanted -= run.count
        return tuple(runs)

    def _current(self) -> Segment | None:
        """Return the segment at the cursor, past finished ones; None at the end of what was read."""
        while self._index < len(self.segments):
            segment = self.segments[self._index]
            if segment.number > self.segment:
                self.segment, self.offset = segment.number, 0
            if segment.number == self.segment and self.offset < segment.count:
                return segment
            self._index += 1
            if segment.number == self.segment:
                self.segment, self.offset = segment.number + 1, 0
        return None

    def _next_run(self, segment: Segment, wanted: int) -> Run | None:
        """Return the free positions from the cursor to the next gap, at most `wanted`, past dead ones."""
        while self.offset in segment.dead:
            self.offset += 1
        start = 0
        for run in segment.ranges:
            if self.offset < start + run.count:
                skipped = self.offset - start
                room = min(run.count - skipped, wanted)
                if segment.dead:
                    room = next((n for n in range(room) if self.offset + n in segment.dead), room)
                return Run(run.upload, run.offset + skipped, room)
            start += run.count
        return None


def plan(
    header: PoolState,
    inbox: Sequence[InboxEntry],
    queue: Sequence[QueueEntry],
    segments: Sequence[Segment],
    now: int,
    budget: int = STEP_ITEMS,
) -> AllocationStep:
    """Decide one resolver step.

    Args:
        header: the pool's header as read.
        inbox: the oldest entries, in order.
        queue: the first waiting entries in order, and one more than the step can serve unless these are all, so that
            the next head is known.
        segments: the stock from the cursor on, in order, as far as it was read.
        now: milliseconds; places are stamped `max(now, last + 1)`, so that clocks cannot reorder the queue.
        budget: items that the step may write, the header included.

    Promises: bots are served strictly in order, each completely before the next gets any; the header's counts change by
    exactly what assignments and placements say; the step never writes more than `budget` items.
    """
    builder = _StepBuilder(header, _Tape(segments, header.cursor_segment, header.cursor_offset), now, budget)
    builder.serve_queue(queue, kept_for_inbox=min(PLACEMENT * len(inbox), INBOX_SHARE))
    builder.take_in(inbox)
    return builder.step()


class _StepBuilder:
    """Builder of a step.

    Its items: header 1; served from the queue 1 + runs; served from the inbox 2 + runs (its entry is deleted), 3 + runs
    if only in part; placed `PLACEMENT`.
    """

    def __init__(self, header: PoolState, tape: _Tape, now: int, budget: int) -> None:
        self.before = header
        self.tape = tape
        self.now = now
        self.left = budget - 1
        self.free = header.free
        self.tail = header.queue_tail
        self.length = header.queue_length
        self.missing = header.missing_total
        self.last_queued_at = header.last_queued_at
        self.head: int | None = header.queue_head if header.queue_length else None
        self.head_missing = header.head_missing
        self.oldest = header.oldest_queued_at
        self.assignments: list[Assignment] = []
        self.placements: list[Placement] = []

    def serve_queue(self, queue: Sequence[QueueEntry], kept_for_inbox: int) -> None:
        """Serve waiting bots in order until stock, budget or queue end."""
        more_wait_than_read = len(queue) < self.before.queue_length
        for index, entry in enumerate(queue):
            self.head, self.oldest = entry.seq, entry.queued_at
            lacks = entry.missing if self.head_missing is None else self.head_missing
            room = self.left - kept_for_inbox - 1
            if not self.free or room < 1 or (more_wait_than_read and index == len(queue) - 1):
                return
            runs = self.tape.take(lacks, room)
            if not runs:
                return
            given = sum(run.count for run in runs)
            self._assign(Assignment(entry.adbot_id, entry.seq, runs, lacks, lacks - given, entry.queued_at))
            self.left -= 1 + len(runs)
            self.missing -= given
            if given < lacks:
                self.head_missing = lacks - given
                return
            self.length -= 1
            self.head = self.head_missing = self.oldest = None

    def take_in(self, inbox: Sequence[InboxEntry]) -> None:
        """Serve bots from the inbox while no bot waits before them; place the others at the tail."""
        for arrival in inbox:
            if self.left < PLACEMENT:  # a whole assignment costs as many at least
                break
            queued_at = max(self.now, self.last_queued_at + 1)
            entry = QueueEntry(self.tail, arrival.adbot_id, arrival.required, queued_at)
            is_empty = self.length == 0
            runs = (
                self.tape.take(arrival.required, max(1, self.left - PLACEMENT))
                if is_empty and self.free and self.left > PLACEMENT
                else ()
            )
            given = sum(run.count for run in runs)
            self.tail += 1
            self.last_queued_at = queued_at
            if runs:
                self._assign(
                    Assignment(
                        arrival.adbot_id,
                        entry.seq,
                        runs,
                        arrival.required,
                        arrival.required - given,
                        queued_at,
                        arrival,
                    )
                )
                self.left -= 2 + len(runs)
            if given == arrival.required:
                continue
            self.left -= 1 if runs else PLACEMENT
            if not runs:
                self.placements.append(Placement(arrival, entry))
            self.length += 1
            self.missing += arrival.required - given
            if is_empty:
                self.head, self.oldest = entry.seq, queued_at
                self.head_missing = arrival.required - given if given else None

    def _assign(self, assignment: Assignment) -> None:
        self.assignments.append(assignment)
        self.free -= assignment.count

    def step(self) -> AllocationStep:
        """Return the step."""
        after = replace(
            self.before,
            version=self.before.version + 1,
            free=self.free,
            queue_head=self.tail if self.head is None else self.head,
            queue_tail=self.tail,
            queue_length=self.length,
            missing_total=self.missing,
            head_missing=self.head_missing,
            oldest_queued_at=self.oldest,
            last_queued_at=self.last_queued_at,
            cursor_segment=self.tape.segment,
            cursor_offset=self.tape.offset,
        )
        return AllocationStep(self.before, after, tuple(self.assignments), tuple(self.placements))
