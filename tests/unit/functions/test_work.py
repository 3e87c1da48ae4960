"""The worker function: which messages it takes, and what becomes of the others of their batch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adbot_queue import ledger
from adbot_queue.jobs import service
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.service import Enqueued, JobRequest
from adbot_queue.jobs.worker.message import JobMessage
from tests.builders.effects import charging, new_provider
from tests.builders.jobs import known_types
from tests.builders.world import AwsHarness, FakeContext

JOB = "0193518a2c0012ab34cd56ef78"


@pytest.fixture(autouse=True)
def _worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_QUEUE", "money")
    monkeypatch.setenv("JOB_BATCH", "10")


def enqueued(number: int) -> list[Job]:
    news = [JobRequest("charge", {"name": f"n{n}", "goes": []}) for n in range(number)]
    made = service.from_env().enqueue_many(news, ledger.SYSTEM, lambda: 60_000)
    return [one.job for one in made if isinstance(one, Enqueued)]


def work(world: AwsHarness, *bodies: Any) -> list[int]:
    """Hand a batch over; positions of the messages that come back. A text is a body as it is."""
    texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    records = [{"messageId": str(position), "body": text} for position, text in enumerate(texts)]
    answer = world.app("work").handler({"Records": records}, FakeContext())
    return [int(entry["itemIdentifier"]) for entry in answer["batchItemFailures"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"job": JOB, "queue": "nope"},
        {"job": JOB, "queue": "email"},  # another worker's
        {"job": JOB, "queue": ["money"]},
        {"job": 7, "queue": "money"},
        {"job": "x" * 2100, "queue": "money"},
        {"job": "\ud800", "queue": "money"},
        {"job": JOB, "queue": "money", "rank": 7},
        {"job": JOB, "queue": "money", "rank": "abc"},
        {"job": JOB, "queue": "money", "rank": "100#1763769600000\n"},
        {"job": JOB},
        [JOB],
        None,
        "not json",
        "[" * 2_000,
    ],
    ids=lambda wrong: str(wrong)[:60].encode("ascii", "replace").decode(),
)
def test_a_wrong_message_is_dropped_and_all_others_of_a_full_batch_run(on_aws: AwsHarness, wrong: Any) -> None:
    new_provider()
    with known_types(charging()):
        jobs = enqueued(10)  # enough for a full batch, whose order counts

        assert work(on_aws, wrong, *(JobMessage.for_job(job).to_message() for job in jobs)) == []

    assert {service.from_env().job(job.id).state for job in jobs} == {JobState.COMPLETED}


def test_a_message_needs_no_rank(on_aws: AwsHarness) -> None:
    new_provider()
    with known_types(charging()):
        first, second = enqueued(2)
        bodies = [{"job": job.id, "queue": "money"} for job in (first, second)]

        assert work(on_aws, bodies[0], bodies[1] | {"rank": None}) == []

    assert {service.from_env().job(job.id).state for job in (first, second)} == {JobState.COMPLETED}
