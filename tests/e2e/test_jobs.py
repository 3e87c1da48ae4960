"""Jobs over real HTTP, on real queues and workers, with IAM enforced."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adbot_queue.jobs import job_queues
from tests.e2e.conftest import Api

Eventually = Callable[..., Any]
Aws = Callable[[str], Any]
ENDED = {"completed", "failed", "dead", "cancelled"}


def track(**properties: Any) -> dict[str, Any]:
    """A job that no other test has."""
    return {
        "type": "analytics-track",
        "payload": {"event": "tested", "user_id": "u-1", "properties": {"nonce": uuid.uuid4().hex, **properties}},
    }


def mail(subject: str = "Hello") -> dict[str, Any]:
    return {
        "type": "send-email",
        "payload": {"to": "cara@example.com", "subject": f"{subject} {uuid.uuid4().hex}", "text": "Hello."},
    }


def post(api: Api, job: dict[str, Any], role: str = "admin", **headers: str) -> Any:
    return api(role, "POST", "/jobs", json=job, headers=headers)


def ended(api: Api, eventually: Eventually, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job = api("viewer", "GET", f"/jobs/{job_id}").json()
        return job if job["state"] in ENDED else None

    found: dict[str, Any] = eventually(look, 90)
    return found


def test_a_job_is_enqueued_run_by_its_queues_worker_and_shows_its_result(api: Api, eventually: Eventually) -> None:
    answer = post(api, mail())

    assert answer.status_code == 202
    assert int(answer.headers["ratelimit-remaining"]) < int(answer.headers["ratelimit-limit"])
    job = ended(api, eventually, answer.json()["job_id"])
    assert (job["state"], job["execution_mode"], job["attempt"]) == ("completed", "async_queue", 1)
    assert job["result"]["message_id"]


def test_a_permanent_failure_fails_at_once_and_a_transient_one_is_tried_again(api: Api, eventually: Eventually) -> None:
    refused = post(api, mail("fail=400")).json()["job_id"]
    flaky = post(api, mail("fail=503x1")).json()["job_id"]

    job = ended(api, eventually, refused)
    assert (job["state"], job["error"]["kind"]) == ("failed", "permanent")
    job = ended(api, eventually, flaky)
    assert (job["state"], job["attempt"]) == ("completed", 2)
    assert [attempt["error"] and attempt["error"]["kind"] for attempt in job["attempts"]] == ["transient", None]


def test_the_same_request_again_is_the_same_job_and_says_so(api: Api) -> None:
    key, job = uuid.uuid4().hex, track()
    first = post(api, job, **{"idempotency-key": key})
    again = post(api, job, **{"idempotency-key": key})
    other = post(api, track(), **{"idempotency-key": key})

    assert again.json()["job_id"] == first.json()["job_id"]
    assert (first.status_code, again.status_code) == (202, 200)
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert (other.status_code, other.json()["type"]) == (409, "urn:adbot-queue:problem:idempotency-key-reused")


def test_a_batch_is_all_or_nothing_and_its_callback_runs_after_all_of_it(api: Api, eventually: Eventually) -> None:
    bad = api("admin", "POST", "/jobs/batch", json={"jobs": [track(), {"type": "send-email", "payload": {}}]})
    assert bad.status_code == 422
    assert {error["field"] for error in bad.json()["errors"]} >= {"jobs.1.payload.to", "jobs.1.payload.subject"}

    good = api("admin", "POST", "/jobs/batch", json={"jobs": [track() for _ in range(12)], "callback": track()})
    assert good.status_code == 202
    assert [item["index"] for item in good.json()["items"]] == list(range(12))
    callback = ended(api, eventually, good.json()["callback_job_id"])
    members = [ended(api, eventually, item["job_id"]) for item in good.json()["items"]]
    assert callback["state"] == "completed"
    assert callback["started_at"] >= max(member["finished_at"] for member in members)


def test_too_large_a_batch_is_refused_by_its_limit(api: Api) -> None:
    answer = api("admin", "POST", "/jobs/batch", json={"jobs": [track() for _ in range(101)]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "jobs"


def test_a_delayed_job_runs_at_its_time_and_not_before(api: Api, eventually: Eventually) -> None:
    job = ended(api, eventually, post(api, track() | {"delay_seconds": 3}).json()["job_id"])
    waited = datetime.fromisoformat(job["started_at"]) - datetime.fromisoformat(job["created_at"])
    assert waited >= timedelta(seconds=3)


def test_a_job_far_ahead_is_cancelled_retried_and_runs(api: Api, eventually: Eventually) -> None:
    later = (datetime.now(UTC) + timedelta(days=300)).isoformat()
    job = post(api, track() | {"run_at": later}).json()
    assert job["state"] == "delayed"

    assert api("admin", "DELETE", f"/jobs/{job['job_id']}").json()["state"] == "cancelled"
    retried = api("admin", "POST", f"/jobs/{job['job_id']}/retry", json={"reason": "now, please"})
    assert retried.status_code == 202
    assert ended(api, eventually, job["job_id"])["state"] == "completed"

    actions = api("viewer", "GET", "/admin/ledger", params={"target": f"job:{job['job_id']}"}).json()["items"]
    assert [entry["action"] for entry in actions] == ["job.retry", "job.cancel", "job.enqueue"]


def test_a_job_that_depends_on_another_runs_after_it(api: Api, eventually: Eventually) -> None:
    parent = post(api, track() | {"delay_seconds": 2}).json()["job_id"]
    child = post(api, track() | {"depends_on": [parent]}).json()
    assert child["blocked_by"] == [parent]

    assert ended(api, eventually, child["job_id"])["state"] == "completed"
    assert api("viewer", "GET", f"/jobs/{parent}").json()["state"] == "completed"


def test_lists_show_a_queues_jobs_by_state_and_clean_deletes_what_is_confirmed(
    api: Api, eventually: Eventually
) -> None:
    job = ended(api, eventually, post(api, mail()).json()["job_id"])
    listed = api("viewer", "GET", "/queues/email/jobs", params={"state": "completed", "limit": 100}).json()["items"]
    assert job["job_id"] in [entry["job_id"] for entry in listed]
    assert [entry["created_at"] for entry in listed] == sorted((entry["created_at"] for entry in listed), reverse=True)

    clean = {"state": "cancelled", "older_than_seconds": 0}
    counted = api("owner", "DELETE", "/queues/email/clean", params=clean).json()
    wrong = api("owner", "DELETE", "/queues/email/clean", params=clean | {"confirm": counted["count"] + 1})
    assert wrong.status_code == 409


@pytest.mark.parametrize(
    ("job", "field"),
    [
        ({"type": "no-such-type"}, "type"),
        (track() | {"priority": 101}, "priority"),
        (track() | {"delay_seconds": 1, "run_at": "2027-01-01T00:00:00Z"}, "run_at"),
        (track() | {"depends_on": ["nobody"]}, "depends_on"),
        (track() | {"webhook_url": "http://127.0.0.1/hook"}, "webhook_url"),
        ({"type": "deliver-webhook", "payload": {"url": "https://example.com", "job_id": "x"}}, "type"),
    ],
)
def test_bad_input_names_the_field(api: Api, job: dict[str, Any], field: str) -> None:
    answer = post(api, job)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("role", ["viewer", "customer", None])
def test_only_admins_enqueue(api: Api, role: str | None) -> None:
    assert api(role, "POST", "/jobs", json=track()).status_code == (403 if role else 401)


def test_a_worker_has_its_own_queues_permissions_only(aws: Aws) -> None:
    lambdas = aws("lambda")
    roles = {
        name["FunctionName"]: name["Role"]
        for page in lambdas.get_paginator("list_functions").paginate()
        for name in page["Functions"]
        if name["FunctionName"].endswith("Worker")
    }
    assert len(roles) == len(set(roles.values())) == len(job_queues.QUEUES)
