"""Strict at the door, tolerant in the worker: rows of a newer version lose no job and spend no attempt, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import BaseModel, create_model

from adbot_queue.core import aws
from adbot_queue.integrations.jobs import execute_plugin as plugin
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue import payloads as intake
from adbot_queue.jobs.enqueue.payloads import check_payload
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import UNSUPPORTED_MS, Job, JobState
from adbot_queue.jobs.store import claims, items
from adbot_queue.jobs.worker.message import JobMessage
from tests.builders.jobs import Jobs
from tests.builders.payments import configure
from tests.builders.world import ADMIN, AwsHarness

MAIL = {"to": "cara@example.com", "subject": "Hello", "text": "Welcome."}

GOOD: dict[str, dict[str, Any]] = {
    "payment-process": {"amount": 4900, "currency": "eur", "payment_method": "pm_card_visa"},
    "nft-mint": {"owner": "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin", "name": "Seat 1", "symbol": "SEAT",
                 "uri": "https://example.com/1.json"},
    "refund-process": {"transaction_id": "pi_1", "reason": "duplicate"},
    "payout-process": {"kind": "payout", "amount": 100, "currency": "eur"},
    "send-email": MAIL,
    "send-sms": {"to": "+4915112345678", "text": "Hello"},
    "send-whatsapp": {"to": "+4915112345678", "text": "Hello"},
    "send-push": {"user_id": "cara", "title": "Hello", "urgency": "high"},
    "analytics-track": {"event": "Sold", "user_id": "cara"},
    "run-workflow": {"name": "flow", "steps": [{"id": "a", "set_status": "done"}]},
    "generate-content": {"kind": "article", "topic": "Bots"},
    "optimize-seo": {"title": "Bots", "text": "All of them"},
    "http-request": {"url": "https://example.com/", "method": "PUT", "body": {"n": 1}},
    "execute-plugin": {"plugin": "resize", "input": {"width": 1}},
    "create-user": {"email": "cara@example.com", "groups": ["customer"]},
    "process-snapshot": {"hour": "2025-11-22T05"},
    "rebuild-article-stats": {"article_id": "a"},
    "cleanup-old-data": {"what": ["raw-events"], "older_than_days": 400, "dry_run": True},
    "generate-report": {"report": "orders", "from": "2025-11-01", "to": "2025-11-02"},
}  # fmt: skip
PUBLIC = [known.name for known in job_types.public()]

NESTED: dict[str, dict[str, Any]] = {
    # fields of a newer version below the top
    "run-workflow": {"name": "f", "steps": [{"id": "a", "set_status": "x", "colour": 1}]},
    "send-email": {"to": "a@example.com", "template": "welcome",
                   "variables": {"name": "Cara", "sign_in_url": "https://example.com/", "colour": "red"}},
    "send-push": {"title": "t", "subscription": {"endpoint": "https://push.example.com/x", "colour": 1,
                  "keys": {"p256dh": "BN" + "A" * 85, "auth": "A" * 22, "colour": 1}}},
}  # fmt: skip


@pytest.fixture
def jobs(on_aws: AwsHarness) -> Iterator[Jobs]:
    configure()
    allowed = patch.object(plugin.plugins, "allowed", lambda: {"resize": "arn"})
    with allowed, patch.object(intake.providers, "check", lambda _: None):
        yield Jobs(on_aws)


@pytest.fixture
def ran() -> Iterator[list[BaseModel]]:
    """What the processors of all types got."""
    seen: list[BaseModel] = []

    def process(_: JobType, payload: BaseModel, context: Any) -> dict[str, Any]:
        seen.append(payload)
        return {"done": True}

    with patch.object(JobType, "run", process):
        yield seen


def raw(jobs: Jobs, job: Job) -> dict[str, Any]:
    key = {"pk": {"S": f"JOB#{job.id}"}, "sk": {"S": "J"}}
    return dict(aws.dynamodb().get_item(TableName=jobs.store.table, Key=key, ConsistentRead=True)["Item"])


def rewritten(jobs: Jobs, job: Job, payload: dict[str, Any] | None = None, **attributes: Any) -> None:
    """The row as a newer version writes it."""
    row = raw(jobs, job) | attributes
    if payload is not None:
        row["payload"] = {"S": json.dumps(payload)}
    aws.dynamodb().put_item(TableName=jobs.store.table, Item=row)


def run_for(jobs: Jobs, queue: str, steps: int) -> None:
    """A queue's worker and the sweeper of this version, every quarter of an hour."""
    for _ in range(steps):
        while messages := jobs.receive(queue):
            jobs.worker.work([JobMessage.from_message(message) for message in messages], lambda: 300_000)
            jobs.delete(queue)
        jobs.advance(900)
        jobs.sweep()


