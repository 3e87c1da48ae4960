"""The sweeper under load, in a hurry, and with something broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core import aws
from adbot_queue.jobs import job_queues
from adbot_queue.jobs import sweeper as sweep
from adbot_queue.jobs.model import Job, JobState
from tests.builders.jobs import Jobs
from tests.builders.payments import failing

HOUR_S = 3_600


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAGE", 3)


def later(jobs: Jobs, number: int, job_type: str = "note") -> list[Job]:
    """Jobs for one moment in an hour."""
    run_at = jobs.clock() + HOUR_S * 1000
    return jobs.enqueue_many([jobs.new(job_type, {"name": str(n)}, run_at=run_at) for n in range(number)])


def states(jobs: Jobs, made: list[Job]) -> list[str]:
    """Theirs, and whether their messages wait for them in the queue."""
    now = [jobs.get(job) for job in made]
    return ["sent" if job.rides_on_queue else job.state.value for job in now]


def turns(number: int) -> Callable[[], int]:
    """Time for that many looks at the clock."""
    left = iter([60_000] * number)
    return lambda: next(left, 0)


def lost(jobs: Jobs, *queues: str) -> None:
    """Lose their messages, and wait until the sweeper resends them."""
    for queue in queues:
        jobs.receive(queue)
        jobs.delete(queue)
    jobs.advance(61)


def test_all_that_is_due_at_one_moment_is_sent_in_one_sweep(jobs: Jobs) -> None:
    made = later(jobs, 11)
    jobs.advance(HOUR_S - 100)

    assert jobs.sweep()["due"] == 11
    assert states(jobs, made) == ["sent"] * 11
    jobs.advance(100)
    assert jobs.sweep()["due"] == 0


def test_a_job_that_cannot_be_looked_at_is_tried_once_and_holds_up_no_other(jobs: Jobs) -> None:
    waiting = jobs.enqueue("note", {"name": "waiting"})
    stalled = jobs.enqueue("note", {"name": "stalled"})
    children = jobs.enqueue_many([jobs.new("note", {"name": str(n)}, depends_on=(waiting.id,)) for n in range(4)])
    jobs.store.claim(stalled.id, "analytics", "dies", "lease", jobs.clock(), jobs.clock() + 45_000)
    lost(jobs, "analytics")
    made = later(jobs, 4)
    jobs.advance(HOUR_S - 100)
    looked_at: list[str] = []

    def broken(job: Job) -> None:
        looked_at.append(job.id)
        raise ValueError("no such thing")

    with (
        patch.object(jobs.dependents, "recheck", broken),
        patch.object(jobs.sweeper, "_rescue_stalled", broken),
        patch.object(sweep.logger, "error") as log,
    ):
        done = jobs.sweep()

    assert sorted(looked_at) == sorted(job.id for job in [*children, stalled])
    assert sorted(call.kwargs["job_id"] for call in log.call_args_list) == sorted(looked_at)
    assert (done["failed"], done["due"], done["sent"]) == (5, 9, 1)
    assert states(jobs, made) == ["sent"] * 4
    jobs.drain()
    assert jobs.get(waiting).state is JobState.COMPLETED


def test_jobs_whose_change_fails_are_left_to_the_next_sweep_and_the_others_are_sent(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adbot_queue.jobs.store.many_rows.BATCH", 2)
    made = later(jobs, 3)
    jobs.advance(HOUR_S - 100)

    with failing(aws.dynamodb(), "BatchExecuteStatement", code="InternalServerError"):
        assert jobs.sweep()["failed"] == 2
    assert sorted(states(jobs, made)) == ["delayed", "delayed", "sent"]

    assert jobs.sweep()["failed"] == 0
    assert states(jobs, made) == ["sent"] * 3


def test_queues_take_turns_so_that_a_long_one_leaves_time_for_the_others(jobs: Jobs) -> None:
    many, few = later(jobs, 11), later(jobs, 2, "charge")
    jobs.advance(HOUR_S - 100)
    a_turn_each = turns(len(job_queues.QUEUES))

    jobs.sweeper.sweep(a_turn_each)

    assert states(jobs, few) == ["sent"] * 2
    assert states(jobs, many).count("sent") == sweep.PAGE


def test_another_queue_is_first_each_minute(jobs: Jobs) -> None:
    first: list[str] = []

    def seen(queue: str, *_: Any) -> None:
        first.append(queue)

    for _ in job_queues.QUEUES:
        with patch.object(jobs.sweeper, "_sweep_page", seen), patch.object(jobs.sweeper, "_resend_lost"):
            jobs.sweeper.sweep(turns(1))
        jobs.advance(60)

    assert sorted(first) == sorted(job_queues.QUEUES)


@pytest.mark.parametrize("code", [None, "ServiceUnavailable"])
def test_with_sqs_down_altogether_jobs_are_started_directly(jobs: Jobs, code: str | None) -> None:
    made = jobs.enqueue_many([jobs.new("charge", {"name": str(n)}) for n in range(12)])
    lost(jobs, "money")

    with failing(aws.sqs(), "*", code=code) as tries:
        done = jobs.sweep()

    assert (done["started"], done["sent"], done["failed"]) == (12, 0, 0)
    assert {jobs.get(job).state for job in made} == {JobState.COMPLETED}
    # Each takes the client seconds of trying again: after one there is no second.
    assert tries == ["GetQueueAttributes", "SendMessageBatch"]


def test_the_longer_a_job_waits_for_others_the_more_seldom_it_is_looked_at(jobs: Jobs) -> None:
    parent = jobs.enqueue("charge")
    child = jobs.enqueue("note", depends_on=(parent.id,))
    looks: list[int] = []
    for _ in range(12):
        jobs.advance(((jobs.get(child).due_at or 0) - jobs.clock()) / 1000)
        looks.append((jobs.clock() - child.created_at) // 60_000)
        jobs.dependents.recheck(jobs.get(child))

    assert looks[:7] == [5, 10, 15, 22, 33, 50, 75]
    assert looks[-1] - looks[-2] == 60


def test_the_first_look_after_a_parents_time_is_not_put_off(jobs: Jobs) -> None:
    parent = jobs.enqueue("charge", run_at=jobs.clock() + 24 * HOUR_S * 1000)
    child = jobs.enqueue("note", depends_on=(parent.id,))
    jobs.advance(10 * HOUR_S)

    jobs.dependents.recheck(child)

    assert jobs.get(child).due_at == (parent.run_at or 0) + 300_000
