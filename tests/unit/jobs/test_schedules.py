"""Schedules: what people do to them, what they do, and that EventBridge Scheduler knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from unittest.mock import DEFAULT, patch

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from adbot_queue.core import aws
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from adbot_queue.jobs.schedule_model import Outcome, Tick
from adbot_queue.jobs.schedules import Command
from adbot_queue.jobs.ticks import MissedPolicy
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.payments import rows
from tests.builders.schedules import Clockwork, ms, wanted
from tests.builders.world import ADMIN, World, world


@pytest.fixture
def clockwork(on_aws: World) -> Clockwork:
    return Clockwork(on_aws)


def times(ticks: list[Tick]) -> list[int]:
    return [tick.at for tick in ticks]


# -- people


def test_a_schedule_is_a_row_a_ledger_entry_and_one_in_event_bridge(clockwork: Clockwork) -> None:
    made = clockwork.make("report", wanted("cron(0  9 ? * mon-fri *)", timezone="Europe/Berlin", priority=5))

    assert made.wanted.expression == "cron(0 9 ? * mon-fri *)"
    assert made.in_step
    assert clockwork.ledger() == ["schedule.create"]
    (told,) = clockwork.told().values()
    assert (told["ScheduleExpressionTimezone"], told["GroupName"]) == ("Europe/Berlin", "schedules")
    target = told["Target"]
    assert target["Arn"].endswith(":function:test-RunSchedule")
    assert json.loads(target["Input"]) == {
        "schedule": "report",
        "version": 1,
        "scheduled_time": "<aws.scheduler.scheduled-time>",
    }
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 300
    assert target["DeadLetterConfig"]["Arn"].endswith(":run-schedule-dead-letters")
    clockwork.audit()


def test_a_one_time_schedule_is_told_in_utc_and_forgets_itself(clockwork: Clockwork) -> None:
    clockwork.make("once", wanted("at(2030-07-01T09:00:00)", timezone="America/New_York"))
    (told,) = clockwork.told().values()
    assert told["ScheduleExpression"] == "at(2030-07-01T13:00:00)"
    assert (told["ScheduleExpressionTimezone"], told["ActionAfterCompletion"]) == ("UTC", "DELETE")


def test_a_rate_is_told_where_it_begins(clockwork: Clockwork) -> None:
    clockwork.make("often", wanted("rate(10 minutes)"))
    (told,) = clockwork.told().values()
    assert told["StartDate"] * 1000 == ms("2030-01-01T00:11:00")


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
def test_what_cannot_be_is_refused_and_the_field_is_named(
    clockwork: Clockwork, changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        clockwork.make("bad", replace(wanted(), **changed))
    assert field in [error.field for error in refused.value.errors]
    assert clockwork.audit() == []


def test_a_name_is_taken_once_and_a_key_answers_with_what_it_made(clockwork: Clockwork) -> None:
    create = clockwork.schedules.create
    first = create("report", wanted(), Command(ADMIN, "k", "f"))
    again = create("report", wanted(), Command(ADMIN, "k", "f"))
    assert (first.replayed, again.replayed, again.schedule.version) == (False, True, 1)
    with pytest.raises(IdempotencyMismatch):
        create("other", wanted(), Command(ADMIN, "k", "g"))
    with pytest.raises(Conflict):
        create("report", wanted(), Command(ADMIN))
    assert clockwork.ledger() == ["schedule.create"]


def test_a_key_whose_schedule_is_gone_makes_no_other(clockwork: Clockwork) -> None:
    clockwork.make(key="k")
    clockwork.schedules.remove("report", ADMIN)
    with pytest.raises(Conflict):
        clockwork.make(key="k")


def test_saying_the_same_again_changes_nothing_and_saying_something_else_is_a_version(clockwork: Clockwork) -> None:
    clockwork.make()
    change = clockwork.schedules.change
    assert change("report", wanted(), None, ADMIN).version == 1
    assert change("report", wanted("rate(2 hours)"), 1, ADMIN).version == 2
    assert clockwork.ledger() == ["schedule.create", "schedule.change"]
    with pytest.raises(Conflict) as refused:
        change("report", wanted("rate(3 hours)"), 1, ADMIN)
    assert refused.value.extra == {"version": 2}
    with pytest.raises(NotFound):
        change("nothing", wanted(), None, ADMIN)
    clockwork.audit()


def test_the_second_of_two_writers_is_told(clockwork: Clockwork) -> None:
    clockwork.make()
    read = clockwork.store.get

    def overtaken(name: str) -> Any:
        found = read(name)
        clockwork.store.get = read  # type: ignore[method-assign]
        clockwork.schedules.change("report", wanted("rate(2 hours)"), None, ADMIN)
        return found

    clockwork.store.get = overtaken  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="at the same time"):
        clockwork.schedules.change("report", wanted("rate(3 hours)"), None, ADMIN)
    (schedule,) = clockwork.audit()
    assert schedule.wanted.expression == "rate(2 hours)"


def test_a_removed_schedule_is_gone_everywhere_and_may_be_made_again(clockwork: Clockwork) -> None:
    clockwork.make()
    assert clockwork.schedules.remove("report", ADMIN).name == "report"
    with pytest.raises(NotFound):
        clockwork.schedules.get("report")
    with pytest.raises(NotFound):
        clockwork.schedules.remove("report", ADMIN)
    assert clockwork.audit() == []
    clockwork.make()
    assert [schedule.name for schedule in clockwork.audit()] == ["report"]
    assert clockwork.ledger() == ["schedule.create", "schedule.delete", "schedule.create"]


def test_the_list_is_in_order_and_paged(clockwork: Clockwork) -> None:
    for number in range(5):
        clockwork.clock.advance(1)
        clockwork.make(f"s{number}")
    clockwork.schedules.remove("s1", ADMIN)
    first, cursor = clockwork.schedules.page(2, None)
    rest, end = clockwork.schedules.page(9, cursor)
    assert [schedule.name for schedule in [*first, *rest]] == ["s0", "s2", "s3", "s4"]
    assert end is None


def test_the_ledger_shows_no_payload(clockwork: Clockwork) -> None:
    clockwork.make(what=wanted(type="send-email", payload={"to": "cara@example.com", "subject": "s", "text": "t"}))
    assert "cara" not in json.dumps(rows(clockwork.world.env["LEDGER_TABLE"]))


# -- ticks


def test_a_tick_is_one_job_however_often_it_rings(clockwork: Clockwork) -> None:
    clockwork.make()
    clockwork.at("01:01:10")
    (tick,) = clockwork.ring(scheduled="01:01:00")
    assert clockwork.ring(scheduled="01:01:00") == []
    assert clockwork.ring() == []

    (job,) = clockwork.jobs()
    assert tick.outcome is Outcome.RAN
    assert job["pk"] == f"JOB#{tick.job_id}"
    assert (job["type"], job["tags"]) == ("analytics-track", ["schedule:report"])
    assert clockwork.schedules.ticks("report") == [tick]
    (item,) = [row for row in rows(clockwork.world.env["JOBS_TABLE"]) if row["sk"].startswith("TICK#")]
    assert item["expires_at"] == clockwork.clock.now // 1000 + 90 * 86_400


@pytest.mark.parametrize(("policy", "jobs"), [("skip", 1), ("once", 2), ("all", 4)])
def test_after_a_silence_the_policy_decides(clockwork: Clockwork, policy: str, jobs: int) -> None:
    clockwork.make(what=wanted(missed_policy=MissedPolicy(policy)))
    clockwork.at("04:01:10")
    ticks = clockwork.ring(scheduled="04:01:00")
    assert len(clockwork.jobs()) == jobs
    assert sum(tick.count for tick in ticks) == 4
    assert [tick.outcome for tick in ticks if tick.outcome is Outcome.SKIPPED] == [Outcome.SKIPPED] * (jobs < 4)


@pytest.mark.parametrize("policy", list(MissedPolicy))
def test_a_bell_that_never_rings_is_noticed_and_put_up_again(clockwork: Clockwork, policy: MissedPolicy) -> None:
    clockwork.make(what=wanted(missed_policy=policy))
    aws.scheduler().delete_schedule(Name="job.report", GroupName="schedules")
    clockwork.at("01:05:59")
    assert clockwork.sweep() == 0
    clockwork.at("01:06:00")
    assert clockwork.sweep() == 1
    assert len(clockwork.jobs()) == (policy is not MissedPolicy.SKIP)
    clockwork.audit()
    assert clockwork.sweep() == 0


def test_a_one_time_tick_that_was_missed_is_made_up_for(clockwork: Clockwork) -> None:
    clockwork.make(what=wanted("at(2030-01-01T03:00:00)", missed_policy=MissedPolicy.ONCE))
    clockwork.at("03:05:30")
    assert clockwork.sweep() == 1
    (tick,) = clockwork.schedules.ticks("report")
    assert (tick.outcome, tick.at) == (Outcome.MADE_UP, ms("2030-01-01T03:00:00"))
    assert clockwork.sweep() == 0
    clockwork.audit()


def test_what_was_missed_while_it_was_switched_off_is_not_missed(clockwork: Clockwork) -> None:
    on = wanted(missed_policy=MissedPolicy.ALL)
    clockwork.make(what=on)
    clockwork.schedules.change("report", replace(on, enabled=False), None, ADMIN)
    clockwork.at("05:30:00")
    assert clockwork.ring(scheduled="05:01:00") == []
    assert clockwork.sweep() == 0
    clockwork.schedules.change("report", on, None, ADMIN)
    clockwork.at("06:01:05")
    assert times(clockwork.ring(scheduled="06:01:00")) == [ms("2030-01-01T06:01:00")]
    assert len(clockwork.jobs()) == 1


def test_a_change_of_its_timing_begins_anew_and_another_change_does_not(clockwork: Clockwork) -> None:
    clockwork.make(what=wanted(missed_policy=MissedPolicy.ALL))
    clockwork.at("01:30:00")
    clockwork.schedules.change("report", wanted(priority=7, missed_policy=MissedPolicy.ALL), None, ADMIN)
    assert len(clockwork.ring()) == 1  # 01:01, missed before the change
    clockwork.at("02:30:00")
    clockwork.schedules.change("report", wanted("rate(30 minutes)", missed_policy=MissedPolicy.ALL), None, ADMIN)
    assert clockwork.ring() == []
    clockwork.at("03:00:10")
    assert times(clockwork.ring()) == [ms("2030-01-01T03:00:00")]


@patch("adbot_queue.jobs.ticks.MOST_MADE_UP", 12)  # of 100, and written down by fives instead of fifties: to be quick
@patch("adbot_queue.jobs.ticking.CHUNK", 5)
def test_many_missed_ticks_are_made_up_for_oldest_first_and_boundedly(clockwork: Clockwork) -> None:
    clockwork.make(what=wanted("rate(1 minute)", missed_policy=MissedPolicy.ALL))
    clockwork.at("06:00:00")
    clockwork.sweep()
    jobs = clockwork.jobs()
    assert len(jobs) == 17
    shown = clockwork.store.ticks("report", 200)
    skipped = shown.pop()
    assert (skipped.outcome, skipped.count) == (Outcome.SKIPPED, 359 - 17)
    assert "missed since 2030-01-01T00:02" in skipped.detail
    assert [tick.outcome for tick in shown] == [Outcome.RAN] * 5 + [Outcome.MADE_UP] * 12
    ids = [tick.job_id for tick in reversed(shown)]
    assert ids == sorted(ids)  # ids sort by the time of their making


def test_a_job_that_can_no_longer_be_made_is_written_down_and_the_schedule_goes_on(clockwork: Clockwork) -> None:
    clockwork.make()
    with patch("adbot_queue.jobs.job_types.get", lambda _: None):
        clockwork.at("01:01:10")
        (tick,) = clockwork.ring(scheduled="01:01:00")
    assert (tick.outcome, tick.job_id) == (Outcome.REFUSED, None)
    assert "job type" in tick.detail
    clockwork.at("02:01:10")
    assert clockwork.ring(scheduled="02:01:00")[0].outcome is Outcome.RAN


def test_a_tick_whose_payload_was_changed_after_it_was_enqueued_stays_one_job(clockwork: Clockwork) -> None:
    clockwork.make()
    clockwork.at("01:01:10")
    with patch.object(clockwork.store, "settle", side_effect=Killed), suppress(Killed):
        clockwork.ring(scheduled="01:01:00")
    clockwork.schedules.change("report", wanted(payload={"event": "other", "user_id": "u"}), None, ADMIN)
    (tick,) = clockwork.ring(scheduled="01:01:00")
    (job,) = clockwork.jobs()
    assert job["pk"] == f"JOB#{tick.job_id}"


def test_a_bell_of_a_schedule_that_is_gone_is_taken_down(clockwork: Clockwork) -> None:
    clockwork.make()
    told = clockwork.told()["job.report"]
    clockwork.schedules.remove("report", ADMIN)
    aws.scheduler().create_schedule(
        Name="job.report",
        GroupName="schedules",
        ScheduleExpression="rate(1 hour)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=told["Target"],
    )
    clockwork.at("01:01:10")
    assert clockwork.ring(scheduled="01:01:00") == []
    assert clockwork.audit() == []


def test_a_bell_of_an_older_version_is_put_right(clockwork: Clockwork) -> None:
    clockwork.make()
    told = clockwork.told()["job.report"]
    clockwork.schedules.change("report", wanted("rate(2 hours)"), None, ADMIN)
    aws.scheduler().update_schedule(
        Name="job.report",
        GroupName="schedules",
        ScheduleExpression="rate(1 hour)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=told["Target"],
    )
    clockwork.at("01:01:10")
    assert clockwork.ring(scheduled="01:01:00", version=1) == []
    clockwork.audit()


def test_run_now_is_a_job_beside_the_ticks_signed_for_and_once_a_key(clockwork: Clockwork) -> None:
    clockwork.make(what=wanted(enabled=False))
    run = clockwork.schedules.run
    first = run("report", Command(ADMIN, "k"), "req-1")
    again = run("report", Command(ADMIN, "k"), "req-2")
    other = run("report", Command(ADMIN), "req-3")
    assert (first.replayed, again.replayed, other.replayed) == (False, True, False)
    assert first.job.id == again.job.id != other.job.id
    assert len(clockwork.jobs()) == 2
    assert clockwork.ledger().count("schedule.run") == 2
    assert {tick.outcome for tick in clockwork.schedules.ticks("report")} == {Outcome.BY_HAND}
    with pytest.raises(NotFound):
        run("nothing", Command(ADMIN), "req-4")


# -- EventBridge Scheduler is away, or says no


def _failing(code: str) -> Any:
    refused = ClientError({"Error": {"Code": code, "Message": "no such thing"}}, "CreateSchedule")
    return patch.object(aws.scheduler(), "_make_api_call", side_effect=refused)


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerException", "AccessDeniedException"])
def test_what_cannot_be_told_now_is_told_by_the_sweeper(clockwork: Clockwork, code: str) -> None:
    with _failing(code):
        assert not clockwork.make().in_step
        assert clockwork.sweep() == 0
    clockwork.clock.advance(60_000)
    assert clockwork.sweep() == 1
    assert len(clockwork.audit()) == 1


def test_one_that_cannot_be_mended_does_not_keep_the_others_waiting(clockwork: Clockwork) -> None:
    with _failing("ThrottlingException"):
        for name in ("a", "b", "c"):
            clockwork.make(name)
    clockwork.clock.advance(60_000)
    with patch.object(
        clockwork.store, "told", side_effect=[RuntimeError("bug"), *[DEFAULT] * 2], wraps=clockwork.store.told
    ):
        assert clockwork.sweep() == 3
    assert sorted(schedule.in_step for schedule in map(clockwork.schedules.get, "abc")) == [False, True, True]
    with _failing("AccessDeniedException"):
        assert clockwork.sweep() == 1
        assert clockwork.sweep() == 0  # put off
    clockwork.clock.advance(60_000)
    assert clockwork.sweep() == 1
    clockwork.audit()


def test_a_network_that_is_away_is_the_same(clockwork: Clockwork) -> None:
    away = EndpointConnectionError(endpoint_url="https://scheduler")
    clockwork.make()
    with patch.object(aws.scheduler(), "_make_api_call", side_effect=away):
        clockwork.schedules.remove("report", ADMIN)
    with pytest.raises(NotFound):
        clockwork.schedules.get("report")
    clockwork.clock.advance(60_000)
    assert clockwork.sweep() == 1
    assert clockwork.audit() == []


def test_what_event_bridge_refuses_for_good_is_shown(clockwork: Clockwork) -> None:
    with _failing("ValidationException"):
        made = clockwork.make()
    assert (made.in_step, made.problem) == (True, "no such thing")
    assert clockwork.schedules.change("report", wanted("rate(2 hours)"), None, ADMIN).problem is None


def test_a_removal_that_died_is_finished_by_asking_again(clockwork: Clockwork) -> None:
    clockwork.make()
    with _failing("ThrottlingException"):
        clockwork.schedules.remove("report", ADMIN)
    assert clockwork.schedules.remove("report", ADMIN).name == "report"
    assert clockwork.audit() == []
    assert clockwork.ledger() == ["schedule.create", "schedule.delete"]


# -- killed after every AWS call


def _create(clockwork: Clockwork) -> None:
    clockwork.make(what=wanted(missed_policy=MissedPolicy.ALL), key="k")


def _change(clockwork: Clockwork) -> None:
    what = wanted("rate(2 hours)", priority=3, missed_policy=MissedPolicy.ALL)
    clockwork.schedules.change("report", what, None, ADMIN)


def _remove(clockwork: Clockwork) -> None:
    with suppress(NotFound):  # the second time
        clockwork.schedules.remove("report", ADMIN)


def _tick(clockwork: Clockwork) -> None:
    clockwork.ring(scheduled="03:01:00")


def _run(clockwork: Clockwork) -> None:
    clockwork.schedules.run("report", Command(ADMIN, "k"), "req")


STORIES: dict[str, tuple[list[Callable[[Clockwork], None]], Callable[[Clockwork], None], list[str], int]] = {
    "create": ([], _create, ["schedule.create"], 0),
    "change": ([_create], _change, ["schedule.create", "schedule.change"], 0),
    "remove": ([_create], _remove, ["schedule.create", "schedule.delete"], 0),
    "tick": ([_create], _tick, ["schedule.create"], 3),
    "run": ([_create], _run, ["schedule.create", "schedule.run"], 1),
}


def _stories(name: str, *, asked_again: bool) -> Iterator[tuple[int, Clockwork]]:
    """The story killed after each of its AWS calls; then the same is asked again, or only the sweeper comes."""
    before, story, _, _ = STORIES[name]
    with world() as on_aws:
        clockwork = Clockwork(on_aws)
        for step in before:
            step(clockwork)
        if name == "tick":
            clockwork.at("03:01:10")
        begin = clockwork.snapshot()
        with crash_after(None) as calls:
            story(clockwork)
        assert len(calls.names) >= 3
        for call in every_call(len(calls.names)):
            begin()
            with crash_after(call), suppress(Killed):  # cached settings save calls: the last do not come
                story(clockwork)
            if asked_again:
                story(clockwork)
            clockwork.clock.advance(600_000)
            clockwork.sweep()
            clockwork.sweep()
            yield call, clockwork


@pytest.mark.parametrize("name", STORIES)
def test_killed_after_any_call_and_asked_again_it_has_happened_once(name: str) -> None:
    for call, clockwork in _stories(name, asked_again=True):
        _, _, signed, jobs = STORIES[name]
        clockwork.audit()
        assert clockwork.ledger() == signed, call
        assert len(clockwork.jobs()) == jobs, call


@pytest.mark.parametrize("name", STORIES)
def test_killed_after_any_call_the_sweeper_leaves_nothing_half_done(name: str) -> None:
    for call, clockwork in _stories(name, asked_again=False):
        found = clockwork.audit()
        signed, jobs = clockwork.ledger(), clockwork.jobs()
        # Either nobody has signed and nothing has changed, or it is as it was meant.
        if name == "create":
            assert len(found) == len(signed), call
        if name == "remove":
            assert len(found) == (signed == ["schedule.create"]), call
        if name == "change":
            assert found[0].wanted.priority == (3 if "schedule.change" in signed else 0), call
        if name == "tick":
            assert len(jobs) == 3, call
