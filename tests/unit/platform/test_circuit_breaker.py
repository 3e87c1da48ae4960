"""Circuit breakers: a provider that fails is left alone by everybody, asked once now and then, and then believed."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adbot_queue.core import aws
from adbot_queue.core.last_known import CACHE_SECONDS
from adbot_queue.platform import circuit_breaker, health_log
from adbot_queue.platform.circuit import Circuit, CircuitOpen, CircuitState
from adbot_queue.platform.circuit_breaker import CircuitBreaker
from tests.builders.clocks import FakeClock
from tests.builders.payments import failing
from tests.builders.world import AwsHarness

names = (f"provider{number}" for number in itertools.count())


class Process:
    """A worker's process: what it knows is its own."""

    def __init__(self, world: AwsHarness, clock: FakeClock, provider: str) -> None:
        self.circuits = CircuitBreaker(aws.dynamodb(), world.env["SYSTEM_TABLE"], clock, clock.seconds)
        self.provider = provider

    def call(self, *, well: bool) -> bool:
        """Whether the call was made."""
        try:
            probe = self.circuits.acquire(self.provider)
        except CircuitOpen:
            return False
        (self.circuits.succeeded if well else self.circuits.failed)(self.provider, probe=probe)
        return True

    def calls(self, *, well: int = 0, badly: int = 0) -> list[bool]:
        return [self.call(well=True) for _ in range(well)] + [self.call(well=False) for _ in range(badly)]

    def waits(self) -> float:
        with pytest.raises(CircuitOpen) as refused:
            self.circuits.acquire(self.provider)
        return refused.value.seconds

    @property
    def current(self) -> Circuit:
        (found,) = self.circuits.read([self.provider])
        return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def process(system: AwsHarness, clock: FakeClock) -> Process:
    return Process(system, clock, next(names))


@pytest.fixture
def other(system: AwsHarness, clock: FakeClock, process: Process) -> Process:
    return Process(system, clock, process.provider)


def written(level: str) -> list[str]:
    health_log.from_env.cache_clear()
    found, _ = health_log.from_env().read(health_log.LogLevel(level), 100, None)
    return [entry["event"] for entry in found]


def test_five_failures_in_a_minute_open_it_for_half_a_minute_and_the_health_log_says_so(process: Process) -> None:
    process.calls(badly=4)
    assert process.current.state is CircuitState.CLOSED

    process.call(well=False)

    assert process.current.state is CircuitState.OPEN
    assert process.waits() == 30
    assert written("ERROR") == ["circuit.opened"]


def test_failures_that_are_fewer_than_half_do_not_open_it(process: Process) -> None:
    process.calls(well=6)
    process.calls(badly=5)

    assert (process.current.state, process.current.failures, process.current.successes) == (CircuitState.CLOSED, 5, 6)


def test_failures_of_another_minute_count_unless_a_call_went_well_since(process: Process, clock: FakeClock) -> None:
    process.calls(badly=4)
    clock.advance(60_000)
    process.calls(well=1, badly=4)
    assert (process.current.state, process.current.failures) == (CircuitState.CLOSED, 4)

    clock.advance(60_000)
    process.calls(badly=1)
    assert process.current.state is CircuitState.OPEN


def test_failures_of_all_processes_count_together_and_all_follow_within_five_seconds(
    process: Process, other: Process, clock: FakeClock
) -> None:
    other.call(well=True)
    process.calls(badly=3)
    other.calls(badly=2)
    assert process.current.state is CircuitState.OPEN

    assert other.waits() == 30
    clock.advance(5_000)
    assert process.waits() == 25


def test_a_process_that_knows_of_failures_shares_its_successes(process: Process, other: Process) -> None:
    process.call(well=False)
    process.calls(well=10)

    assert process.current.successes == 10
    other.calls(badly=5)
    assert other.current.state is CircuitState.CLOSED


def test_in_healthy_times_nothing_is_written(process: Process) -> None:
    calls: list[str] = []
    aws.dynamodb().meta.events.register(
        "before-call.dynamodb.*", lambda model, **_: calls.append(model.name), unique_id="counted"
    )
    try:
        process.calls(well=50)
    finally:
        aws.dynamodb().meta.events.unregister("before-call.dynamodb.*", unique_id="counted")

    assert calls == ["GetItem"]


