"""Schedules over HTTP, and the sweeper's function."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core import aws
from adbot_queue.core.clock import iso, system_clock
from adbot_queue.jobs import sweeper as sweep
from adbot_queue.platform import owner_limit
from adbot_queue.schedules import runner as ticking
from adbot_queue.schedules.runner import ScheduleTrigger
from tests.builders.payments import configure, rows
from tests.builders.world import ROOT, Answer, AwsHarness, FakeContext

BODY: dict[str, Any] = {
    "name": "report",
    "expression": "cron(0 9 ? * MON-FRI *)",
    "timezone": "Europe/Berlin",
    "type": "analytics-track",
    "payload": {"event": "e", "user_id": "u"},
}
SAYS = {key: value for key, value in BODY.items() if key != "name"}


@pytest.fixture(autouse=True)
def _keys(on_aws: AwsHarness) -> None:
    configure()


def make(world: AwsHarness, body: Any = None, **options: Any) -> Answer:
    return world.http("schedules", "POST /schedules", role="admin", body=BODY if body is None else body, **options)


def show(world: AwsHarness, name: str = "report") -> Answer:
    return world.http("schedules", "GET /schedules/{name}", role="viewer", name=name)


def test_a_schedule_is_made_and_shown_with_its_next_five_runs(on_aws: AwsHarness) -> None:
    made = make(on_aws)
    assert made.status == 201
    assert len(made.json["next_runs"]) == 5
    assert made.json["next_runs"] == sorted(made.json["next_runs"])
    shown = show(on_aws)
    assert shown.status == 200
    assert shown.json == made.json | {"ticks": []}
    assert (made.json["missed_policy"], made.json["version"], made.json["missed_limit"]) == ("once", 1, 100)
    assert made.json["problem"] is None
    listed = on_aws.http("schedules", "GET /schedules", role="viewer").json
    assert listed == {"items": [made.json], "unreadable": 0, "next": None}


def test_the_same_key_answers_with_the_first(on_aws: AwsHarness) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = make(on_aws, headers=key), make(on_aws, headers=key)
    other = make(on_aws, BODY | {"name": "other"}, headers=key)
    assert (first.status, again.status, again.json) == (201, 200, first.json)
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status, other.problem) == (409, "idempotency-key-reused")
    assert (make(on_aws).status, make(on_aws).problem) == (409, "conflict")


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"name": "Report"}, ["name"]),
        ({"name": "x" * 49}, ["name"]),
        ({"name": "../x"}, ["name"]),
        ({"expression": "every day"}, ["expression"]),
        ({"expression": "cron(0 9 * * * *)"}, ["expression"]),
        ({"timezone": "Berlin"}, ["timezone"]),
        ({"type": "deliver-webhook"}, ["type"]),
        ({"payload": {"event": 1}}, ["payload.event", "payload"]),
        ({"priority": 101}, ["priority"]),
        ({"tags": ["x"] * 10}, ["tags"]),
        ({"missed_policy": "twice"}, ["missed_policy"]),
        ({"start": "2026-01-01T00:00:00"}, ["start"]),
        ({"end": "9999-12-31T23:59:59Z"}, ["end"]),
        ({"enabled": "yes"}, ["enabled"]),
        ({"colour": "red"}, ["colour"]),
    ],
)
def test_a_bad_schedule_is_refused_and_the_field_is_named(
    on_aws: AwsHarness, changed: dict[str, Any], fields: list[str]
) -> None:
    answer = make(on_aws, BODY | changed)
    assert (answer.status, answer.problem) == (422, "validation")
    assert answer.fields[0] == fields[0]


def test_a_schedule_is_replaced_run_and_removed(on_aws: AwsHarness) -> None:
    def on_report(method: str, path: str = "", **options: Any) -> Answer:
        route = f"{method} /schedules/{{name}}{path}"
        return on_aws.http("schedules", route, role="admin", name="report", **options)

    make(on_aws)
    changed = on_report("PUT", body=SAYS | {"enabled": False, "version": 1, "missed_policy": "once"})
    assert (changed.status, changed.json["version"], changed.json["next_runs"]) == (200, 2, [])
    stale = on_report("PUT", body=SAYS | {"version": 1})
    assert (stale.status, stale.json["version"]) == (409, 2)
    started = on_report("POST", "/run", headers={"Idempotency-Key": "now"})
    again = on_report("POST", "/run", headers={"Idempotency-Key": "now"})
    assert (started.status, started.json["state"]) == (202, "waiting")
    assert (again.json, again.headers["idempotent-replayed"]) == (started.json, "true")
    (tick,) = show(on_aws).json["ticks"]
    assert (tick["outcome"], tick["job_id"]) == ("manual", started.json["job_id"])
    assert (on_report("DELETE").status, on_report("DELETE").status, show(on_aws).status) == (200, 404, 404)
    assert on_report("PUT", body=SAYS).status == 404
    assert on_report("POST", "/run").status == 404


@pytest.mark.parametrize("name", ["Report", "x" * 3000, "a#b", "\x00", " "])
def test_what_no_schedule_can_be_named_is_not_found(on_aws: AwsHarness, name: str) -> None:
    for route in ("GET /schedules/{name}", "DELETE /schedules/{name}", "POST /schedules/{name}/run"):
        assert on_aws.http("schedules", route, role="admin", name=name).status == 404
    assert on_aws.http("schedules", "PUT /schedules/{name}", role="admin", name=name, body=SAYS).status == 404


def _made_earlier(on_aws: AwsHarness, seconds: int) -> None:
    """A schedule of every minute, as if it had been created so long ago."""
    created = make(on_aws, BODY | {"expression": "rate(1 minute)"})
    assert created.status == 201
    then = rows(on_aws.env["JOBS_TABLE"], "SCHEDULE#")[0]["decided_until"] - seconds * 1000
    aws.dynamodb().update_item(
        TableName=on_aws.env["JOBS_TABLE"],
        Key={"pk": {"S": "SCHEDULE#report"}, "sk": {"S": "S"}},
        UpdateExpression="SET decided_until = :then, anchor = :then, due_at = :then",
        ExpressionAttributeValues={":then": {"N": str(then)}},
    )


def test_the_sweeper_turns_ticks_into_jobs_and_sends_their_messages(on_aws: AwsHarness) -> None:
    _made_earlier(on_aws, 600)
    app = on_aws.app("sweep_jobs")

    assert app.handler({}, FakeContext())["schedules"] == 1

    ticks = show(on_aws).json["ticks"]
    assert [tick["outcome"] for tick in ticks] == ["ran"] * (len(ticks) - 2) + ["caught_up", "skipped"]
    assert len(rows(on_aws.env["JOBS_TABLE"], "JOB#")) == len(ticks) - 1
    assert len(on_aws.messages("analytics")) == sum(tick["at"] <= iso(system_clock()) for tick in ticks[:-1])
    assert app.handler({}, FakeContext())["schedules"] == 0


def test_a_schedule_of_an_admin_above_a_lowered_limit_of_the_owner_is_a_problem(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    refund = {"type": "refund-process", "payload": {"transaction_id": "pi_1", "amount": 5000}}
    for name, role in (("admins", "admin"), ("owners", "owner")):
        body = BODY | refund | {"name": name, "expression": "rate(1 minute)"}
        made = on_aws.http("schedules", "POST /schedules", role=role, body=body)
        assert made.status == 201, made.text
    monkeypatch.setenv("OWNER_LIMIT", "1000 eur")
    owner_limit.from_env.cache_clear()

    on_aws.app("sweep_jobs").handler({}, FakeContext())

    assert "needs the role owner" in show(on_aws, "admins").json["problem"]
    assert show(on_aws, "owners").json["problem"] is None
    owner_limit.from_env.cache_clear()


def test_schedules_that_take_all_their_time_leave_some_to_jobs_and_these_to_mappings(on_aws: AwsHarness) -> None:
    app, context = on_aws.app("sweep_jobs"), FakeContext()
    left: dict[str, int] = {}

    def trigger_due(_: ScheduleTrigger, time_left: Callable[[], int]) -> int:
        while time_left() > ticking.RESERVE_MS:
            context.left -= 1_000
        context.left -= ticking.RESERVE_MS
        return 0

    class Slow:
        def sweep(self, time_left: Callable[[], int]) -> dict[str, int]:
            left["jobs"] = time_left()
            while time_left() >= sweep.RESERVE_MS:
                context.left -= 1_000
            context.left -= sweep.RESERVE_MS
            return {}

    def reconcile() -> list[str]:
        left["mappings"] = context.left
        return []

    with (
        patch.object(sweep, "from_env", Slow),
        patch.object(ScheduleTrigger, "trigger_due", trigger_due),
        patch.object(app.mappings, "reconcile", reconcile),
    ):
        app.handler({}, context)

    assert left["jobs"] >= sweep.RESERVE_MS + 10_000
    assert left["mappings"] >= 5_000


def test_jobs_are_swept_although_schedules_fail(on_aws: AwsHarness) -> None:
    swept: list[bool] = []

    class Jobs:
        def sweep(self, _: Callable[[], int]) -> dict[str, int]:
            swept.append(True)
            return {}

    with (
        patch.object(sweep, "from_env", Jobs),
        patch.object(ScheduleTrigger, "trigger_due", side_effect=RuntimeError("bug")),
        pytest.raises(RuntimeError),
    ):
        on_aws.app("sweep_jobs").handler({}, FakeContext())
    assert swept


def test_the_sample_event_is_what_the_function_takes(on_aws: AwsHarness) -> None:
    sample = json.loads((ROOT / "events" / "lambda" / "schedules.json").read_text())
    assert on_aws.app("schedules").handler(sample, FakeContext())["statusCode"] == 201
