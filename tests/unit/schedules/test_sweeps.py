"""The sweep of schedules: 10,000 of them, several sweepers at once, a sweeper that dies at any call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from unittest.mock import patch

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends

from adbot_queue.core.attribute_values import encode
from adbot_queue.core.errors import NotFound
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import JobState
from adbot_queue.schedules.creation import Command
from adbot_queue.schedules.plan import LOOKAHEAD_MS, MissedPolicy
from adbot_queue.schedules.store import item_of
from adbot_queue.schedules.ticks import TickOutcome
from adbot_queue.testing.in_process_aws import REGION
from tests.builders.crash import Killed, before_transactions, conflict, crash_after, every_call
from tests.builders.schedules import BEGIN, ScheduleHarness, ms, spec
from tests.builders.world import ADMIN, AwsHarness, world

ALL = MissedPolicy.ALL


@pytest.fixture
def harness(on_aws: AwsHarness) -> ScheduleHarness:
    return ScheduleHarness(on_aws)


def _fill(harness: ScheduleHarness, number: int) -> None:
    """Add daily schedules that are not due, behind the API's back: moto copies its tables for every transaction."""
    table = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].get_table(harness.world.env["JOBS_TABLE"])
    one = harness.create("daily", spec("cron(0 9 * * ? *)"))
    for index in range(number - 1):
        table.put_item(encode(item_of(replace(one, name=f"daily-{index}"))))


def test_the_calls_of_a_sweep_do_not_grow_with_the_schedules_that_are_not_due() -> None:
    made: dict[int, list[str]] = {}
    for others in (100, 10_000):
        with world() as own:
            harness = ScheduleHarness(own)
            for number in range(3):
                harness.create(f"due-{number}", spec("rate(1 minute)"))
            _fill(harness, others)
            with crash_after(None) as calls:
                assert harness.trigger.trigger_due(AwsHarness.time_left) == 3
            made[others] = calls.names
            assert [tick.outcome for number in range(3) for tick in harness.ticks(f"due-{number}")] == [
                TickOutcome.RAN
            ] * 3

    assert made[100] == made[10_000] == ["Query", "BatchGetItem", "TransactWriteItems"]


@patch("adbot_queue.schedules.runner.MAX_TICKS", 2)
def test_due_schedules_share_transactions(harness: ScheduleHarness) -> None:
    for number in range(5):
        harness.create(f"s{number}", spec("rate(1 minute)"))
    with crash_after(None) as calls:
        harness.trigger.trigger_due(AwsHarness.time_left)
    assert calls.names == ["Query", "BatchGetItem", *["TransactWriteItems"] * 3]


@patch("adbot_queue.schedules.runner.MAX_TICKS", 5)  # in one transaction, of 25
def test_two_sweepers_at_once_make_one_job_of_each_tick(harness: ScheduleHarness) -> None:
    for number in range(3):
        harness.create(f"s{number}", spec("rate(1 minute)", missed_policy=ALL))
    harness.at("00:07:00")
    others = [harness.sweep] * 2

    with before_transactions(lambda _: others.pop()() if others else None):
        harness.sweep()
    harness.sweep()

    for number in range(3):
        name = f"s{number}"
        assert len(harness.times(name)) == len(harness.due_between(name, BEGIN, harness.clock.now + LOOKAHEAD_MS)) == 8
    harness.audit()


def test_a_sweeper_that_meets_a_busy_table_tries_again(harness: ScheduleHarness) -> None:
    harness.create(what=spec("rate(1 minute)"))
    busy = [conflict(), conflict("ThrottlingException")]

    def refuse(_: object) -> None:
        if busy:
            raise busy.pop()

    with before_transactions(refuse):
        harness.sweep()
    assert harness.times() == ["00:02:00"]


@patch("adbot_queue.schedules.runner.MAX_TICKS", 2)
def test_schedules_that_a_sweep_has_no_time_for_are_left_to_the_next(harness: ScheduleHarness) -> None:
    for number in range(5):
        harness.create(f"s{number}", spec("rate(1 minute)"))
    left = iter([60_000, 60_000, 4_000, 4_000, 4_000])
    harness.trigger.trigger_due(lambda: next(left))
    assert len(harness.jobs.all()) == 2
    harness.sweep()
    assert len(harness.jobs.all()) == 5
    harness.audit()


