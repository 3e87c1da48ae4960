"""Schedules and result webhooks over real HTTP: ticks become jobs, jobs run, receivers get the results."""

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
from tests.builders.receiver import Receiver
from tests.e2e.conftest import RECEIVER_HOST, Api, LocalStack, sweep

Eventually = Callable[..., Any]
Aws = Callable[[str], Any]

TRACK = {"type": "analytics-track", "payload": {"event": "e2e", "user_id": "u"}}


@pytest.fixture
def name(api: Api) -> Iterator[str]:
    """A schedule's name; what the test leaves under it is removed."""
    made = f"e2e-{uuid.uuid4().hex[:8]}"
    yield made
    api("admin", "DELETE", f"/schedules/{made}")


def ticks(api: Api, name: str) -> list[dict[str, Any]]:
    """What became of its ticks, manual runs left out; latest first."""
    shown = api("viewer", "GET", f"/schedules/{name}").json()
    return [tick for tick in shown["ticks"] if tick["outcome"] != "manual"]


def test_a_schedule_is_created_run_changed_and_removed(api: Api, aws: Aws, name: str, eventually: Eventually) -> None:
    body = {"name": name, "expression": "cron(0 9 ? * MON-FRI *)", "timezone": "Europe/Berlin", **TRACK}
    made = api("admin", "POST", "/schedules", json=body)
    assert made.status_code == 201, made.text
    assert (made.json()["problem"], len(made.json()["next_runs"])) == (None, 5)

    started = api("admin", "POST", f"/schedules/{name}/run")
    assert started.status_code == 202, started.text
    job = started.json()["job_id"]
    eventually(lambda: api("viewer", "GET", f"/jobs/{job}").json()["state"] == "completed")

    says = {key: value for key, value in body.items() if key != "name"}
    changed = api("admin", "PUT", f"/schedules/{name}", json={**says, "expression": "rate(1 minute)"})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    sweep(aws)
    (tick,) = ticks(api, name)[-1:]
    assert api("viewer", "GET", f"/jobs/{tick['job_id']}").json()["state"] == "delayed"

    assert api("admin", "DELETE", f"/schedules/{name}").status_code == 200
    assert api("viewer", "GET", f"/schedules/{name}").status_code == 404
    assert api("viewer", "GET", f"/jobs/{tick['job_id']}").json()["state"] == "cancelled"
    signed = api("viewer", "GET", f"/admin/ledger?target=schedule:{name}").json()["items"]
    assert [entry["action"] for entry in signed] == [
        "schedule.delete",
        "schedule.change",
        "schedule.run",
        "schedule.create",
    ]


def test_a_tick_runs_once_in_its_second_however_often_the_sweeper_comes(
    api: Api, aws: Aws, name: str, eventually: Eventually
) -> None:
    moment = datetime.fromtimestamp(int(time.time()) + 8, tz=UTC)
    at = moment.strftime("%Y-%m-%dT%H:%M:%S")
    made = api("admin", "POST", "/schedules", json={"name": name, "expression": f"at({at})", **TRACK})
    assert made.status_code == 201, made.text

    for _ in range(3):
        sweep(aws)

    (tick,) = ticks(api, name)
    assert (tick["outcome"], tick["at"][:19]) == ("ran", at)
    job = eventually(
        lambda: (found := api("viewer", "GET", f"/jobs/{tick['job_id']}").json())["state"] == "completed" and found
    )
    assert job["attempts"][0]["started_at"][:19] >= at
    assert api("viewer", "GET", f"/schedules/{name}").json()["next_runs"] == []


@pytest.mark.long
def test_a_rate_ticks_by_the_clock_of_the_template(api: Api, aws: Aws, name: str, eventually: Eventually) -> None:
    made = api("admin", "POST", "/schedules", json={"name": name, "expression": "rate(1 minute)", **TRACK})
    assert made.status_code == 201, made.text

    seen = eventually(lambda: len(found := ticks(api, name)) >= 3 and found, seconds=300, every=1)

    assert seen[-1]["at"] == made.json()["next_runs"][0]
    assert {tick["outcome"] for tick in seen} == {"ran"}
    first = seen[-1]["job_id"]
    eventually(lambda: api("viewer", "GET", f"/jobs/{first}").json()["state"] == "completed", seconds=180)


def test_what_is_no_schedule_is_refused(api: Api, name: str) -> None:
    body = {"name": name, "expression": "cron(0 9 * * * *)", **TRACK}
    refused = api("admin", "POST", "/schedules", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "expression")
    assert api("viewer", "POST", "/schedules", json=body).status_code == 403


@pytest.fixture
def receiver(own_stack: LocalStack | None) -> Receiver:
    if own_stack is None or own_stack.receiver is None:
        pytest.skip("only these tests' own stack has a receiver of theirs")
    return own_stack.receiver


def test_a_receiver_gets_a_signed_result_and_retries_after_its_failure(
    api: Api, aws: Aws, stack: Stack, receiver: Receiver, eventually: Eventually
) -> None:
    receiver.only = "/hook"  # alarms of the stack come to a path of their own
    receiver.answers = [(500, {})]
    made = api(
        "admin", "POST", "/jobs", json={**TRACK, "webhook_url": f"https://{RECEIVER_HOST}/hook", "tags": ["e2e"]}
    )
    assert made.status_code == 202, made.text

    def seen() -> list[tuple[dict[str, str], bytes]]:
        return [(headers, body) for path, headers, body in receiver.seen if path == "/hook"]

    eventually(lambda: len(seen()) == 2, seconds=90)

    secret = json.loads(
        aws("secretsmanager").get_secret_value(SecretId=stack["outputs"]["WebhookSecretId"])["SecretString"]
    )["current"]
    first, second = (Webhook(secret).verify(body, headers) for headers, body in seen())
    assert first == second
    assert (second["type"], second["data"]["job_id"], second["data"]["tags"]) == (
        "job.completed",
        made.json()["job_id"],
        ["e2e"],
    )
    assert len({headers["webhook-id"] for headers, _ in seen()}) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:4566/", "https://169.254.169.254/latest/", "https://localhost/"])
def test_internal_addresses_are_refused(api: Api, url: str) -> None:
    refused = api("admin", "POST", "/jobs", json={**TRACK, "webhook_url": url})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "webhook_url")
