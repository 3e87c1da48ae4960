"""Jobs over HTTP: what is refused at the door."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.core import aws
from tests.builders.payments import configure, rows, secret
from tests.builders.world import Answer, World

MAIL: dict[str, Any] = {"type": "send-email", "payload": {"to": "cara@example.com", "subject": "s", "text": "t"}}
EVENT: dict[str, Any] = {"type": "analytics-track", "payload": {"event": "e", "user_id": "u"}}


@pytest.fixture(autouse=True)
def _keys(on_aws: World) -> None:
    configure()


def post(world: World, path: str, body: dict[str, Any]) -> Answer:
    return world.http("jobs", f"POST {path}", role="admin", body=body)


@pytest.mark.parametrize(("path", "body"), [("/jobs", MAIL), ("/jobs/batch", {"jobs": [EVENT, MAIL]})])
def test_a_job_whose_provider_has_no_credentials_is_refused_with_the_settings_name(
    on_aws: World, path: str, body: dict[str, Any]
) -> None:
    with secret("sendgrid", '{"api_key": ""}'):
        refused = post(on_aws, path, body)

    assert (refused.status, refused.json["type"].rpartition(":")[2]) == (503, "not-configured")
    assert "SendGridSecretArn" in refused.json["detail"]
    assert rows(on_aws.env["JOBS_TABLE"]) == []
    assert post(on_aws, path, body).status == 202


def test_credentials_are_looked_up_once_for_many_jobs(on_aws: World) -> None:
    calls: list[str] = []
    manager = aws.secrets_manager()
    manager.meta.events.register("before-call.*.*", lambda model, **_: calls.append(model.name), unique_id="counted")
    try:
        for number in range(3):
            post(on_aws, "/jobs", {**MAIL, "payload": {**MAIL["payload"], "subject": str(number)}})
    finally:
        manager.meta.events.unregister("before-call.*.*", unique_id="counted")

    assert calls == ["GetSecretValue"]
