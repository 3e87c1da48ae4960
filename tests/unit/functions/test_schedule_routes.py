"""Schedules over HTTP, and their ticks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core import aws
from adbot_queue.jobs import sweep, ticking
from adbot_queue.jobs.ticking import Ticking
from tests.builders.payments import configure, rows
from tests.builders.world import ROOT, Answer, FakeContext, World

BODY: dict[str, Any] = {
    "name": "report",
    "expression": "cron(0 9 ? * MON-FRI *)",
    "timezone": "Europe/Berlin",
    "type": "analytics-track",
    "payload": {"event": "e", "user_id": "u"},
}
SAYS = {key: value for key, value in BODY.items() if key != "name"}


@pytest.fixture(autouse=True)
def _keys(on_aws: World) -> None:
    configure()


def make(world: World, body: Any = None, **options: Any) -> Answer:
    return world.http("schedules", "POST /schedules", role="admin", body=BODY if body is None else body, **options)


def show(world: World, name: str = "report") -> Answer:
    return world.http("schedules", "GET /schedules/{name}", role="viewer", name=name)


def test_a_schedule_is_made_and_shown_with_its_next_five_runs(on_aws: World) -> None:
    made = make(on_aws)
    assert made.status == 201
    assert len(made.json["next_runs"]) == 5
    assert made.json["next_runs"] == sorted(made.json["next_runs"])
    shown = show(on_aws)
    assert shown.status == 200
    assert shown.json == made.json | {"ticks": []}
    assert (made.json["in_step"], made.json["version"], made.json["missed_limit"]) == (True, 1, 100)
    listed = on_aws.http("schedules", "GET /schedules", role="viewer").json
    assert ([item["name"] for item in listed["items"]], listed["next"]) == (["report"], None)


def test_the_same_key_answers_with_the_first(on_aws: World) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = make(on_aws, headers=key), make(on_aws, headers=key)
    other = make(on_aws, BODY | {"name": "other"}, headers=key)
    assert (first.status, again.status, again.json) == (201, 201, first.json)
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
    on_aws: World, changed: dict[str, Any], fields: list[str]
) -> None:
    answer = make(on_aws, BODY | changed)
    assert (answer.status, answer.problem) == (422, "validation")
    assert answer.fields[0] == fields[0]


def test_a_schedule_is_replaced_run_and_removed(on_aws: World) -> None:
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
    assert (tick["outcome"], tick["job_id"]) == ("by_hand", started.json["job_id"])
    assert (on_report("DELETE").status, on_report("DELETE").status, show(on_aws).status) == (200, 404, 404)
    assert on_report("PUT", body=SAYS).status == 404
    assert on_report("POST", "/run").status == 404


@pytest.mark.parametrize("name", ["Report", "x" * 3000, "a#b", "\x00", " "])
def test_what_no_schedule_can_be_named_is_not_found(on_aws: World, name: str) -> None:
    for route in ("GET /schedules/{name}", "DELETE /schedules/{name}", "POST /schedules/{name}/run"):
        assert on_aws.http("schedules", route, role="admin", name=name).status == 404
    assert on_aws.http("schedules", "PUT /schedules/{name}", role="admin", name=name, body=SAYS).status == 404


def test_event_bridge_rings_and_a_job_is_made(on_aws: World) -> None:
    make(on_aws, BODY | {"expression": "rate(1 minute)"})
    due = rows(on_aws.env["JOBS_TABLE"], "SCHEDULE#")[0]["seen"]
    message = {"schedule": "report", "version": 1, "scheduled_time": "<aws.scheduler.scheduled-time>"}
    assert on_aws.app("run_schedule").handler(message, FakeContext()) == {"outcomes": []}
    # As if it had been made ten minutes ago.
    aws.dynamodb().update_item(
        TableName=on_aws.env["JOBS_TABLE"],
        Key={"pk": {"S": "SCHEDULE#report"}, "sk": {"S": "S"}},
        UpdateExpression="SET seen = :then, anchor = :then",
        ExpressionAttributeValues={":then": {"N": str(due - 600_000)}},
    )
    rang = on_aws.app("run_schedule").handler(message, FakeContext())
    assert rang["outcomes"][0] == "skipped"
    assert set(rang["outcomes"][1:]) == {"ran"}
    assert len(rows(on_aws.env["JOBS_TABLE"], "JOB#")) == len(rang["outcomes"]) - 1
    swept = on_aws.app("sweep_jobs").handler({}, FakeContext())
    assert swept["schedules"] == 0


def test_a_sweep_of_jobs_that_takes_all_its_time_leaves_some_to_schedules(on_aws: World) -> None:
    app, context = on_aws.app("sweep_jobs"), FakeContext()
    left: list[int] = []

    class Slow:
        def sweep(self, time_left: Callable[[], int]) -> dict[str, int]:
            while time_left() >= sweep.RESERVE_MS:
                context.left -= 1_000
            context.left -= sweep.RESERVE_MS
            return {}

    def reconcile(_: Ticking, time_left: Callable[[], int]) -> int:
        left.append(time_left())
        return 0

    with patch.object(sweep, "from_env", Slow), patch.object(Ticking, "reconcile", reconcile):
        app.handler({}, context)

    assert left[0] >= ticking.RESERVE_MS


def test_the_sample_events_are_what_the_functions_take(on_aws: World) -> None:
    samples = ROOT / "events" / "lambda"
    made = on_aws.app("schedules").handler(json.loads((samples / "schedules.json").read_text()), FakeContext())
    assert made["statusCode"] == 201
    tick = json.loads((samples / "run_schedule.json").read_text())
    assert on_aws.app("run_schedule").handler(tick, FakeContext()) == {"outcomes": []}  # made after that