@contextmanager
def newer(name: str) -> Iterator[None]:
    """A version whose payload model takes anything."""
    anything = create_model("Anything", __config__={"extra": "allow"})
    with patch.dict(job_types.LOADED, {name: replace(job_types.find(name), payload=anything)}):
        yield


def test_the_table_has_every_public_type() -> None:
    assert sorted(GOOD) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_payload_is_stored_as_it_was_sent_with_the_rows_version(jobs: Jobs, name: str) -> None:
    row = raw(jobs, jobs.enqueue(name, GOOD[name]))

    assert json.loads(row["payload"]["S"]) == GOOD[name]
    assert row["v"] == {"N": "1"}


@pytest.mark.parametrize("name", PUBLIC)
def test_an_unknown_field_is_refused_at_the_door(jobs: Jobs, name: str) -> None:
    body = {"type": name, "payload": GOOD[name] | {"colour": "red"}}
    answer = jobs.world.http("jobs", "POST /jobs", role="owner", body=body)

    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == ["payload.colour"]


@pytest.mark.parametrize("name", PUBLIC)
def test_unknown_fields_of_the_payload_and_of_the_row_are_ignored_and_stay(
    jobs: Jobs, ran: list[BaseModel], name: str
) -> None:
    job = jobs.enqueue(name, GOOD[name])
    rewritten(jobs, job, GOOD[name] | {"colour": "red"}, shade={"M": {"of": {"S": "red"}}})

    run_for(jobs, job.queue, 1)

    done, row = jobs.get(job), raw(jobs, job)
    assert (done.state, done.attempt, len(ran)) == (JobState.COMPLETED, 1, 1)
    assert (done.payload["colour"], row["shade"]) == ("red", {"M": {"of": {"S": "red"}}})


@pytest.mark.parametrize("name", sorted(NESTED))
def test_unknown_fields_below_the_top_are_ignored_in_the_worker_and_refused_at_the_door(
    jobs: Jobs, ran: list[BaseModel], name: str
) -> None:
    job = jobs.enqueue(name, GOOD[name])
    rewritten(jobs, job, NESTED[name])

    jobs.work(job)

    assert (jobs.get(job).state, len(ran)) == (JobState.COMPLETED, 1)
    with pytest.raises(Exception, match=r"colour"):
        check_payload(job_types.find(name), NESTED[name])


def unknown_value(name: str) -> dict[str, Any]:
    """A payload with a value that only a newer version knows: of an enum where the type has one."""
    schema = job_types.find(name).payload.model_json_schema()["properties"]
    for field, said in schema.items():
        options = [said, *said.get("anyOf", ())]
        if any("enum" in option for option in options):
            return GOOD[name] | {field: "of-a-newer-version"}
    return GOOD[name] | {next(iter(GOOD[name])): {"of": "a newer version"}}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_value_of_a_newer_version_waits_at_no_attempts_cost_and_the_newer_worker_completes_it(
    jobs: Jobs, ran: list[BaseModel], name: str
) -> None:
    job = jobs.enqueue(name, GOOD[name])
    rewritten(jobs, job, unknown_value(name))

    run_for(jobs, job.queue, 4)

    waits = jobs.get(job)
    assert (waits.state, waits.attempt, len(waits.attempts)) == (JobState.WAITING, 0, 1)
    assert waits.failure
    assert (waits.failure.kind, waits.failure.error) == ("unsupported", "UnknownPayload")
    assert ran == []
    with newer(name):
        run_for(jobs, job.queue, 1)
    done = jobs.get(job)
    assert (done.state, done.attempt, done.failure) == (JobState.COMPLETED, 1, None)
    assert done.payload == unknown_value(name)


def test_a_type_of_a_newer_version_waits_and_the_newer_worker_completes_it(jobs: Jobs, ran: list[BaseModel]) -> None:
    job = jobs.enqueue("send-sms", GOOD["send-sms"])
    rewritten(jobs, job, type={"S": "send-fax"})

    run_for(jobs, job.queue, 4)

    waits = jobs.get(job)
    assert (waits.state, waits.attempt, waits.failure and waits.failure.error) == (JobState.WAITING, 0, "UnknownType")
    with patch.dict(job_types.LOADED, {"send-fax": replace(job_types.find("send-sms"), name="send-fax")}):
        run_for(jobs, job.queue, 1)
    assert (jobs.get(job).state, jobs.get(job).attempt) == (JobState.COMPLETED, 1)


