"""Schedules: what people do to them, and what becomes of their ticks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from adbot_queue.jobs import job_queues, job_types
from adbot_queue.jobs.model import Job, State
from adbot_queue.jobs.schedule_model import Outcome
from adbot_queue.jobs.schedule_store import UnreadableSchedule
from adbot_queue.jobs.schedules import Command
from adbot_queue.jobs.ticks import LOOKAHEAD_MS, MissedPolicy
from tests.builders.crash import Killed, before_transactions, conflict, crash_after, every_call
from tests.builders.payments import rows
from tests.builders.schedules import BEGIN, ScheduleHarness, ms, spec
from tests.builders.sqs import FakeSqs
from tests.builders.world import ADMIN, World, world

ALL = MissedPolicy.ALL


@pytest.fixture
def harness(on_aws: World) -> ScheduleHarness:
    return ScheduleHarness(on_aws)


def counted() -> Any:
    """Spy on the metrics of the trigger."""
    return patch("adbot_queue.jobs.ticking.count")


def total(spy: Any, metric: str) -> int:
    return sum(call.args[1] if len(call.args) > 1 else 1 for call in spy.call_args_list if call.args[0] == metric)


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


# -- ticks


def test_a_tick_is_a_delayed_job_two_minutes_before_its_time(harness: ScheduleHarness) -> None:
    harness.create(what=spec(priority=3, tags=("a",)))
    harness.at("00:58:59")
    assert harness.sweep() == 0
    harness.at("00:59:00")
    assert harness.sweep() == 1
    assert harness.sweep() == 0

    (tick,) = harness.ticks()
    (job,) = harness.made()
    assert (tick.outcome, tick.at, tick.job_id) == (Outcome.RAN, ms("2030-01-01T01:01:00"), job.id)
    assert (job.state, job.run_at) == (State.DELAYED, tick.at)
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
    skipped = [tick for tick in harness.ticks() if tick.outcome is Outcome.SKIPPED]
    assert [tick.count for tick in skipped] == {"skip": [4], "once": [3], "all": []}[policy]
    harness.audit()


def test_a_missed_moment_is_caught_up_on(harness: ScheduleHarness) -> None:
    harness.create(what=spec("at(2030-01-01T03:00:00)"))
    harness.at("03:05:30")
    assert harness.sweep() == 1
    (tick,) = harness.ticks()
    assert (tick.outcome, tick.at) == (Outcome.CAUGHT_UP, ms("2030-01-01T03:00:00"))
    assert harness.sweep() == 0
    (job,) = harness.made()
    assert job.state is State.WAITING
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


@patch("adbot_queue.jobs.ticks.MAX_CAUGHT_UP", 12)  # of 100
@patch("adbot_queue.jobs.ticking.MAX_TICKS", 5)  # in one transaction, of 25
def test_many_missed_ticks_are_caught_up_on_oldest_first_and_boundedly(harness: ScheduleHarness) -> None:
    harness.create(what=spec("rate(1 minute)", missed_policy=ALL))
    harness.at("06:00:00")
    harness.sweep()
    assert len(harness.made()) == 12 + 5 + 2  # missed, late, to come
    skipped, *shown = harness.ticks()
    assert (skipped.outcome, skipped.count) == (Outcome.SKIPPED, 359 - 17)
    assert "missed since 2030-01-01T00:02" in skipped.detail
    assert [tick.outcome for tick in shown] == [Outcome.CAUGHT_UP] * 12 + [Outcome.RAN] * 7
    ready = harness.jobs.store.ready("analytics", 100)
    assert [job_id for _, job_id in ready] == [tick.job_id for tick in shown if tick.at <= harness.clock.now]


def test_a_manual_run_is_a_job_beside_the_ticks_signed_for_and_once_a_key(harness: ScheduleHarness) -> None:
    harness.create(what=spec(enabled=False))
    run = harness.schedules.run
    first = run("report", Command(ADMIN, "k"), "req-1")
    again = run("report", Command(ADMIN, "k"), "req-2")
    other = run("report", Command(ADMIN), "req-3")
    assert (first.replayed, again.replayed, other.replayed) == (False, True, False)
    assert first.job.id == again.job.id != other.job.id
    assert len(harness.jobs.all()) == 2
    assert harness.ledger().count("schedule.run") == 2
    assert {tick.outcome for tick in harness.ticks()} == {Outcome.MANUAL}
    with pytest.raises(NotFound):
        run("nothing", Command(ADMIN), "req-4")


# -- ticks that are decided and have not started


def ahead(harness: ScheduleHarness) -> Job:
    """A schedule whose next tick is a delayed job already, half a minute before its time."""
    harness.create(what=spec("rate(1 minute)"))
    harness.sweep_until("00:01:30")
    first, *_ = harness.made()
    assert (first.state, harness.times()) == (State.DELAYED, ["00:02:00", "00:03:00"])
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

    assert [one.state for one in harness.made()] == [State.CANCELLED] * 2
    assert harness.jobs.get(job).failure.message == "its schedule was changed or removed"  # type: ignore[union-attr]
    assert [tick.outcome for tick in harness.ticks()] == [Outcome.WITHDRAWN] * 2
    harness.sweep_until("00:04:30")
    ran = [one for one in harness.made() if one.state is not State.CANCELLED]
    assert {one.payload["event"] for one in ran} == ({"other"} if how == "change" else set())
    assert sorted(harness.times()) == sorted(
        ["00:02:00", "00:03:00"] + ["00:02:00", "00:03:00", "00:04:00", "00:05:00", "00:06:00"] * (how == "change")
    )
    harness.audit()


def test_a_changed_timing_replaces_the_ticks_that_have_not_started(harness: ScheduleHarness) -> None:
    ahead(harness)
    harness.change(spec("cron(0/2 * * * ? *)"))
    harness.sweep_until("00:04:30")
    running = [job for job in harness.made() if job.state is not State.CANCELLED]
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
    assert [tick.outcome for tick in harness.ticks()] == [Outcome.RAN] * 3
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

    assert [one.state for one in harness.made()][1:] == [State.CANCELLED]
    assert harness.jobs.get(job).attempts
    harness.sweep()
    assert harness.times() == ["00:02:00", "00:03:00", "00:03:00", "00:04:00"]


def test_a_change_that_meets_the_sweeper_takes_its_ticks_back(harness: ScheduleHarness) -> None:
    harness.create(what=spec("rate(1 minute)"))
    sweeps = [harness.sweep]

    with before_transactions(lambda _: sweeps.pop()() if sweeps else None):
        harness.change(spec("rate(1 minute)", priority=9))

    assert [job.state for job in harness.made()] == [State.CANCELLED]
    harness.sweep()
    assert [job.priority for job in harness.made() if job.state is not State.CANCELLED] == [9]
    harness.audit()


def test_a_removed_and_recreated_schedule_ticks_again_at_the_same_moment(harness: ScheduleHarness) -> None:
    ahead(harness)
    harness.schedules.remove("report", ADMIN)
    harness.create(what=spec("cron(* * * * ? *)"))
    harness.sweep()
    running = [job for job in harness.made() if job.state is not State.CANCELLED]
    assert [(job.idempotency_key or "")[27:35] for job in running] == ["00:02:00", "00:03:00"]


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
    assert (tick.outcome, tick.job_id) == (Outcome.REFUSED, None)
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
    assert (waiting.queue, waiting.state, waiting.failure.kind) == ("analytics", State.DELAYED, "unsupported")  # type: ignore[union-attr]
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

    with patch("adbot_queue.jobs.schedule_store.count") as spy:
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
    from adbot_queue.core import aws  # noqa: PLC0415

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


# -- many, at once, killed


def _fill(harness: ScheduleHarness, number: int) -> None:
    """Add daily schedules that are not due, behind the API's back: moto copies its tables for every transaction."""
    from moto.core import DEFAULT_ACCOUNT_ID  # noqa: PLC0415
    from moto.dynamodb.models import dynamodb_backends  # noqa: PLC0415

    from adbot_queue.core.dynamodb import encode  # noqa: PLC0415
    from adbot_queue.jobs.schedule_store import _item_of  # noqa: PLC0415
    from tests.builders.world import REGION  # noqa: PLC0415

    table = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].get_table(harness.world.env["JOBS_TABLE"])
    one = harness.create("daily", spec("cron(0 9 * * ? *)"))
    for index in range(number - 1):
        table.put_item(encode(_item_of(replace(one, name=f"daily-{index}"))))