def test_one_call_probes_and_the_others_wait_for_its_outcome(
    process: Process, other: Process, clock: FakeClock
) -> None:
    process.calls(badly=5)
    clock.advance(30_000)
    assert process.current.state is CircuitState.HALF_OPEN

    assert process.circuits.acquire(process.provider) is True
    assert other.waits() == 90
    process.circuits.succeeded(process.provider, probe=True)

    clock.advance(5_000)
    assert other.call(well=True)
    assert (process.current.state, process.current.opened_at) == (CircuitState.CLOSED, None)
    assert written("INFO") == ["circuit.closed"]


@pytest.mark.parametrize(("probes", "seconds"), [(1, 60), (2, 120), (3, 240), (4, 300), (9, 300)])
def test_each_probe_that_fails_doubles_the_rest_up_to_five_minutes(
    process: Process, clock: FakeClock, probes: int, seconds: float
) -> None:
    process.calls(badly=5)
    for _ in range(probes):
        clock.advance(300_000)
        assert process.call(well=False)

    assert process.waits() == seconds


def test_a_probe_whose_process_died_is_followed_by_another(process: Process, other: Process, clock: FakeClock) -> None:
    process.calls(badly=5)
    clock.advance(30_000)
    process.circuits.acquire(process.provider)

    clock.advance(89_000)
    assert not other.call(well=True)
    clock.advance(1_000)
    assert other.call(well=True)
    assert other.current.state is CircuitState.CLOSED


def test_a_call_that_was_under_way_when_it_opened_neither_closes_nor_prolongs_it(
    process: Process, other: Process
) -> None:
    assert other.circuits.acquire(other.provider) is False
    process.calls(badly=5)

    other.circuits.succeeded(other.provider, probe=False)
    other.circuits.failed(other.provider, probe=False)

    assert process.waits() == 30


def test_while_it_cannot_be_read_calls_pass(process: Process) -> None:
    with failing(aws.dynamodb(), "GetItem"):
        assert process.call(well=True)


def test_once_closed_five_new_failures_are_needed(process: Process, clock: FakeClock) -> None:
    process.calls(badly=5)
    clock.advance(30_000)
    process.call(well=True)
    process.calls(badly=4)

    assert process.current.state is CircuitState.CLOSED


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 40_000)), max_size=60))
def test_whatever_happens_an_open_circuit_lets_at_most_one_call_through_at_a_time(
    one_world: AwsHarness, story: list[tuple[int, bool, int]]
) -> None:
    clock = FakeClock()
    provider = next(names)
    processes = [Process(one_world, clock, provider) for _ in range(3)]
    for number, well, millis in story:
        clock.advance(millis)
        before: Any = processes[number].current
        made = processes[number].call(well=well)
        known_for_long = before.opened_at is not None and clock() - before.opened_at >= 1000 * CACHE_SECONDS
        if before.state is CircuitState.OPEN and known_for_long:
            assert not made
        if before.state is CircuitState.HALF_OPEN and made:
            after = processes[number].current
            assert after.state in {CircuitState.CLOSED, CircuitState.OPEN}


def test_a_late_thread_does_not_put_an_older_row_over_a_newer_one(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.calls(badly=3)
    fifth_is_written, update = threading.Event(), circuit_breaker.dynamodb.update_if

    def slow(*args: Any, **options: Any) -> Any:
        written = update(*args, **options)
        if written.get("failures") == 4:
            fifth_is_written.wait(0.2)  # with two writers at once the fourth failure is heard of after the fifth
        elif written.get("state"):
            fifth_is_written.set()
        return written

    monkeypatch.setattr(circuit_breaker.dynamodb, "update_if", slow)
    with ThreadPoolExecutor(2) as two:
        list(two.map(lambda _: process.call(well=False), range(2)))

    assert process.current.state is CircuitState.OPEN
    assert not process.call(well=True)
