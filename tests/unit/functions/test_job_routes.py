"""Jobs over HTTP: what is refused at the door."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.core import aws
from tests.builders.crash import before_transactions, busy_parents
from tests.builders.payments import configure, rows, secret
from tests.builders.world import Answer, AwsHarness

MAIL: dict[str, Any] = {"type": "send-email", "payload": {"to": "cara@example.com", "subject": "s", "text": "t"}}
EVENT: dict[str, Any] = {"type": "analytics-track", "payload": {"event": "e", "user_id": "u"}}

FLOW: dict[str, Any] = {
    "type": "run-workflow",
    "payload": {"name": "n", "steps": [{"id": "track", **EVENT}, {"id": "mail", **MAIL}]},
}


@pytest.fixture(autouse=True)
def _keys(on_aws: AwsHarness) -> None:
    configure()


def post(world: AwsHarness, path: str, body: dict[str, Any], key: str | None = None) -> Answer:
    headers = {"idempotency-key": key} if key else None
    return world.http("jobs", f"POST {path}", role="admin", body=body, headers=headers)


@pytest.mark.parametrize(("path", "body"), [("/jobs", MAIL), ("/jobs/batch", {"jobs": [EVENT, MAIL]}), ("/jobs", FLOW)])
def test_a_job_whose_provider_has_no_credentials_is_refused_with_the_settings_name(
    on_aws: AwsHarness, path: str, body: dict[str, Any]
) -> None:
    with secret("sendgrid", ""):
        refused = post(on_aws, path, body)

    assert (refused.status, refused.json["type"].rpartition(":")[2]) == (503, "not-configured")
    assert "SendGridSecretArn" in refused.json["detail"]
    assert rows(on_aws.env["JOBS_TABLE"]) == []
    assert post(on_aws, path, body).status == 202


def test_whether_there_are_credentials_is_asked_once_for_many_jobs_and_they_are_not_read(on_aws: AwsHarness) -> None:
    calls: list[str] = []
    manager = aws.secrets_manager()
    manager.meta.events.register("before-call.*.*", lambda model, **_: calls.append(model.name), unique_id="counted")
    try:
        for number in range(3):
            post(on_aws, "/jobs", {**MAIL, "payload": {**MAIL["payload"], "subject": str(number)}})
    finally:
        manager.meta.events.unregister("before-call.*.*", unique_id="counted")

    assert calls == ["DescribeSecret"]


def test_a_list_shows_large_payloads_by_their_size_and_the_job_alone_all_of_them(on_aws: AwsHarness) -> None:
    large = {**EVENT, "payload": {**EVENT["payload"], "properties": {"note": "x" * 20_000}}}
    (small_id, large_id) = [post(on_aws, "/jobs", body).json["job_id"] for body in (EVENT, large)]

    query = {"state": "waiting"}
    items = on_aws.http("queues", "GET /queues/{name}/jobs", role="viewer", name="analytics", query=query).json["items"]
    listed = {item["job_id"]: item["payload"] for item in items}

    assert listed[small_id]["event"] == "e"
    assert listed[large_id]["truncated"] is True
    assert listed[large_id]["bytes"] > 20_000
    whole = on_aws.http("jobs", "GET /jobs/{id}", role="viewer", id=large_id).json
    assert whole["payload"]["properties"] == {"note": "x" * 20_000}


def test_a_job_is_answered_again_when_the_one_it_depends_on_was_cancelled(on_aws: AwsHarness) -> None:
    parent = post(on_aws, "/jobs", EVENT).json["job_id"]
    child = {**EVENT, "depends_on": [parent]}
    first = post(on_aws, "/jobs", child, "child")
    on_aws.http("jobs", "DELETE /jobs/{id}", role="admin", id=parent)

    again = post(on_aws, "/jobs", child, "child")

    assert (first.status, again.status) == (202, 200)
    assert again.json["job_id"] == first.json["job_id"]
    assert again.json["state"] == "cancelled"
    assert again.headers["idempotent-replayed"] == "true"
    other = post(on_aws, "/jobs", {**child, "payload": {"event": "other", "user_id": "u"}}, "child")
    assert (other.status, post(on_aws, "/jobs", child, "new").status) == (409, 422)


def test_a_batch_and_its_callback_are_enqueued_once_while_workers_are_at_it(on_aws: AwsHarness) -> None:
    batch = {"jobs": [EVENT, EVENT, EVENT], "callback": EVENT}

    with before_transactions(busy_parents):
        first = post(on_aws, "/jobs/batch", batch, "batch")
    again = post(on_aws, "/jobs/batch", batch, "batch")

    assert (first.status, again.status) == (202, 200)
    made = [item["job_id"] for item in first.json["items"]]
    assert [(item["job_id"], item["replayed"]) for item in again.json["items"]] == [(job, True) for job in made]
    last = on_aws.http("jobs", "GET /jobs/{id}", role="viewer", id=first.json["callback_job_id"]).json
    assert last["blocked_by"] == sorted(made)
    assert again.json["callback_job_id"] == last["job_id"]