@pytest.mark.long
def test_the_calls_of_a_sweep_do_not_grow_with_the_schedules_that_are_not_due() -> None:
    made: dict[int, list[str]] = {}
    for others in (100, 10_000):
        with world() as own:
            harness = ScheduleHarness(own)
            for number in range(3):
                harness.create(f"due-{number}", spec("rate(1 minute)"))
            _fill(harness, others)
            with crash_after(None) as calls:
                assert harness.trigger.trigger_due(World.time_left) == 3
            made[others] = calls.names
            assert [tick.outcome for number in range(3) for tick in harness.ticks(f"due-{number}")] == [Outcome.RAN] * 3

    assert made[100] == made[10_000] == ["Query", "BatchGetItem", "TransactWriteItems"]


@patch("adbot_queue.jobs.ticking.MAX_TICKS", 2)
def test_due_schedules_share_transactions(harness: ScheduleHarness) -> None:
    for number in range(5):
        harness.create(f"s{number}", spec("rate(1 minute)"))
    with crash_after(None) as calls:
        harness.trigger.trigger_due(World.time_left)
    assert calls.names == ["Query", "BatchGetItem", *["TransactWriteItems"] * 3]


@patch("adbot_queue.jobs.ticking.MAX_TICKS", 5)  # in one transaction, of 25
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


@patch("adbot_queue.jobs.ticking.MAX_TICKS", 2)
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
    running = [job for job in harness.made() if job.state is not State.CANCELLED]
    keys = [ms((job.idempotency_key or "")[16:39]) for job in running]
    assert keys == decided, call
    for job in running:  # each has a message, or waits for one that SQS delivers in time
        assert job.state is State.WAITING or job.rides_on_queue, call


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
            assert all(job.state is State.CANCELLED for job in harness.made()), call
