"""Schedules: what people do to them, and to ticks that have not started."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.schedules.creation import Command
from adbot_queue.schedules.plan import MissedPolicy
from adbot_queue.schedules.ticks import TickOutcome
from tests.builders.crash import before_transactions, crash_after
from tests.builders.payments import rows
from tests.builders.schedules import ScheduleHarness, ms, spec
from tests.builders.world import ADMIN, AwsHarness


@pytest.fixture
def harness(on_aws: AwsHarness) -> ScheduleHarness:
    return ScheduleHarness(on_aws)


# -- people


def test_creating_a_schedule_writes_its_row_and_a_ledger_entry(harness: ScheduleHarness) -> None:
    with crash_after(None) as calls:
        created = harness.create(
            "report", spec("cron(0  9 ? * mon-fri *)", timezone="Europe/Berlin", priority=5, tags=("a", "b"))
        )

    assert calls.names == ["TransactWriteItems"]
    assert created.spec.expression == "cron(0 9 ? * mon-fri *)"
    assert harness.audit() == [created]
    assert harness.ledger() == ["schedule.create"]
    (row,) = rows(harness.world.env["JOBS_TABLE"], "SCHEDULE#")
    assert (row["v"], row["due_at"]) == (1, ms("2030-01-01T08:00:00"))


def test_missed_ticks_run_once_by_default() -> None:
    assert spec().missed_policy is MissedPolicy.ONCE


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"expression": "cron(0 9 * * * *)"}, "expression"),
        ({"expression": "at(2029-12-31T00:00:00)"}, "expression"),
        ({"expression": "cron(0 0 30 2 ? *)"}, "expression"),
        ({"timezone": "Europe/Atlantis"}, "timezone"),
        ({"type": "no-such-type"}, "type"),
        ({"type": "deliver-webhook"}, "type"),
        ({"payload": {"event": ""}}, "payload.event"),
        ({"start": ms("2031-01-01T00:00:00"), "end": ms("2030-06-01T00:00:00")}, "end"),
        ({"end": ms("2029-06-01T00:00:00")}, "expression"),
    ],
)
def test_an_invalid_schedule_is_refused_with_the_field(
    harness: ScheduleHarness, changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        harness.create("bad", replace(spec(), **changed))
    assert field in [error.field for error in refused.value.errors]
    assert harness.audit() == []


def test_a_name_is_taken_once_and_a_key_answers_with_what_it_created(harness: ScheduleHarness) -> None:
    create = harness.schedules.create
    first = create("report", spec(), Command(ADMIN, "k", "f"))
    again = create("report", spec(), Command(ADMIN, "k", "f"))
    assert (first.replayed, again.replayed, again.schedule.version) == (False, True, 1)
    with pytest.raises(IdempotencyMismatch):
        create("other", spec(), Command(ADMIN, "k", "g"))
    with pytest.raises(Conflict):
        create("report", spec(), Command(ADMIN))
    assert harness.ledger() == ["schedule.create"]


def test_a_key_whose_schedule_was_removed_creates_no_other(harness: ScheduleHarness) -> None:
    harness.create(key="k")
    harness.schedules.remove("report", ADMIN)
    with pytest.raises(Conflict):
        harness.create(key="k")


def test_the_same_spec_again_changes_nothing_and_another_one_is_a_version(harness: ScheduleHarness) -> None:
    harness.create()
    assert harness.change(spec()).version == 1
    assert harness.change(spec("rate(2 hours)"), 1).version == 2
    assert harness.ledger() == ["schedule.create", "schedule.change"]
    with pytest.raises(Conflict) as refused:
        harness.change(spec("rate(3 hours)"), 1)
    assert refused.value.extra == {"version": 2}
    with pytest.raises(NotFound):
        harness.change(spec(), name="nothing")
    harness.audit()


@pytest.mark.parametrize("first", ["change", "remove"])
def test_the_second_of_two_writers_is_refused(harness: ScheduleHarness, first: str) -> None:
    harness.create()
    faster: list[Callable[[], object]] = [
        lambda: (
            harness.change(spec("rate(2 hours)")) if first == "change" else harness.schedules.remove("report", ADMIN)
        )
    ]

    with (
        before_transactions(lambda _: faster.pop()() if faster else None),
        pytest.raises((Conflict, NotFound)),
    ):
        harness.change(spec("rate(3 hours)"))

    assert [schedule.spec.expression for schedule in harness.audit()] == ["rate(2 hours)"] * (first == "change")


def test_a_removed_schedule_is_gone_and_its_name_is_free(harness: ScheduleHarness) -> None:
    harness.create()
    assert harness.schedules.remove("report", ADMIN).name == "report"
    with pytest.raises(NotFound):
        harness.schedules.get("report")
    with pytest.raises(NotFound):
        harness.schedules.remove("report", ADMIN)
    assert harness.audit() == []
    harness.create()
    assert [schedule.name for schedule in harness.audit()] == ["report"]
    assert harness.ledger() == ["schedule.create", "schedule.delete", "schedule.create"]


def test_the_list_is_in_order_and_paged(harness: ScheduleHarness) -> None:
    for number in range(5):
        harness.clock.advance(0.001)
        harness.create(f"s{number}")
    harness.schedules.remove("s1", ADMIN)
    first = harness.schedules.page(2, None)
    rest = harness.schedules.page(9, first.next)
    assert [schedule.name for schedule in [*first.schedules, *rest.schedules]] == ["s0", "s2", "s3", "s4"]
    assert rest.next is None


def test_the_ledger_shows_no_payload(harness: ScheduleHarness) -> None:
    harness.create(what=spec(type="send-email", payload={"to": "cara@example.com", "subject": "s", "text": "t"}))
    assert "cara" not in json.dumps(rows(harness.world.env["LEDGER_TABLE"]))


def test_a_manual_run_is_a_job_next_to_the_ticks_signed_and_once_a_key(harness: ScheduleHarness) -> None:
    harness.create(what=spec(enabled=False))
    run = harness.schedules.run
    first = run("report", Command(ADMIN, "k"), "req-1")
    again = run("report", Command(ADMIN, "k"), "req-2")
    other = run("report", Command(ADMIN), "req-3")
    assert (first.replayed, again.replayed, other.replayed) == (False, True, False)
    assert first.job.id == again.job.id != other.job.id
    assert len(harness.jobs.all()) == 2
    assert harness.ledger().count("schedule.run") == 2
    assert {tick.outcome for tick in harness.ticks()} == {TickOutcome.MANUAL}
    with pytest.raises(NotFound):
        run("nothing", Command(ADMIN), "req-4")


# -- ticks that are decided and have not started


def ahead(harness: ScheduleHarness) -> Job:
    """A schedule whose next tick is a delayed job already, half a minute before its time."""
    harness.create(what=spec("rate(1 minute)"))
    harness.sweep_until("00:01:30")
    first, *_ = harness.made()
    assert (first.state, harness.times()) == (JobState.DELAYED, ["00:02:00", "00:03:00"])
    return first


@pytest.mark.parametrize("how", ["change", "disable", "remove"])
def test_a_tick_that_has_not_started_does_not_run_once_its_schedule_changes(harness: ScheduleHarness, how: str) -> None:
    job = ahead(harness)
    match how:
        case "change":
            harness.change(spec("rate(1 minute)", payload={"event": "other", "user_id": "u"}))
        case "disable":
            harness.change(spec("rate(1 minute)", enabled=False))
        case "remove":
            harness.schedules.remove("report", ADMIN)

    assert [one.state for one in harness.made()] == [JobState.CANCELLED] * 2
    assert harness.jobs.get(job).failure.message == "its schedule was changed or removed"  # type: ignore[union-attr]
    assert [tick.outcome for tick in harness.ticks()] == [TickOutcome.WITHDRAWN] * 2
    harness.sweep_until("00:04:30")
    ran = [one for one in harness.made() if one.state is not JobState.CANCELLED]
    assert {one.payload["event"] for one in ran} == ({"other"} if how == "change" else set())
    assert sorted(harness.times()) == sorted(
        ["00:02:00", "00:03:00"] + ["00:02:00", "00:03:00", "00:04:00", "00:05:00", "00:06:00"] * (how == "change")
    )
    harness.audit()


def test_a_changed_timing_replaces_the_ticks_that_have_not_started(harness: ScheduleHarness) -> None:
    ahead(harness)
    harness.change(spec("cron(0/2 * * * ? *)"))
    harness.sweep_until("00:04:30")
    running = [job for job in harness.made() if job.state is not JobState.CANCELLED]
    assert [(job.idempotency_key or "")[27:35] for job in running] == ["00:02:00", "00:04:00", "00:06:00"]
    harness.audit()


def test_a_tick_that_has_started_stays_decided_when_its_schedule_changes(harness: ScheduleHarness) -> None:
    job = ahead(harness)
    harness.at("00:02:00")
    harness.jobs.work(harness.jobs.get(job))
    assert harness.jobs.get(job).attempts
    harness.change(spec("rate(1 minute)", priority=9))
    harness.sweep()
    assert harness.times() == ["00:02:00", "00:03:00", "00:03:00", "00:04:00"]
    assert [tick.outcome for tick in harness.ticks()] == [TickOutcome.RAN] * 3
    harness.audit()


def test_a_change_that_meets_the_start_of_a_tick_leaves_that_tick_alone(harness: ScheduleHarness) -> None:
    job = ahead(harness)
    harness.at("00:02:00")
    starts = [job]

    def start(_: object) -> None:
        if starts:
            harness.jobs.work(harness.jobs.get(starts.pop()))

    with before_transactions(start):
        harness.change(spec("rate(1 minute)", priority=9))

    assert [one.state for one in harness.made()][1:] == [JobState.CANCELLED]
    assert harness.jobs.get(job).attempts
    harness.sweep()
    assert harness.times() == ["00:02:00", "00:03:00", "00:03:00", "00:04:00"]


def test_a_change_that_meets_the_sweeper_takes_its_ticks_back(harness: ScheduleHarness) -> None:
    harness.create(what=spec("rate(1 minute)"))
    sweeps = [harness.sweep]

    with before_transactions(lambda _: sweeps.pop()() if sweeps else None):
        harness.change(spec("rate(1 minute)", priority=9))

    assert [job.state for job in harness.made()] == [JobState.CANCELLED]
    harness.sweep()
    assert [job.priority for job in harness.made() if job.state is not JobState.CANCELLED] == [9]
    harness.audit()


def test_a_removed_and_recreated_schedule_ticks_again_at_the_same_moment(harness: ScheduleHarness) -> None:
    ahead(harness)
    harness.schedules.remove("report", ADMIN)
    harness.create(what=spec("cron(* * * * ? *)"))
    harness.sweep()
    running = [job for job in harness.made() if job.state is not JobState.CANCELLED]
    assert [(job.idempotency_key or "")[27:35] for job in running] == ["00:02:00", "00:03:00"]
