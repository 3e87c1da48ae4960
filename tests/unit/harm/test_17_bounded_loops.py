"""Lambda may run chains of messages of any length, because every one of ours ends by a counter of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adbot_queue.adbots import resolver
from adbot_queue.core import consume
from adbot_queue.jobs import job_queues, job_types
from adbot_queue.jobs.failure import Failure, RetryLimit
from adbot_queue.jobs.model import JobState
from adbot_queue.jobs.retry import decide
from tests.builders.world import AwsHarness, empty, world
from tests.support.template import RESOURCES, TEMPLATE, statements

FUNCTIONS = {
    name: item["Properties"] for name, item in RESOURCES.items() if item["Type"] == "AWS::Serverless::Function"
}

COUNTERS = {
    "AllocationQueue": "each further run was asked for after a step, and steps use up bots or sessions",
    "job queues": "jobs: tries and horizon of the type, steps of a workflow, letters of a replay; messages: receives",
}
"""Cycle of queues and functions -> what ends it."""


def sends() -> Iterator[tuple[str, str]]:
    """(function, queue) for every queue that a function may send to."""
    for function, properties in FUNCTIONS.items():
        for role, statement in statements():
            if role == properties["Role"]["Fn::GetAtt"][0] and "sqs:SendMessage" in statement["Action"]:
                for resource in statement["Resource"]:
                    if resource.get("Fn::Sub", "").endswith(":${AWS::StackName}_jobs-*"):
                        yield from ((function, f"{job_queues.logical_id(queue)}Queue") for queue in job_queues.QUEUES)
                    else:
                        yield function, resource["Fn::GetAtt"][0]


def receives() -> dict[str, list[str]]:
    """Queue -> functions that get its messages."""
    found: dict[str, list[str]] = {}
    for function, properties in FUNCTIONS.items():
        for event in properties.get("Events", {}).values():
            if event["Type"] == "SQS":
                found.setdefault(event["Properties"]["Queue"]["Fn::GetAtt"][0], []).append(function)
    return found


def cycles() -> set[str]:
    """Queues whose messages may lead to messages in the same queue; all job queues under one name."""
    consumers, reached = receives(), {}
    for function, queue in sends():
        reached.setdefault(function, set()).add(queue)

    def leads_to(queue: str, seen: set[str]) -> set[str]:
        for function in consumers.get(queue, []):
            for following in reached.get(function, set()) - seen:
                seen.add(following)
                leads_to(following, seen)
        return seen

    of_jobs = {f"{job_queues.logical_id(queue)}Queue" for queue in job_queues.QUEUES}
    return {"job queues" if queue in of_jobs else queue for queue in consumers if queue in leads_to(queue, set())}


def test_every_loop_of_messages_has_a_counter_that_ends_it() -> None:
    assert cycles() == COUNTERS.keys()


def test_lambda_does_not_end_chains_of_messages_itself() -> None:
    assert TEMPLATE["Globals"]["Function"]["RecursiveLoop"] == "Allow"


@pytest.mark.parametrize("queue", sorted(n for n, i in RESOURCES.items() if i["Type"] == "AWS::SQS::Queue"))
def test_a_message_that_only_fails_is_received_a_few_times(queue: str) -> None:
    properties = RESOURCES[queue]["Properties"]
    if queue in {"DeadLetters", "FifoDeadLetters", "GivenUpBatches"}:
        assert queue not in receives()
    else:
        assert properties["RedrivePolicy"]["maxReceiveCount"] == consume.MAX_RECEIVES


@pytest.mark.parametrize("limit", [RetryLimit.ATTEMPTS, RetryLimit.HORIZON])
@pytest.mark.parametrize("name", job_types.names())
def test_a_job_that_only_fails_ends_with_its_tries_or_at_its_horizon(name: str, limit: RetryLimit) -> None:
    policy = job_types.find(name).retry_policy()
    failure = Failure("transient", "RuntimeError", "no luck", limit=limit)
    runs = age_ms = 0
    state = JobState.DELAYED
    while state is JobState.DELAYED:
        runs += 1
        assert runs <= 500
        verdict = decide(policy, runs, failure, None, 0.5, age_ms)
        state, age_ms = verdict.state, age_ms + verdict.delay_ms

    assert state is JobState.DEAD
    if limit is RetryLimit.ATTEMPTS:
        assert runs == policy.attempts
    else:
        assert age_ms >= policy.horizon_ms


@pytest.mark.parametrize("retry_after", [None, 0, -1, 0.001, 1])
def test_a_job_that_is_put_back_without_an_attempt_waits_a_second_at_least(retry_after: float | None) -> None:
    policy = job_types.find("send-email").retry_policy()

    verdict = decide(policy, 1, Failure("snoozed", "Throttled", "later"), retry_after, 0)

    assert verdict.delay_ms >= 1000


@pytest.fixture
def shop() -> Iterator[AwsHarness]:
    with world() as made:
        empty()
        made.pool()
        yield made


def test_an_allocator_whose_time_is_short_asks_for_another_run_only_after_a_step(shop: AwsHarness) -> None:
    for _ in range(3):
        shop.create(4)
    shop.upload(*[f"s{number}" for number in range(12)])
    runs = 0
    shop.messages("allocation")
    while True:
        runs += 1
        steps = iter([60_000])
        shop.adbots.resolver.run("standard", lambda steps=steps: next(steps, resolver.RESERVE_MS - 1))  # type: ignore[misc]
        if not shop.messages("allocation"):
            break
        assert runs < 50

    header = shop.adbots.pools.header("standard")
    assert (header.queue_length, header.free) == (0, 0)
