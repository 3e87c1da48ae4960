"""The queue and the stock, step by step, against a naive model that cannot be wrong."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adbot_queue.adbots import changes
from adbot_queue.adbots.allocation import Segment, plan
from adbot_queue.adbots.model import AdbotStatus, Run
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry
from tests.unit.adbots.pool_in_memory import PoolInMemory


def test_a_bot_bought_while_there_is_stock_is_served_without_ever_queueing() -> None:
    pool = PoolInMemory()
    pool.upload(10)
    name = pool.buy(4)

    step = pool.step()

    assert not step.placements
    assert pool.bots[name].status is AdbotStatus.READY
    assert pool.bots[name].runs == (Run("up0", 0, 4),)
    assert (pool.header.free, pool.header.queue_length) == (6, 0)


def test_a_bot_bought_while_stock_is_short_gets_what_there_is_and_waits_for_the_rest() -> None:
    pool = PoolInMemory()
    pool.upload(3)
    name = pool.buy(5)

    pool.step()

    bot = pool.bots[name]
    assert (bot.status, bot.assigned, bot.missing) == (AdbotStatus.QUEUED, 3, 2)
    assert (pool.header.queue_length, pool.header.missing_total, pool.header.free) == (1, 2, 0)


def test_bots_behind_the_head_get_nothing_before_the_head_is_complete() -> None:
    pool = PoolInMemory()
    big, small = pool.buy(500), pool.buy(1)
    pool.step()

    pool.upload(499)
    pool.step()
    assert pool.bots[big].missing == 1
    assert pool.bots[small].assigned == 0

    pool.upload(2)
    pool.step()
    assert pool.bots[big].status is pool.bots[small].status is AdbotStatus.READY


def test_places_are_stamped_in_order_even_when_the_clock_goes_back() -> None:
    pool = PoolInMemory()
    pool.buy(1)
    pool.step()
    pool.now -= 900
    pool.buy(1)
    pool.step()

    first, second = (bot.queued_at or 0 for bot in pool.bots.values())
    assert second == first + 1


def test_dead_positions_split_runs_and_are_never_given() -> None:
    pool = PoolInMemory()
    pool.upload(6, dead=frozenset({0, 3}))
    name = pool.buy(4)
    pool.step()

    assert pool.bots[name].runs == (Run("up0", 1, 2), Run("up0", 4, 2))


def test_a_step_stays_within_its_items_and_the_next_goes_on_where_it_stopped() -> None:
    pool = PoolInMemory()
    for _ in range(150):
        pool.upload(1)
    name = pool.buy(150)

    pool.step(budget=100, segments_read=102)
    assert pool.bots[name].assigned == 96  # header, inbox entry, place, bot: 4 of 100
    pool.step(budget=100, segments_read=102)

    assert pool.bots[name].status is AdbotStatus.READY


def test_buyers_get_their_place_while_a_long_queue_is_served() -> None:
    pool = PoolInMemory()
    for _ in range(60):
        pool.buy(1)
    for _ in range(3):
        pool.step()
    pool.upload(1_000)
    pool.buy(7)

    step = pool.step()

    assert len(step.assignments) > 30
    assert [placement.inbox.required for placement in step.placements] == [7]


def test_a_step_on_nothing_changes_nothing() -> None:
    assert plan(PoolState("p"), [], [], [], 0).changes_nothing


def test_a_step_that_only_finds_dead_stock_still_moves_the_cursor() -> None:
    header = PoolState("p", free=1, queue_tail=1, queue_length=1, missing_total=1, oldest_queued_at=5, next_segment=3)
    dead = Segment(0, (Run("u", 0, 2),), frozenset({0, 1}))

    step = plan(header, [], [QueueEntry(0, "bot", 1, 5)], [dead], 9)

    assert (step.after.cursor_segment, step.after.cursor_offset) == (1, 0)
    assert replace(step.after, version=1, cursor_segment=0) == header


def test_the_last_entry_read_is_not_served_while_more_wait_because_the_next_head_would_be_unknown() -> None:
    header = PoolState(
        "p", free=9, stock_total=9, queue_tail=3, queue_length=3, missing_total=3, oldest_queued_at=1, next_segment=1
    )
    read = [QueueEntry(0, "a", 1, 1), QueueEntry(1, "b", 1, 2)]

    step = plan(header, [], read, [Segment(0, (Run("u", 0, 9),))], 9)

    assert [given.adbot_id for given in step.assignments] == ["a"]
    assert (step.after.queue_head, step.after.oldest_queued_at) == (1, 2)


def test_an_arrival_never_overtakes_a_queue_that_was_not_read_to_its_end() -> None:
    header = PoolState("p", free=9, queue_tail=2, queue_length=2, missing_total=2, oldest_queued_at=1, next_segment=1)
    read = [QueueEntry(0, "a", 1, 1)]

    step = plan(header, [InboxEntry("i", "late", 1, 5)], read, [Segment(0, (Run("u", 0, 9),))], 9)

    assert not step.assignments
    assert [placement.entry.adbot_id for placement in step.placements] == ["late"]


class PoolMachine(RuleBasedStateMachine):
    """Everything that can happen to a pool, in any order, one transaction at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = PoolInMemory()

    @rule(required=st.integers(1, 30))
    def buy(self, required: int) -> None:
        self.pool.buy(required)

    @rule(count=st.integers(1, 40), dead=st.sets(st.integers(0, 39), max_size=6))
    def upload(self, count: int, dead: set[int]) -> None:
        kept = frozenset(n for n in dead if n < count)
        if len(kept) < count:
            self.pool.upload(count, kept)

    @rule(seconds=st.integers(-5, 60))
    def time_passes(self, seconds: int) -> None:
        self.pool.now += seconds

    @rule(budget=st.integers(6, 100), read=st.integers(2, 51), segments=st.integers(1, 4))
    def resolve(self, budget: int, read: int, segments: int) -> None:
        self.pool.step(budget, read, segments)

    @precondition(lambda self: self.pool.bots)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        bot = self.pool.bots[data.draw(st.sampled_from(sorted(self.pool.bots)))]
        if bot.status is not AdbotStatus.CANCELLED:
            self.pool.apply(changes.cancel(self.pool.header, bot, self.pool.next_in_queue(), self.pool.now))

    @precondition(lambda self: any(bot.runs for bot in self.pool.bots.values()))
    @rule(data=st.data())
    def lose_a_session_of_a_bot(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, bot in self.pool.bots.items() if bot.runs)))
        bot = self.pool.bots[name]
        upload, offset = self._any_position(data, name)
        self.pool.lost.add((upload, offset))
        self.pool.apply(changes.lose(self.pool.header, bot, upload, offset, self.pool.next_in_queue(), self.pool.now))

    @precondition(lambda self: self.pool.free)
    @rule(data=st.data())
    def lose_a_free_session(self, data: st.DataObject) -> None:
        position = data.draw(st.sampled_from(self.pool.free))
        place = self.pool.place(position)
        segment = self.pool.segments[place.segment]
        self.pool.segments[place.segment] = replace(segment, dead=segment.dead | {place.position})
        self.pool.header = changes.lose_free(self.pool.header)
        self.pool.free.remove(position)
        self.pool.lost.add(position)

    @precondition(lambda self: any(bot.status is not AdbotStatus.CANCELLED for bot in self.pool.bots.values()))
    @rule(data=st.data())
    def reassign(self, data: st.DataObject) -> None:
        alive = sorted(name for name, bot in self.pool.bots.items() if bot.status is not AdbotStatus.CANCELLED)
        bot = self.pool.bots[data.draw(st.sampled_from(alive))]
        remove = [self._any_position(data, bot.id)] if bot.runs and data.draw(st.booleans()) else []
        room = min(bot.missing + len(remove), len(self.pool.free))
        chosen = (
            data.draw(st.lists(st.sampled_from(self.pool.free), max_size=min(room, 3), unique=True)) if room else []
        )
        places = tuple(self.pool.place(position) for position in chosen)
        if remove or places:
            self.pool.apply(
                changes.reassign(self.pool.header, bot, remove, places, self.pool.next_in_queue(), self.pool.now)
            )

    def _any_position(self, data: st.DataObject, name: str) -> tuple[str, int]:
        positions = [(run.upload, n) for run in self.pool.bots[name].runs for n in range(run.offset, run.end)]
        return data.draw(st.sampled_from(positions))

    @invariant()
    def everything_adds_up(self) -> None:
        self.pool.check()

    def teardown(self) -> None:
        """Without further commands the resolver ends with no stock or no waiting bot."""
        for _ in range(500):
            if self.pool.step().changes_nothing:
                break
        self.pool.check()
        assert not self.pool.inbox
        assert not self.pool.line or not self.pool.free


TestPool = PoolMachine.TestCase
TestPool.settings = settings(stateful_step_count=40)