def test_a_row_version_above_ours_is_not_touched_and_the_newer_worker_completes_it(
    jobs: Jobs, ran: list[BaseModel]
) -> None:
    payload = GOOD["send-sms"]
    now, later = jobs.enqueue("send-sms", payload), jobs.enqueue("send-sms", payload, run_at=jobs.clock() + 1)
    for job in (now, later):
        rewritten(jobs, job, v={"N": "2"})
    before = [raw(jobs, job) for job in (now, later)]

    run_for(jobs, "messages", 3)

    assert [raw(jobs, job) for job in (now, later)] == before
    assert ran == []
    with patch.object(items, "ROW_VERSION", 2), patch.object(claims, "ROW_VERSION", 2):
        run_for(jobs, "messages", 3)
        ended = [jobs.get(job) for job in (now, later)]
    assert [(job.state, job.attempt) for job in ended] == [(JobState.COMPLETED, 1)] * 2


def test_a_row_without_a_version_is_of_version_one(jobs: Jobs, ran: list[BaseModel]) -> None:
    job = jobs.enqueue("send-sms", GOOD["send-sms"])
    row = raw(jobs, job)
    row.pop("v", None)
    aws.dynamodb().put_item(TableName=jobs.store.table, Item=row)

    jobs.work(job)

    assert jobs.get(job).state is JobState.COMPLETED


def test_after_three_days_it_is_a_dead_letter_and_a_retry_gives_it_three_more(jobs: Jobs, ran: list[BaseModel]) -> None:
    job = jobs.enqueue("send-push", GOOD["send-push"])
    rewritten(jobs, job, unknown_value("send-push"))
    began = jobs.clock()

    while not jobs.get(job).is_terminal:
        jobs.drain("messages")
        jobs.advance(43_200)
        jobs.sweep()
    dead = jobs.get(job)
    assert (dead.state, dead.is_dead_letter, dead.attempt) == (JobState.DEAD, True, 0)
    assert dead.failure
    assert dead.failure.kind == "expired"
    assert UNSUPPORTED_MS <= jobs.clock() - began <= UNSUPPORTED_MS + 86_400_000

    jobs.lifecycle.retry(job.id, ADMIN)
    run_for(jobs, "messages", 3)
    assert not jobs.get(job).is_terminal


def test_a_workflow_waits_for_a_version_that_knows_its_step(jobs: Jobs) -> None:
    steps = [{"id": "mail", "type": "send-push", "payload": GOOD["send-push"]}]
    flow = jobs.enqueue("run-workflow", {"name": "f", "steps": steps})
    steps[0]["payload"] = unknown_value("send-push")
    rewritten(jobs, flow, {"name": "f", "steps": steps})

    with patch("adbot_queue.jobs.service.from_env", lambda: jobs.service):
        for _ in range(3):
            jobs.drain("workflow")
            jobs.advance(60)
            jobs.sweep()

    waits = jobs.get(flow)
    assert (waits.state, waits.attempt, waits.failure and waits.failure.kind) == (JobState.DELAYED, 0, "unsupported")
    assert len(jobs.all()) == 1


def test_a_step_with_a_field_of_a_newer_version_is_enqueued_as_it_was_accepted(jobs: Jobs) -> None:
    steps = [{"id": "mail", "type": "send-email", "payload": MAIL}]
    flow = jobs.enqueue("run-workflow", {"name": "f", "steps": steps})
    steps[0]["payload"] = MAIL | {"colour": "red"}
    rewritten(jobs, flow, {"name": "f", "steps": steps})

    with patch("adbot_queue.jobs.service.from_env", lambda: jobs.service):
        jobs.drain("workflow")

    [mail] = jobs.assert_enqueued("send-email")
    assert mail.payload == MAIL | {"colour": "red"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize("name", ["run-workflow", "send-push", "execute-plugin", "analytics-track"])
def test_a_number_that_json_does_not_have_is_refused_by_its_place(jobs: Jobs, name: str, number: str) -> None:
    place = {"run-workflow": "input", "send-push": "data", "execute-plugin": "input", "analytics-track": "properties"}
    payload = {**GOOD[name], place[name]: {"deep": [1, float(number)]}}

    with pytest.raises(Exception, match=f"payload.{place[name]}.deep.1"):
        jobs.enqueue(name, payload)
    assert jobs.all() == []
