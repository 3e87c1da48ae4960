"""Ticks of schedules: jobs in their second, missed, refused, and of rows that this version cannot read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core import aws
from adbot_queue.jobs import job_types
from adbot_queue.jobs.model import JobState
from adbot_queue.schedules.plan import LOOKAHEAD_MS, MissedPolicy
from adbot_queue.schedules.records import UnreadableSchedule
from adbot_queue.schedules.ticks import TickOutcome
from tests.builders.payments import rows
from tests.builders.schedules import BEGIN, ScheduleHarness, counted, ms, spec, total
from tests.builders.sqs import FakeSqs
from tests.builders.world import ADMIN, AwsHarness

ALL = MissedPolicy.ALL


@pytest.fixture
def harness(on_aws: AwsHarness) -> ScheduleHarness:
    return ScheduleHarness(on_aws)


def test_a_tick_is_a_delayed_job_two_minutes_before_its_time(harness: ScheduleHarness) -> None:
    harness.create(what=spec(priority=3, tags=("a",)))
    harness.at("00:58:59")
    assert harness.sweep() == 0
    harness.at("00:59:00")
    assert harness.sweep() == 1
    assert harness.sweep() == 0

    (tick,) = harness.ticks()
    (job,) = harness.made()
    assert (tick.outcome, tick.at, tick.job_id) == (TickOutcome.RAN, ms("2030-01-01T01:01:00"), job.id)
    assert (job.state, job.run_at) == (JobState.DELAYED, tick.at)
    assert (job.type, job.priority, job.tags) == ("analytics-track", 3, ("a", "schedule:report"))
    items = rows(harness.world.env["JOBS_TABLE"], "SCHEDULE#")
    (recorded,) = [item for item in items if item["sk"].startswith("TICK#")]
    assert recorded["expires_at"] == harness.clock.now // 1000 + 90 * 86_400


def test_ticks_start_in_their_second(harness: ScheduleHarness) -> None:
    sqs = FakeSqs(harness.clock)
    vars(harness.jobs.dispatcher)["_sqs"] = sqs
    harness.create("minutely", spec("rate(1 minute)"))
    harness.create("once", spec("at(2030-01-01T00:03:17)"))
    harness.create("daily", spec("cron(4 9 * * ? *)", timezone="Asia/Tokyo"))
    started: dict[str, int] = {}

    for second in range(1, 360):
        harness.clock.now = BEGIN + second * 1000
        if second % 60 == 10:
            harness.sweep()
        for _, body in sqs.receive(harness.jobs.urls["analytics"]):
            key = harness.jobs.get(body["job"]).idempotency_key or ""
            started.setdefault(key.removeprefix("schedule:"), harness.clock.now)

    assert all(ms(key[-24:-1]) == moment for key, moment in started.items())
    assert sorted(started, key=lambda key: (started[key], key)) == [
        "minutely:2030-01-01T00:02:00.000Z",
        "minutely:2030-01-01T00:03:00.000Z",
        "once:2030-01-01T00:03:17.000Z",
        "daily:2030-01-01T00:04:00.000Z",
        "minutely:2030-01-01T00:04:00.000Z",
        "minutely:2030-01-01T00:05:00.000Z",
        "minutely:2030-01-01T00:06:00.000Z",
    ]


@pytest.mark.parametrize(("policy", "jobs"), [("skip", 7), ("once", 8), ("all", 11)])
def test_after_ten_minutes_without_a_sweeper_the_policy_decides(
    harness: ScheduleHarness, policy: str, jobs: int
) -> None:
    harness.create(what=spec("rate(1 minute)", missed_policy=MissedPolicy(policy)))
    harness.sweep()
    harness.at("00:11:00")
    with counted() as spy:
        harness.sweep()

    decided = harness.due_between("report", BEGIN, harness.clock.now + LOOKAHEAD_MS)
    missed = [tick for tick in decided if tick <= ms("2030-01-01T00:06:00")][1:]  # the first was decided ahead
    assert total(spy, "ScheduleTicksMissed") == len(missed) == 4
    assert sum(tick.count for tick in harness.ticks()) == len(decided)
    assert len(harness.made()) == 1 + jobs
    skipped = [tick for tick in harness.ticks() if tick.outcome is TickOutcome.SKIPPED]
    assert [tick.count for tick in skipped] == {"skip": [4], "once": [3], "all": []}[policy]
    harness.audit()


def test_a_missed_moment_is_caught_up_on(harness: ScheduleHarness) -> None:
    harness.create(what=spec("at(2030-01-01T03:00:00)"))
    harness.at("03:05:30")
    assert harness.sweep() == 1
    (tick,) = harness.ticks()
    assert (tick.outcome, tick.at) == (TickOutcome.CAUGHT_UP, ms("2030-01-01T03:00:00"))
    assert harness.sweep() == 0
    (job,) = harness.made()
    assert job.state is JobState.WAITING
    harness.audit()


def test_what_was_due_while_it_was_disabled_is_not_missed(harness: ScheduleHarness) -> None:
    on = spec(missed_policy=ALL)
    harness.create(what=on)
    harness.change(replace(on, enabled=False))
    harness.at("05:30:00")
    assert harness.sweep() == 0
    harness.change(on)
    harness.at("06:00:05")
    harness.sweep()
    assert harness.times() == ["06:01:00"]


def test_another_timing_begins_anew_and_another_priority_does_not(harness: ScheduleHarness) -> None:
    harness.create(what=spec(missed_policy=ALL))
    harness.at("01:30:00")
    harness.change(spec(priority=7, missed_policy=ALL))
    harness.sweep()
    assert harness.times() == ["01:01:00"]  # missed before the change
    harness.at("02:30:00")
    harness.change(spec("rate(30 minutes)", missed_policy=ALL))
    harness.sweep()
    assert harness.times() == ["01:01:00"]
    harness.at("03:00:10")
    harness.sweep()
    assert harness.times() == ["01:01:00", "03:00:00"]


@patch("adbot_queue.schedules.plan.MAX_CAUGHT_UP", 12)  # of 100
@patch("adbot_queue.schedules.runner.MAX_TICKS", 5)  # in one transaction, of 25
def test_many_missed_ticks_are_caught_up_on_oldest_first_and_boundedly(harness: ScheduleHarness) -> None:
    harness.create(what=spec("rate(1 minute)", missed_policy=ALL))
    harness.at("06:00:00")
    harness.sweep()
    assert len(harness.made()) == 12 + 5 + 2  # missed, late, to come
    skipped, *shown = harness.ticks()
    assert (skipped.outcome, skipped.count) == (TickOutcome.SKIPPED, 359 - 17)
    assert "missed since 2030-01-01T00:02" in skipped.detail
    assert [tick.outcome for tick in shown] == [TickOutcome.CAUGHT_UP] * 12 + [TickOutcome.RAN] * 7
    ready = harness.jobs.store.ready("analytics", 100)
    assert [job_id for _, job_id in ready] == [tick.job_id for tick in shown if tick.at <= harness.clock.now]


# -- jobs that are refused, or wait


def broken(harness: ScheduleHarness) -> None:
    """A schedule whose payload its type no longer accepts."""
    harness.create(what=spec("rate(1 minute)"))
    harness.spoil(payload={"S": '{"event": ""}'})


def test_a_refused_job_is_the_schedules_problem_until_it_can_be_made(harness: ScheduleHarness) -> None:
    broken(harness)
    with counted() as spy:
        harness.sweep()
    (tick,) = harness.ticks()
    assert (tick.outcome, tick.job_id) == (TickOutcome.REFUSED, None)
    assert harness.schedules.get("report").problem == tick.detail
    assert "payload.event" in tick.detail
    assert total(spy, "TicksRefused") == 1

    harness.spoil(payload={"S": '{"event": "e", "user_id": "u"}'})
    harness.sweep_until("00:01:30")
    assert harness.schedules.get("report").problem is None
    assert harness.times() == ["00:03:00"]


def test_a_refused_tick_to_come_runs_when_its_schedule_is_corrected_in_time(harness: ScheduleHarness) -> None:
    broken(harness)
    harness.sweep()
    corrected = harness.change(spec("rate(1 minute)"))
    assert corrected.problem is None
    harness.sweep()
    assert harness.times() == ["00:02:00"]


def test_a_job_that_needs_the_owner_is_refused_unless_the_owner_saved_the_schedule(harness: ScheduleHarness) -> None:
    harness.create("admins", spec("rate(1 minute)"))
    harness.create("owners", spec("rate(1 minute)", by_owner=True))
    harness.owner_needed = "a refund of 2000.00 EUR needs the role owner"
    harness.sweep()
    assert harness.schedules.get("admins").problem == harness.owner_needed
    assert harness.schedules.get("owners").problem is None
    assert (len(harness.made("admins")), len(harness.made("owners"))) == (0, 1)


def test_a_tick_of_a_type_that_this_version_does_not_know_waits_as_a_job(harness: ScheduleHarness) -> None:
    harness.create(what=spec("rate(1 minute)"))
    with patch.object(job_types, "get", lambda _: None):
        harness.sweep()
        (job,) = harness.made()
        harness.at("00:02:00")
        harness.jobs.work(job)
        waiting = harness.jobs.get(job)
    assert (waiting.queue, waiting.state, waiting.failure.kind) == ("analytics", JobState.DELAYED, "unsupported")  # type: ignore[union-attr]
    assert "analytics-track" in (harness.schedules.get("report").problem or "")
    harness.clock.advance(3600)
    harness.sweep()
    assert harness.schedules.get("report").problem is None


# -- rows of another version, and damaged ones


@pytest.mark.parametrize(
    "attributes",
    [
        {"v": {"N": "2"}},
        {"v": {"S": "1"}},
        {"missed_policy": {"S": "twice"}},
        {"expression": {"S": "every(5 minutes)"}},
        {"timezone": {"S": "Mars/Base"}},
        {"payload": {"S": "[]"}},
        {"payload": {"S": "{"}},
        {"decided_until": {"N": "1.5"}},
        {"tags": {"S": "a"}},
        {"start": {"S": "now"}},
        {"enabled": {"N": "1"}},
    ],
    ids=str,
)
def test_an_unreadable_row_harms_itself_only(harness: ScheduleHarness, attributes: dict[str, Any]) -> None:
    for name in ("a", "bad", "c"):
        harness.create(name, spec("rate(1 minute)"))
    harness.spoil("bad", **attributes)
    before = [item for item in rows(harness.world.env["JOBS_TABLE"]) if item["pk"] == "SCHEDULE#bad"]

    with patch("adbot_queue.schedules.store.count") as spy:
        harness.sweep()

    assert (len(harness.made("a")), len(harness.made("bad")), len(harness.made("c"))) == (1, 0, 1)
    assert total(spy, "SchedulesUnreadable") == 1
    page = harness.schedules.page(10, None)
    assert ([one.name for one in page.schedules], page.unreadable) == (["a", "c"], 1)
    for ask in (harness.schedules.get, lambda name: harness.schedules.remove(name, ADMIN)):
        with pytest.raises(UnreadableSchedule):
            ask("bad")
    assert [item for item in rows(harness.world.env["JOBS_TABLE"]) if item["pk"] == "SCHEDULE#bad"] == before


def test_what_another_version_stored_in_a_row_or_its_history_stays(harness: ScheduleHarness) -> None:
    harness.create(what=spec("rate(1 minute)"))
    harness.spoil(jitter={"N": "5"})
    harness.sweep()
    harness.change(spec("rate(1 minute)", priority=1))
    (row,) = [item for item in rows(harness.world.env["JOBS_TABLE"], "SCHEDULE#") if item["sk"] == "S"]
    assert (row["jitter"], row["version"]) == (5, 2)


def test_a_tick_with_an_outcome_of_another_version_is_left_out_of_the_history(harness: ScheduleHarness) -> None:
    harness.create(what=spec("rate(1 minute)"))
    harness.sweep()
    aws.dynamodb().put_item(
        TableName=harness.world.env["JOBS_TABLE"],
        Item={"pk": {"S": "SCHEDULE#report"}, "sk": {"S": "TICK#1"}, "at": {"N": "1"}, "outcome": {"S": "throttled"}},
    )
    assert len(harness.ticks()) == 1


def test_a_schedule_that_fails_to_be_checked_keeps_no_other_waiting(harness: ScheduleHarness) -> None:
    for name in ("a", "b", "c"):
        harness.create(name, spec("rate(1 minute)"))
    write = harness.store.settle

    def fails(settlements: Any, now: int) -> None:
        if any(one.before.name == "b" for one in settlements):
            raise RuntimeError("bug")
        write(settlements, now)

    with patch.object(harness.store, "settle", fails), counted() as spy:
        harness.sweep()
    assert (len(harness.made("a")), len(harness.made("b")), len(harness.made("c"))) == (1, 0, 1)
    assert total(spy, "SchedulesFailed") == 1
    harness.sweep()
    assert len(harness.made("b")) == 1
