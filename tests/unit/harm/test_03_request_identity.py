"""Equal payloads are two jobs, unless a key says that they are one; a key means one request, all of it."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core.errors import AppError, Conflict, IdempotencyMismatch, Unavailable
from adbot_queue.integrations.jobs import execute_plugin as plugin
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue import payloads as intake
from adbot_queue.jobs.errors import PermanentError, TransientError
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.ledger import SYSTEM
from tests.builders.jobs import Jobs
from tests.builders.payments import configure
from tests.builders.world import ADMIN, Answer, AwsHarness

FEE: dict[str, Any] = {
    "type": "payment-process",
    "payload": {"amount": 4900, "currency": "eur", "payment_method": "pm_card_visa"},
}
MINT: dict[str, Any] = {
    "type": "nft-mint",
    "payload": {
        "owner": "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin",
        "name": "Seat 1",
        "symbol": "SEAT",
        "uri": "https://example.com/1.json",
    },
}
EVENT: dict[str, Any] = {"type": "analytics-track", "payload": {"event": "e", "user_id": "u"}}

EQUAL: dict[str, dict[str, Any]] = {
    "payment-process": FEE["payload"],
    "refund-process": {"transaction_id": "pi_1"},
    "http-request": {"url": "https://example.com/"},
    "payout-process": {"kind": "payout", "amount": 100, "currency": "eur"},
    "send-email": {"to": "cara@example.com", "subject": "Hello", "text": "Welcome."},
    "send-sms": {"to": "+4915112345678", "text": "Hello"},
    "send-whatsapp": {"to": "+4915112345678", "text": "Hello"},
    "send-push": {"user_id": "cara", "title": "Hello"},
    "analytics-track": EVENT["payload"],
    "run-workflow": {"name": "flow", "steps": [{"id": "a", "set_status": "done"}]},
    "generate-content": {"kind": "article", "topic": "Bots"},
    "optimize-seo": {"title": "Bots", "text": "All of them"},
    "execute-plugin": {"plugin": "resize"},
    "create-user": {"email": "cara@example.com"},
    "process-snapshot": {"hour": "2025-11-22T05"},
    "rebuild-article-stats": {"article_id": "a"},
    "cleanup-old-data": {"what": ["raw-events"], "older_than_days": 400, "dry_run": True},
    "generate-report": {"report": "orders"},
}

OTHER: dict[str, dict[str, Any]] = {
    "type": {"type": "send-sms", "payload": EQUAL["send-sms"]},
    "payload": {"payload": {"event": "other", "user_id": "u"}},
    "payload's default": {"payload": {"event": "e", "user_id": "u", "properties": {}}},
    "priority": {"priority": 1},
    "delay_seconds": {"delay_seconds": 60},
    "run_at": {"run_at": "2026-11-28T00:00:00Z"},
    "tags": {"tags": ["a"]},
    "depends_on": {"depends_on": ["PARENT"]},
    "run_if_parents_fail": {"run_if_parents_fail": True},
    "webhook_url": {"webhook_url": "https://example.com/hook"},
}


@pytest.fixture
def world(on_aws: AwsHarness) -> Any:
    configure()
    allowed = patch.object(plugin.plugins, "allowed", lambda: {"resize": "arn"})
    with allowed, patch.object(intake.providers, "check", lambda _: None):
        yield on_aws


@pytest.fixture
def jobs(world: AwsHarness) -> Jobs:
    return Jobs(world)


def post(world: AwsHarness, body: dict[str, Any], key: str | None = None, path: str = "/jobs") -> Answer:
    headers = {"idempotency-key": key} if key else None
    return world.http("jobs", f"POST {path}", role="owner", body=body, headers=headers)


def replayed(answer: Answer) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


@pytest.mark.parametrize("name", sorted(EQUAL))
def test_an_equal_payload_without_a_key_is_another_job(world: AwsHarness, name: str) -> None:
    answers = [post(world, {"type": name, "payload": EQUAL[name]}) for _ in range(2)]

    assert [answer.status for answer in answers] == [202, 202], answers[0].json
    assert not any(map(replayed, answers))
    assert answers[0].json["job_id"] != answers[1].json["job_id"]


def test_only_a_mint_derives_a_key() -> None:
    assert [name for name in job_types.names() if job_types.find(name).is_once] == ["nft-mint"]
    assert sorted([*EQUAL, "nft-mint"]) == [known.name for known in job_types.public()]


def test_a_repetition_answers_200_with_the_jobs_present_state(world: AwsHarness, jobs: Jobs) -> None:
    first = post(world, EVENT, "k")
    waiting = post(world, EVENT, "k")
    with patch.object(JobType, "run", lambda *_: {"done": True}):
        jobs.drain("analytics")
    completed = post(world, EVENT, "k")

    assert (first.status, replayed(first)) == (202, False)
    for answer, state in ((waiting, "waiting"), (completed, "completed")):
        assert (answer.status, answer.json["state"], replayed(answer)) == (200, state, True)
        assert answer.json["job_id"] == first.json["job_id"]


@pytest.mark.parametrize("what", sorted(OTHER))
def test_a_key_with_another_request_is_refused(world: AwsHarness, what: str) -> None:
    parent = post(world, EVENT).json["job_id"]
    first = post(world, EVENT, "k")
    other = EVENT | OTHER[what]
    if "depends_on" in other:
        other["depends_on"] = [parent]

    answer = post(world, other, "k")

    assert (answer.status, answer.problem) == (409, "idempotency-key-reused")
    assert answer.json["job_id"] == first.json["job_id"]
    assert (post(world, EVENT, "k").status, post(world, other, "another key").status) == (200, 202)


@pytest.mark.parametrize("what", sorted(set(OTHER) - {"type", "payload", "payload's default", "depends_on"}))
def test_the_same_request_is_a_repetition_whatever_it_asks_for(world: AwsHarness, what: str) -> None:
    """A delay counts from the first request: the later repetition asks for the same."""
    first = post(world, EVENT | OTHER[what], "k")
    again = post(world, dict(reversed((EVENT | OTHER[what]).items())), "k")

    assert (first.status, again.status, replayed(again)) == (202, 200, True)
    assert again.json["run_at"] == first.json["run_at"]


def test_one_moment_in_two_zones_is_the_same_request(world: AwsHarness) -> None:
    post(world, EVENT | {"run_at": "2026-11-28T00:00:00Z"}, "k")

    assert post(world, EVENT | {"run_at": "2026-11-28T01:00:00+01:00"}, "k").status == 200


# Types that derive a key


def test_equal_mints_are_one_job_and_one_with_another_priority_is_refused(world: AwsHarness) -> None:
    first, again = post(world, MINT), post(world, MINT)
    other = post(world, MINT | {"priority": 5})

    assert (first.status, again.status, replayed(again)) == (202, 200, True)
    assert again.json["job_id"] == first.json["job_id"]
    assert (other.status, other.json["job_id"]) == (409, first.json["job_id"])


def ended(jobs: Jobs, end: str) -> Job:
    """A mint that ended so."""
    raised = {
        "failed": PermanentError("refused"),
        "dead": TransientError("down"),
        "ran and was cancelled": TransientError("down"),
    }

    def process(*_: Any) -> dict[str, Any]:
        if end in raised:
            raise raised[end]
        return {"mint": "m"}

    job = jobs.enqueue("nft-mint", MINT["payload"])
    with patch.object(JobType, "run", process):
        if end != "cancelled":
            jobs.work(job)
        while end == "dead" and not jobs.get(job).is_terminal:
            jobs.advance(3600)
            jobs.work(jobs.get(job))
    if "cancelled" in end:
        jobs.lifecycle.cancel(job.id, ADMIN)
    return jobs.get(job)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_mint_that_did_nothing_does_not_hold_the_key(jobs: Jobs, end: str) -> None:
    first = ended(jobs, end)

    second = jobs.enqueued("nft-mint", MINT["payload"])
    third = jobs.enqueued("nft-mint", MINT["payload"])

    assert first.state.value == end
    assert (second.replayed, second.job.id != first.id) == (False, True)
    assert (third.replayed, third.job.id) == (True, second.job.id)
    with pytest.raises(Conflict, match=second.job.id):
        jobs.lifecycle.retry(first.id, ADMIN)


@pytest.mark.parametrize("end", ["completed", "dead", "ran and was cancelled"])
def test_a_mint_that_may_have_happened_holds_the_key(jobs: Jobs, end: str) -> None:
    first = ended(jobs, end)
    again = jobs.enqueued("nft-mint", MINT["payload"])

    assert first.is_terminal
    assert (again.replayed, again.job.id) == (True, first.id)


def test_two_equal_mints_of_one_batch_are_one_job_after_a_failed_one(jobs: Jobs) -> None:
    first = ended(jobs, "failed")
    made = jobs.enqueue_many([jobs.new("nft-mint", MINT["payload"]) for _ in range(2)])

    assert len({job.id for job in made} | {first.id}) == 2


# Batches

BATCH = {"jobs": [EVENT, EVENT, FEE], "callback": EVENT}


def test_a_batch_of_equal_jobs_without_a_key_has_a_job_for_each(world: AwsHarness) -> None:
    first, again = (post(world, BATCH, path="/jobs/batch") for _ in range(2))
    ids = [item["job_id"] for answer in (first, again) for item in answer.json["items"]]

    assert (first.status, again.status, len(set(ids))) == (202, 202, 6)


def test_a_batch_sent_again_answers_200_and_enqueues_nothing(world: AwsHarness, jobs: Jobs) -> None:
    first, again = (post(world, BATCH, "b", "/jobs/batch") for _ in range(2))

    assert (first.status, replayed(first), again.status, replayed(again)) == (202, False, 200, True)
    assert [item["job_id"] for item in again.json["items"]] == [item["job_id"] for item in first.json["items"]]
    assert (again.json["callback_job_id"], len(jobs.all())) == (first.json["callback_job_id"], 4)


@pytest.mark.parametrize(
    "other",
    [
        {"jobs": [EVENT, EVENT], "callback": EVENT},
        {"jobs": [EVENT, EVENT, FEE, EVENT], "callback": EVENT},
        {"jobs": [EVENT, EVENT, FEE]},
        {"jobs": [EVENT, EVENT, FEE], "callback": EVENT | {"priority": 1}},
        {"jobs": [EVENT, FEE, EVENT], "callback": EVENT},
        {"jobs": [EVENT, EVENT | {"tags": ["x"]}, FEE], "callback": EVENT},
        {"jobs": [EVENT, EVENT | {"idempotency_key": "own"}, FEE], "callback": EVENT},
    ],
)
def test_a_batchs_key_with_another_batch_is_refused_as_a_whole(
    world: AwsHarness, jobs: Jobs, other: dict[str, Any]
) -> None:
    post(world, BATCH, "b", "/jobs/batch")
    refused = post(world, other, "b", "/jobs/batch")

    assert (refused.status, refused.problem, len(jobs.all())) == (409, "idempotency-key-reused", 4)


def test_a_batch_that_died_half_way_is_completed_by_its_repetition(world: AwsHarness, jobs: Jobs) -> None:
    with patch("adbot_queue.jobs.api.batch._callback", side_effect=Unavailable("died")):
        assert post(world, BATCH, "b", "/jobs/batch").status == 503
    again = post(world, BATCH, "b", "/jobs/batch")

    assert (again.status, again.json["callback_job_id"] is not None, len(jobs.all())) == (202, True, 4)


def test_a_refused_batch_does_not_use_its_key_up(world: AwsHarness) -> None:
    bad = {"jobs": [EVENT | {"depends_on": ["nobody"]}]}

    assert post(world, bad, "b", "/jobs/batch").status == 422
    assert post(world, BATCH, "b", "/jobs/batch").status == 202


# The platform's own keys go on


def test_a_schedules_run_repeated_after_the_schedule_was_changed_is_the_first_job(world: AwsHarness) -> None:
    body = {"name": "s", "expression": "rate(1 day)", "timezone": "UTC", **EVENT}
    assert world.http("schedules", "POST /schedules", role="owner", body=body).status == 201
    headers = {"idempotency-key": "k"}
    first = world.http("schedules", "POST /schedules/{name}/run", role="owner", name="s", headers=headers)
    changed = {name: value for name, value in body.items() if name != "name"} | {"priority": 7}
    assert world.http("schedules", "PUT /schedules/{name}", role="owner", name="s", body=changed).status == 200
    again = world.http("schedules", "POST /schedules/{name}/run", role="owner", name="s", headers=headers)

    assert (first.status, again.status, replayed(again)) == (202, 200, True)
    assert again.json == first.json


def test_a_workflows_step_that_was_enqueued_before_its_run_died_is_not_enqueued_again(jobs: Jobs) -> None:
    steps = [{"id": "pause", "wait_seconds": 3600}]
    flow = jobs.enqueue("run-workflow", {"name": "f", "steps": steps})
    from adbot_queue.workflow import run  # noqa: PLC0415

    with patch("adbot_queue.jobs.service.from_env", lambda: jobs.service):
        with patch.object(run._Run, "_keep", side_effect=RuntimeError("died")):
            jobs.work(flow)
        jobs.advance(60)
        jobs.work(jobs.get(flow))

    waits = [job for job in jobs.all() if job.type == "workflow-wait"]
    assert (len(waits), jobs.get(flow).state) == (1, JobState.DELAYED)
    assert jobs.get(flow).blocked_by == {waits[0].id}


def test_two_requests_of_one_key_in_one_call_are_one_job_or_a_conflict(jobs: Jobs) -> None:
    news = [jobs.new("analytics-track", EVENT["payload"], key="k", priority=priority) for priority in (0, 0, 1)]

    first, same, other = jobs.service.enqueue_many(news, SYSTEM)

    assert not isinstance(first, AppError)
    assert not isinstance(same, AppError)
    assert (same.job.id, same.replayed) == (first.job.id, True)
    assert isinstance(other, IdempotencyMismatch)


@pytest.mark.parametrize(
    "other", ['[{"session_id": ""}]', '[{"session_id": "s1", "token": "u"}]', '[{"session_id": "s2"}]']
)
def test_an_uploads_key_with_another_upload_is_refused_although_nothing_of_it_can_be_stored(
    world: AwsHarness, other: str
) -> None:
    world.pool()

    def upload(text: str, key: str = "k") -> Answer:
        headers = {"idempotency-key": key}
        return world.http("stock", "POST /admin/stock/sessions/bulk", role="admin", body=text, headers=headers)

    first = '[{"session_id": "s1", "token": "t"}]'
    assert [upload(first).status for _ in range(2)] == [200, 200]
    assert (upload(other).status, upload(other).problem) == (409, "idempotency-key-reused")
    assert upload(other, "another").status == 200
