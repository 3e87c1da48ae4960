"""Schedules and result webhooks over real HTTP: EventBridge Scheduler rings, jobs run, receivers are told."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from local.stack import Stack
from tests.builders.receiver import Receiver, receiving
from tests.e2e.conftest import RECEIVER_HOST, Api, LocalStack

Eventually = Callable[..., Any]
Aws = Callable[[str], Any]

TRACK = {"type": "analytics-track", "payload": {"event": "e2e", "user_id": "u"}}


@pytest.fixture
def name(api: Api) -> Iterator[str]:
    """A schedule's name; what the test leaves under it is removed."""
    made = f"e2e-{uuid.uuid4().hex[:8]}"
    yield made
    api("admin", "DELETE", f"/schedules/{made}")


def in_event_bridge(aws: Aws, stack: Stack, name: str) -> dict[str, Any] | None:
    client = aws("scheduler")
    try:
        found: dict[str, Any] = client.get_schedule(Name=f"job.{name}", GroupName=stack["outputs"]["ScheduleGroup"])
    except client.exceptions.ResourceNotFoundException:
        return None
    return found


def ticks(api: Api, name: str) -> list[dict[str, Any]]:
    """What became of its ticks, those by hand left out; latest first."""
    shown = api("viewer", "GET", f"/schedules/{name}").json()
    return [tick for tick in shown["ticks"] if tick["outcome"] != "by_hand"]


def test_a_schedule_is_known_to_event_bridge_until_it_is_removed(
    api: Api, aws: Aws, stack: Stack, name: str, eventually: Eventually
) -> None:
    body = {"name": name, "expression": "cron(0 9 ? * MON-FRI *)", "timezone": "Europe/Berlin", **TRACK}
    made = api("admin", "POST", "/schedules", json=body)
    assert made.status_code == 201, made.text
    assert (made.json()["in_step"], len(made.json()["next_runs"])) == (True, 5)
    told = in_event_bridge(aws, stack, name)
    assert told
    assert (told["ScheduleExpression"], told["ScheduleExpressionTimezone"]) == (body["expression"], "Europe/Berlin")

    started = api("admin", "POST", f"/schedules/{name}/run")
    assert started.status_code == 202, started.text
    job = started.json()["job_id"]
    eventually(lambda: api("viewer", "GET", f"/jobs/{job}").json()["state"] == "completed")

    says = {key: value for key, value in body.items() if key != "name"}
    changed = api("admin", "PUT", f"/schedules/{name}", json={**says, "enabled": False})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    told = in_event_bridge(aws, stack, name)
    assert told
    assert told["State"] == "DISABLED"

    assert api("admin", "DELETE", f"/schedules/{name}").status_code == 200
    assert in_event_bridge(aws, stack, name) is None
    assert api("viewer", "GET", f"/schedules/{name}").status_code == 404
    signed = api("viewer", "GET", f"/admin/ledger?target=schedule:{name}").json()["items"]
    assert [entry["action"] for entry in signed] == [
        "schedule.delete",
        "schedule.change",
        "schedule.run",
        "schedule.create",
    ]


@pytest.mark.long
def test_a_moment_that_comes_makes_exactly_one_job(api: Api, name: str, eventually: Eventually) -> None:
    moment = datetime.fromtimestamp(time.time() + 5, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    made = api("admin", "POST", "/schedules", json={"name": name, "expression": f"at({moment})", **TRACK})
    assert made.status_code == 201, made.text

    (tick,) = eventually(lambda: ticks(api, name), seconds=90)

    assert (tick["outcome"], tick["at"][:19]) == ("ran", moment)
    eventually(lambda: api("viewer", "GET", f"/jobs/{tick['job_id']}").json()["state"] == "completed")
    assert api("viewer", "GET", f"/schedules/{name}").json()["next_runs"] == []


@pytest.mark.long
def test_a_rate_ticks_each_tick_is_one_job_and_a_bell_that_rings_again_makes_none(
    api: Api, aws: Aws, stack: Stack, name: str, eventually: Eventually
) -> None:
    made = api("admin", "POST", "/schedules", json={"name": name, "expression": "rate(1 minute)", **TRACK})
    assert made.status_code == 201, made.text

    seen = eventually(lambda: ticks(api, name), seconds=180, every=1)

    told = in_event_bridge(aws, stack, name)
    assert told
    for _ in range(3):
        rang = aws("lambda").invoke(FunctionName=told["Target"]["Arn"], Payload=told["Target"]["Input"].encode())
        assert "FunctionError" not in rang, rang["Payload"].read()
    assert api("admin", "DELETE", f"/schedules/{name}").status_code == 200
    assert seen[0]["at"] >= made.json()["next_runs"][0]
    page = aws("dynamodb").get_paginator("scan").paginate(TableName=stack["outputs"]["JobsTable"])
    tag = {"S": f"schedule:{name}"}
    jobs = [item for found in page for item in found["Items"] if tag in item.get("tags", {}).get("L", [])]
    written = [
        item
        for found in aws("dynamodb").get_paginator("scan").paginate(TableName=stack["outputs"]["JobsTable"])
        for item in found["Items"]
        if item["pk"]["S"] == f"SCHEDULE#{name}" and "job_id" in item
    ]
    assert len(jobs) == len({item["at"]["N"] for item in written}) == len(written) >= 1


def test_what_is_no_schedule_is_refused(api: Api, name: str) -> None:
    body = {"name": name, "expression": "cron(0 9 * * * *)", **TRACK}
    refused = api("admin", "POST", "/schedules", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "expression")
    assert api("viewer", "POST", "/schedules", json=body).status_code == 403


@pytest.fixture
def receiver(own_stack: LocalStack | None) -> Iterator[Receiver]:
    if own_stack is None:
        pytest.skip("only these tests' own stack has a receiver of theirs")
    with receiving(port=own_stack.receiver_port) as made:
        yield made


def test_a_receiver_is_told_how_a_job_ended_again_when_it_could_not_and_knows_that_it_was_us(
    api: Api, aws: Aws, stack: Stack, receiver: Receiver, eventually: Eventually
) -> None:
    receiver.answers = [(500, {})]
    made = api(
        "admin", "POST", "/jobs", json={**TRACK, "webhook_url": f"https://{RECEIVER_HOST}/hook", "tags": ["e2e"]}
    )
    assert made.status_code == 202, made.text

    eventually(lambda: len(receiver.seen) == 2, seconds=90)

    secret = json.loads(
        aws("secretsmanager").get_secret_value(SecretId=stack["outputs"]["WebhookSecretId"])["SecretString"]
    )["current"]
    first, second = (Webhook(secret).verify(body, headers) for _, headers, body in receiver.seen)
    assert first == second
    assert (second["type"], second["data"]["id"], second["data"]["tags"]) == (
        "job.completed",
        made.json()["id"],
        ["e2e"],
    )
    assert len({headers["webhook-id"] for _, headers, _ in receiver.seen}) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:4566/", "https://169.254.169.254/latest/", "https://localhost/"])
def test_nobody_inside_is_told(api: Api, url: str) -> None:
    refused = api("admin", "POST", "/jobs", json={**TRACK, "webhook_url": url})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "webhook_url")
