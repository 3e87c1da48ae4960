"""Batches and their callbacks, and what is asked for twice, while workers are at the jobs that are waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.core.errors import AppError, Conflict, IdempotencyMismatch, Invalid, Unavailable
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.service import Enqueued, JobRequest
from adbot_queue.ledger import SYSTEM
from adbot_queue.platform.mode import ProcessingMode
from tests.builders.crash import before_transactions, busy_parents, conflict, crash_after, tells_parents
from tests.builders.effects import Provider
from tests.builders.jobs import Jobs, states
from tests.builders.payments import failing
from tests.builders.world import ADMIN


def members(jobs: Jobs, number: int) -> list[Job]:
    return jobs.enqueue_many([jobs.new("charge", {"name": f"m{index}"}, key=f"k#{index}") for index in range(number)])


def callback(jobs: Jobs, after: list[Job]) -> JobRequest:
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

    assert jobs.get(last).state is JobState.COMPLETED  # without the sweeper
    assert provider.effects["callback"] == 1


@pytest.mark.parametrize("number", [3, 100])
def test_a_callback_is_made_while_workers_are_at_its_members(jobs: Jobs, number: int) -> None:
    made = members(jobs, number)

    with before_transactions(busy_parents):
        last = jobs.service.enqueue(callback(jobs, made), ADMIN).job
    assert {last.id} == set.union(*(set(jobs.get(job).children) for job in made))
    jobs.drain()

    assert states(jobs.all()) == {JobState.COMPLETED: number + 1}


def test_a_callback_whose_members_end_in_that_moment_is_started_by_the_sweeper_in_direct_mode(jobs: Jobs) -> None:
    jobs.mode = ProcessingMode.SYNC_DIRECT
    jobs.paused.add("money")
    made = members(jobs, 3)

    def end(params: dict[str, Any]) -> None:
        if tells_parents(params):
            for job in made:
                jobs.work(job)

    with before_transactions(end):
        last = jobs.service.enqueue(callback(jobs, made), ADMIN).job
    assert jobs.get(last).state is JobState.WAITING
    jobs.advance(61)
    jobs.sweep()

    assert jobs.get(last).state is JobState.COMPLETED


def test_what_depends_on_a_job_that_fails_in_that_moment_is_cancelled(jobs: Jobs) -> None:
    parent = jobs.enqueue("charge", {"goes": ["permanent"]})

    def fails(params: dict[str, Any]) -> None:
        if tells_parents(params):
            jobs.work(parent)

    with before_transactions(fails):
        child = jobs.enqueue("note", depends_on=(parent.id,))

    assert jobs.get(child).state is JobState.CANCELLED


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
        jobs.enqueue("charge", key="k")

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
        enqueued = jobs.enqueued("charge", key="k")
    finally:
        events.unregister(name, unique_id="lost")

    assert (enqueued.replayed, len(lost), len(jobs.all())) == (False, 2, 1)
    jobs.drain()
    assert jobs.get(enqueued.job).state is JobState.COMPLETED


# Asked for once more


def fails(jobs: Jobs, parent: Job) -> None:
    jobs.work(parent)


def is_cancelled(jobs: Jobs, parent: Job) -> None:
    jobs.lifecycle.cancel(parent.id, ADMIN)


def is_gone(jobs: Jobs, parent: Job) -> None:
    fails(jobs, parent)
    assert jobs.store.delete(jobs.get(parent))


ENDS = [fails, is_cancelled, is_gone]


def parent_and_child(jobs: Jobs) -> tuple[Job, JobRequest]:
    parent = jobs.enqueue("charge", {"goes": ["permanent"]})
    return parent, jobs.new("mail", {"name": "child"}, key="k", depends_on=(parent.id,))


@pytest.mark.parametrize("end", ENDS)
def test_a_repetition_is_answered_with_the_first_job_whatever_became_of_its_parent(
    jobs: Jobs, end: Callable[[Jobs, Job], None]
) -> None:
    parent, wanted = parent_and_child(jobs)
    first = jobs.service.enqueue(wanted, ADMIN)
    end(jobs, parent)

    again = jobs.service.enqueue(wanted, ADMIN)

    assert (again.job.id, again.replayed) == (first.job.id, True)
    other = jobs.new("mail", {"name": "other"}, key="k", depends_on=(parent.id,))
    with pytest.raises(IdempotencyMismatch):
        jobs.service.enqueue(other, ADMIN)


@pytest.mark.parametrize("end", ENDS)
def test_a_key_that_means_no_job_excuses_no_parent(jobs: Jobs, end: Callable[[Jobs, Job], None]) -> None:
    parent, wanted = parent_and_child(jobs)
    jobs.service.enqueue(wanted, ADMIN)
    end(jobs, parent)

    jobs.advance(86_401)  # its window has passed
    with pytest.raises(Invalid):
        jobs.service.enqueue(wanted, ADMIN)


def test_a_repetition_whose_job_was_deleted_is_refused_as_such(jobs: Jobs) -> None:
    parent, wanted = parent_and_child(jobs)
    first = jobs.service.enqueue(wanted, ADMIN).job
    jobs.work(parent)
    assert jobs.store.delete(jobs.get(first))

    with pytest.raises(Conflict, match="deleted"):
        jobs.service.enqueue(wanted, ADMIN)


def test_a_batch_that_is_repeated_is_answered_item_by_item(jobs: Jobs) -> None:
    parent, child = parent_and_child(jobs)
    news = [jobs.new("mail", {"name": "alone"}, key="alone"), child]
    first = jobs.service.enqueue_many(news, ADMIN)
    jobs.work(parent)

    again = jobs.service.enqueue_many([*news, jobs.new("mail", {"name": "new"}, key="new")], ADMIN)

    assert not any(isinstance(entry, AppError) for entry in (*first, *again))
    assert [entry.replayed for entry in again if isinstance(entry, Enqueued)] == [True, True, False]
    assert [entry.job.id for entry in again if isinstance(entry, Enqueued)][:2] == [
        entry.job.id for entry in first if isinstance(entry, Enqueued)
    ]


def test_a_key_is_looked_up_only_when_a_parent_refuses(jobs: Jobs) -> None:
    _, wanted = parent_and_child(jobs)

    with crash_after(None) as calls:
        jobs.service.enqueue(wanted, ADMIN)

    assert calls.names == ["BatchGetItem", "TransactWriteItems"]
