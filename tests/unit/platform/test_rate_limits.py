"""Token buckets: never more than the burst and the rate, in any order, by any clock."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.dynamodb import TransactionConflict
from adbot_queue.platform.rate_limits import TTL_S, RateLimiter
from tests.builders.clocks import NOW, FakeClock
from tests.builders.crash import crash_after
from tests.builders.payments import rows
from tests.builders.world import AwsHarness


@dataclass(frozen=True)
class Rate:
    per_second: float
    burst: int


TEN = Rate(10, 5)
names = (f"bucket{number}" for number in itertools.count())


def limits_of(world: AwsHarness, clock: Callable[[], int]) -> RateLimiter:
    return RateLimiter(aws.dynamodb(), world.env["SYSTEM_TABLE"], clock)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def limits(system: AwsHarness, clock: FakeClock) -> RateLimiter:
    return limits_of(system, clock)


@contextmanager
def just_before(operation: str, act: Callable[[], None]) -> Iterator[None]:
    """Let another process act between our decision and our write, once."""
    left = [act]

    def first(**_: Any) -> None:
        if left:
            left.pop()()

    event = f"before-call.dynamodb.{operation}"
    aws.dynamodb().meta.events.register(event, first, unique_id="meanwhile")
    try:
        yield
    finally:
        aws.dynamodb().meta.events.unregister(event, unique_id="meanwhile")


def test_a_full_bucket_grants_its_burst_at_once_and_then_refuses(limits: RateLimiter) -> None:
    taken = [limits.acquire("a", TEN) for _ in range(6)]
    assert [take.allowed for take in taken] == [True] * 5 + [False]
    assert [take.remaining for take in taken] == [4, 3, 2, 1, 0, 0]
    assert taken[-1].limit == 5


def test_tokens_come_back_at_the_rate(limits: RateLimiter, clock: FakeClock) -> None:
    limits.acquire("a", TEN, 5)
    clock.advance(99)
    assert not limits.acquire("a", TEN).allowed
    clock.advance(1)
    assert limits.acquire("a", TEN).allowed
    assert not limits.acquire("a", TEN).allowed
    clock.advance(10_000)
    assert limits.acquire("a", TEN, 5).allowed
    assert not limits.acquire("a", TEN).allowed


def test_several_tokens_are_taken_all_or_none(limits: RateLimiter) -> None:
    assert limits.acquire("a", TEN, 3).allowed
    assert not limits.acquire("a", TEN, 3).allowed
    assert limits.acquire("a", TEN, 2).allowed


@pytest.mark.parametrize("n", [0, -1, 6])
def test_more_than_a_full_bucket_or_nothing_is_an_error_of_the_caller(limits: RateLimiter, n: int) -> None:
    with pytest.raises(ValueError, match="bucket of 5"):
        limits.acquire("a", TEN, n)


def test_buckets_are_apart(limits: RateLimiter) -> None:
    assert limits.acquire("a", TEN, 5).allowed
    assert limits.acquire("b", TEN, 5).allowed


def test_a_refusal_says_when_to_retry_and_the_retry_succeeds(limits: RateLimiter, clock: FakeClock) -> None:
    slow = Rate(0.1, 2)
    limits.acquire("a", slow, 2)
    refused = limits.acquire("a", slow)
    assert (refused.retry_after_s, refused.reset_s) == (10, 20)
    clock.advance(refused.retry_after_s * 1000)
    granted = limits.acquire("a", slow)
    assert (granted.allowed, granted.retry_after_s) == (True, 0)


def test_virtual_time_is_now_for_the_first_and_later_for_who_is_ahead_of_the_rate(limits: RateLimiter) -> None:
    assert [limits.acquire("a", TEN).virtual_time_ms - NOW for _ in range(4)] == [0, 100, 200, 300]
    many = limits.acquire("b", TEN, 4)
    assert [many.virtual_time_of(index) - NOW for index in range(4)] == [0, 100, 200, 300]


def test_a_take_is_one_write_and_a_refused_one_writes_nothing(system: AwsHarness, limits: RateLimiter) -> None:
    limits.acquire("a", TEN)
    with crash_after(None) as calls:
        limits.acquire("a", TEN)
        limits.acquire("b", TEN)
        limits.acquire("a", TEN, 3)
    assert calls.names == ["UpdateItem"] * 3
    before = rows(system.env["SYSTEM_TABLE"], "LIMIT#a")
    with crash_after(None) as calls:
        assert not limits.acquire("a", TEN).allowed
    assert calls.names == ["UpdateItem"]
    assert rows(system.env["SYSTEM_TABLE"], "LIMIT#a") == before


def test_another_process_needs_one_refused_write_more_at_most(
    system: AwsHarness, clock: FakeClock, limits: RateLimiter
) -> None:
    limits.acquire("a", TEN)
    with crash_after(None) as calls:
        assert limits_of(system, clock).acquire("a", TEN).remaining == 3
    assert calls.names == ["UpdateItem"] * 2


def test_the_item_goes_when_the_bucket_has_been_full_for_an_hour(system: AwsHarness, limits: RateLimiter) -> None:
    limits.acquire("a", Rate(0.1, 10), 3)
    (item,) = rows(system.env["SYSTEM_TABLE"], "LIMIT#a")
    assert item["tat"] == (NOW + 30_000) * 1000
    assert item["expires_at"] >= NOW // 1000 + 30 + TTL_S


@pytest.mark.parametrize("seen", [False, True], ids=["full", "in use"])
def test_of_two_who_take_the_last_tokens_at_once_one_is_refused(
    system: AwsHarness, clock: FakeClock, limits: RateLimiter, seen: bool
) -> None:
    if seen:
        limits.acquire("a", TEN)
    others: list[bool] = []
    other = limits_of(system, clock)
    with just_before("UpdateItem", lambda: others.append(other.acquire("a", TEN, 4).allowed)):
        ours = limits.acquire("a", TEN, 4).allowed
    assert (others, ours) == ([True], False)


def test_takers_in_the_middle_of_a_bucket_do_not_make_each_other_repeat(
    system: AwsHarness, clock: FakeClock, limits: RateLimiter
) -> None:
    other = limits_of(system, clock)
    limits.acquire("a", TEN)
    other.acquire("a", TEN)
    with crash_after(None) as calls, just_before("UpdateItem", lambda: other.acquire("a", TEN) and None):
        assert limits.acquire("a", TEN).remaining == 1
    assert calls.names == ["UpdateItem"] * 2


def test_takers_whose_calls_take_longer_than_an_interval_lose_one_race_at_most(
    system: AwsHarness, clock: FakeClock, limits: RateLimiter
) -> None:
    fast, other = Rate(100, 50), limits_of(system, clock)
    acts: list[str] = []

    def meanwhile(**_: Any) -> None:
        if not acts:
            acts.append("another takes")
            clock.advance(40)  # the bucket is full again, four times over
            other.acquire("a", fast)
            clock.advance(40)
            acts.clear()

    other.acquire("a", fast)
    clock.advance(1_000)
    event = "before-call.dynamodb.UpdateItem"
    with crash_after(None) as calls:
        aws.dynamodb().meta.events.register(event, meanwhile, unique_id="meanwhile")
        try:
            assert limits.acquire("a", fast).allowed
        finally:
            aws.dynamodb().meta.events.unregister(event, unique_id="meanwhile")
    assert calls.names == ["UpdateItem"] * 4  # two of them ours


def test_a_bucket_whose_item_keeps_going_and_coming_is_contention(
    system: AwsHarness, limits: RateLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = itertools.cycle([{"tat": (NOW + 100) * 1000}, None])

    def lose(*_: Any, **__: Any) -> None:
        raise dynamodb.ConditionFailed(next(present))

    monkeypatch.setattr(dynamodb, "update_if", lose)
    with pytest.raises(TransactionConflict):
        limits.acquire("a", TEN)


Take = tuple[int, int, int]  # which process, how its clock moves (ms), tokens
takes = st.lists(st.tuples(st.integers(0, 2), st.integers(-2_000, 2_000), st.integers(1, 4)), min_size=1, max_size=25)
rates = st.builds(Rate, st.sampled_from([0.3, 1, 3, 7.7, 50, 1000]), st.integers(4, 12))


@given(rates, takes, st.lists(st.integers(0, 24), max_size=6))
def test_no_interleaving_and_no_clock_grants_more_than_burst_and_rate(
    one_world: AwsHarness, rate: Rate, story: list[Take], interrupted: list[int]
) -> None:
    """Three processes with clocks of their own that jump; some takes happen inside others."""
    clocks = [FakeClock() for _ in range(3)]
    processes = [limits_of(one_world, clock) for clock in clocks]
    bucket = next(names)
    granted: list[tuple[int, int]] = []

    def take(process: int, moved: int, n: int) -> None:
        clocks[process].advance(moved)
        at = clocks[process].now
        if processes[process].acquire(bucket, rate, n).allowed:
            granted.append((at, n))

    steps = iter(enumerate(story))
    for index, (process, moved, n) in steps:
        inner = next(steps, None) if index in interrupted else None
        if inner is None:
            take(process, moved, n)
            continue
        other, inner_moved, inner_n = inner[1]
        with just_before(
            "UpdateItem", lambda o=other, m=inner_moved, i=inner_n, p=process: take((p + 1 + o) % 3, m, i)
        ):
            take(process, moved, n)

    if granted:
        readings = [at for at, _ in granted]
        tokens = sum(n for _, n in granted)
        assert tokens <= rate.burst + rate.per_second * (max(readings) - min(readings)) / 1000 + 1e-9


@settings(max_examples=40, deadline=None)
@given(rates, st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 4)), min_size=1, max_size=20))
def test_with_a_clock_that_goes_forward_it_is_the_bucket_of_the_textbook(
    one_world: AwsHarness, rate: Rate, story: list[tuple[int, int]]
) -> None:
    clock = FakeClock()
    limits, bucket = limits_of(one_world, clock), next(names)
    tokens, filled_at = float(rate.burst), clock.now
    for moved, n in story:
        clock.advance(moved)
        tokens = min(rate.burst, tokens + rate.per_second * (clock.now - filled_at) / 1000)
        filled_at = clock.now
        taken = limits.acquire(bucket, rate, n)
        if math.isclose(tokens, n, abs_tol=0.01):
            tokens = tokens - n if taken.allowed else tokens  # a token that is half a microsecond late
        else:
            assert taken.allowed == (tokens >= n)
            tokens -= n if taken.allowed else 0
        assert abs(taken.remaining - math.floor(tokens)) <= (abs(tokens - round(tokens)) < 0.01)
