"""Batches and their callbacks while workers are at the jobs that are waited for."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.core.errors import Unavailable
from adbot_queue.jobs.model import Job, State
from adbot_queue.jobs.service import Enqueued, NewJob
from adbot_queue.ledger import SYSTEM
from adbot_queue.system.mode import Mode
from tests.builders.crash import before_transactions, busy_parents, conflict, tells_parents
from tests.builders.effects import Provider
from tests.builders.jobs import Jobs, states
from tests.builders.payments import failing
from tests.builders.world import ADMIN


def members(jobs: Jobs, number: int) -> list[Job]:
    return jobs.enqueue_many([jobs.new("charge", {"name": f"m{index}"}, key=f"k#{index}") for index in range(number)])


def callback(jobs: Jobs, after: list[Job]) -> NewJob:
    return jobs.new("note", {"name": "callback"}, key="k#callback").after(tuple(job.id for job in after))


def test_a_callback_is_made_while_its_members_end_one_after_the_other(jobs: Jobs, provider: Provider) -> None:
    made = members(jobs, 8)
    left = list(made)

    def ends(params: dict[str, Any]) -> None:
        if tells_parents(params):
            jobs.work(left.pop())

    with before_transactions(ends):
        last = jobs.service.enqueue(callback(jobs, made), ADMIN).job
    jobs.drain()

    assert jobs.get(last).state is State.COMPLETED  # without the sweeper
    assert provider.effects["callback"] == 1


@pytest.mark.parametrize("number", [3, 100])
def test_a_callback_is_made_while_workers_are_at_its_members(jobs: Jobs, number: int) -> None:
    made = members(jobs, number)

    with before_transactions(busy_parents):
        last = jobs.service.enqueue(callback(jobs, made), ADMIN).job
    assert {last.id} == set.union(*(set(jobs.get(job).children) for job in made))
    jobs.drain()

    assert states(jobs.all()) == {State.COMPLETED: number + 1}


def test_a_callback_whose_members_end_in_that_moment_is_started_by_the_sweeper_in_direct_mode(jobs: Jobs) -> None:
    jobs.mode = Mode.SYNC_DIRECT
    jobs.paused.add("money")
    made = members(jobs, 3)

    def end(params: dict[str, Any]) -> None:
        if tells_parents(params):
            for job in made:
                jobs.work(job)

    with before_transactions(end):
        last = jobs.service.enqueue(callback(jobs, made), ADMIN).job
    assert jobs.get(last).state is State.WAITING
    jobs.advance(61)
    jobs.sweep()

    assert jobs.get(last).state is State.COMPLETED


def test_what_depends_on_a_job_that_fails_in_that_moment_is_cancelled(jobs: Jobs) -> None:
    parent = jobs.enqueue("charge", {"goes": ["permanent"]})

    def fails(params: dict[str, Any]) -> None:
        if tells_parents(params):
            jobs.work(parent)

    with before_transactions(fails):
        child = jobs.enqueue("note", depends_on=(parent.id,))

    assert jobs.get(child).state is State.CANCELLED


def test_a_transaction_in_conflict_is_tried_again_for_itself(jobs: Jobs, provider: Provider) -> None:
    """100 jobs with a key are three transactions; the second one loses a race."""
    sent: list[int] = []

    def once(params: dict[str, Any]) -> None:
        sent.append(len(params["TransactItems"]))
        if len(sent) == 2:
            raise conflict()

    news = [jobs.new("charge", {"name": f"m{index}"}, key=str(index)) for index in range(100)]
    with before_transactions(once):
        made = jobs.service.enqueue_many(news, SYSTEM)
    jobs.drain()

    assert len(sent) == 4
    assert [entry.replayed for entry in made if isinstance(entry, Enqueued)] == [False] * 100
    assert sum(provider.effects.values()) == 100


def test_a_conflict_that_does_not_end_is_answered_come_again(jobs: Jobs) -> None:
    code = "TransactionConflictException"
    with failing(aws.dynamodb(), "TransactWriteItems", code=code) as calls, pytest.raises(Unavailable):
        jobs.enqueue("charge")

    assert len(calls) == 12
    assert jobs.all() == []


def test_a_transaction_that_was_written_although_it_was_said_to_be_in_progress_is_not_a_repetition(jobs: Jobs) -> None:
    lost: list[str] = []

    def written(model: Any, **_: Any) -> None:
        lost.append(model.name)
        if len(lost) == 1:
            raise conflict("TransactionInProgressException")

    events, name = aws.dynamodb().meta.events, "after-call.dynamodb.TransactWriteItems"
    events.register(name, written, unique_id="lost")
    try:
        enqueued = jobs.enqueued("charge")
    finally:
        events.unregister(name, unique_id="lost")

    assert (enqueued.replayed, len(lost), len(jobs.all())) == (False, 2, 1)
    jobs.drain()
    assert jobs.get(enqueued.job).state is State.COMPLETED