def _tick(harness: ScheduleHarness) -> None:
    harness.sweep()


def _create(harness: ScheduleHarness) -> None:
    harness.create(what=spec("rate(1 minute)", missed_policy=ALL), key="k")


def _change(harness: ScheduleHarness) -> None:
    harness.change(spec("rate(1 minute)", priority=3, missed_policy=ALL))


def _remove(harness: ScheduleHarness) -> None:
    with suppress(NotFound):  # the second time
        harness.schedules.remove("report", ADMIN)


def _run(harness: ScheduleHarness) -> None:
    harness.schedules.run("report", Command(ADMIN, "k"), "req")


STORIES: dict[str, tuple[list[Callable[[ScheduleHarness], None]], Callable[[ScheduleHarness], None], list[str]]] = {
    "create": ([], _create, ["schedule.create"]),
    "change": ([_create, _tick], _change, ["schedule.create", "schedule.change"]),
    "remove": ([_create, _tick], _remove, ["schedule.create", "schedule.delete"]),
    "run": ([_create], _run, ["schedule.create", "schedule.run"]),
    "sweep": ([_create], _tick, ["schedule.create"]),
    "late sweep": ([_create, lambda harness: harness.at("00:08:00")], _tick, ["schedule.create"]),
}


def _killed(name: str, *, asked_again: bool) -> Iterator[tuple[int, ScheduleHarness]]:
    """The story killed after each of its AWS calls; then the same is asked again, or only the sweeper comes."""
    before, story, _ = STORIES[name]
    queues = {"analytics": job_queues.QUEUES["analytics"]}  # the sweep of the others makes calls as well
    with world() as on_aws, patch.dict(job_queues.QUEUES, queues, clear=True):
        harness = ScheduleHarness(on_aws)
        for step in before:
            step(harness)
        begin = harness.snapshot()
        with crash_after(None) as calls:
            story(harness)
        assert len(calls.names) >= 2
        for call in every_call(len(calls.names)):
            begin()
            with crash_after(call), suppress(Killed):  # cached settings save calls: the last do not come
                story(harness)
            if asked_again:
                story(harness)
            for _ in range(3):
                harness.sweep()
                harness.clock.advance(60)
            harness.sweep()
            yield call, harness


def _runs_each_tick_once(harness: ScheduleHarness, call: int) -> None:
    decided = harness.due_between("report", BEGIN, harness.clock.now + LOOKAHEAD_MS)
    running = [job for job in harness.made() if job.state is not JobState.CANCELLED]
    keys = [ms((job.idempotency_key or "")[16:39]) for job in running]
    assert keys == decided, call
    for job in running:  # each has a message, at once or in its second
        assert job.state is JobState.WAITING or job.rides_on_queue, call


@pytest.mark.parametrize("name", STORIES)
def test_killed_after_any_call_and_asked_again_it_has_happened_once(name: str) -> None:
    for call, harness in _killed(name, asked_again=True):
        assert harness.ledger() == STORIES[name][2], call
        if harness.audit():
            _runs_each_tick_once(harness, call)
        manual = [job for job in harness.jobs.all() if ":run:" in (job.idempotency_key or "")]
        assert len(manual) == (name == "run"), call


@pytest.mark.parametrize("name", STORIES)
def test_killed_after_any_call_nothing_is_half_done_and_no_tick_is_lost_or_doubled(name: str) -> None:
    for call, harness in _killed(name, asked_again=False):
        found, signed = harness.audit(), harness.ledger()
        # Either it was signed for and has happened, or neither.
        assert len(found) == ("schedule.create" in signed and "schedule.delete" not in signed), call
        if found:
            assert found[0].spec.priority == (3 if "schedule.change" in signed else 0), call
            _runs_each_tick_once(harness, call)
        else:
            assert all(job.state is JobState.CANCELLED for job in harness.made()), call
