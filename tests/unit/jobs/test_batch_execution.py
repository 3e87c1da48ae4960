"""Jobs of a batch: claimed in one call, run side by side, written down together; each for itself all the same."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from adbot_queue.core import aws
from adbot_queue.core.task_group import DaemonThreadPool, TaskGroup, TaskResult
from adbot_queue.jobs import job_types
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.rank import rank
from adbot_queue.jobs.service import Enqueued
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.platform.rate_limits import RateLimitResult
from tests.builders import effects
from tests.builders.crash import crash_after, sent_twice
from tests.builders.effects import Provider, charging
from tests.builders.jobs import Jobs, known_types, states
from tests.builders.payments import failing
from tests.builders.world import ADMIN

BATCH = "BatchExecuteStatement"


def made(jobs: Jobs, *scripts: list[str], **options: Any) -> list[Job]:
    news = [jobs.new("charge", {"name": f"n{n}", "goes": goes}, **options) for n, goes in enumerate(scripts)]
    return jobs.enqueue_many(news)


def work(jobs: Jobs, several: list[Job], *, milliseconds: int = 60_000, full: bool = False) -> None:
    messages = [JobMessage(job.id, job.queue, job.rank) for job in several]
    jobs.worker.work(messages, lambda: milliseconds, full=full)


def now(jobs: Jobs, several: list[Job]) -> list[JobState]:
    return [jobs.get(job).state for job in several]


@contextmanager
def statements_answered(*codes: str | None) -> Iterator[None]:
    """In the first batch, statements have these errors, and are not carried out."""
    calls: list[str] = []

    def before(params: dict[str, Any], **_: Any) -> None:
        calls.append("call")
        if len(calls) == 1:
            statements = params["Statements"]
            params["Statements"] = [one for one, code in zip(statements, codes, strict=True) if code is None]

    def after(parsed: dict[str, Any], **_: Any) -> None:
        if len(calls) == 1:
            answers = iter(parsed["Responses"])
            parsed["Responses"] = [{"Error": {"Code": code}} if code else next(answers) for code in codes]

    events = aws.dynamodb().meta.events
    events.register(f"provide-client-params.dynamodb.{BATCH}", before)
    events.register(f"after-call.dynamodb.{BATCH}", after)
    try:
        yield
    finally:
        events.unregister(f"provide-client-params.dynamodb.{BATCH}", before)
        events.unregister(f"after-call.dynamodb.{BATCH}", after)


def test_the_jobs_of_a_batch_are_claimed_in_one_call_and_run_side_by_side(jobs: Jobs) -> None:
    several = made(jobs, *([[]] * 10))
    all_there = threading.Barrier(10, timeout=30)

    def meet(*_: Any) -> None:
        all_there.wait()

    with patch.object(effects.PROVIDER, "charge", meet), crash_after(None) as calls:
        work(jobs, several)

    assert set(now(jobs, several)) == {JobState.COMPLETED}
    assert calls.names[0] == BATCH
    assert set(calls.names[1:]) <= {BATCH, "UpdateItem", "GetItem"}


def test_what_ends_together_is_written_in_one_call(jobs: Jobs) -> None:
    several = made(jobs, *([[]] * 5))
    ends = patch("adbot_queue.jobs.worker.worker._prepared", side_effect=PermanentError("no"))  # before it begins

    with ends, crash_after(None) as calls:
        work(jobs, several)

    assert calls.names == [BATCH, BATCH]
    assert set(now(jobs, several)) == {JobState.FAILED}


def test_retries_of_a_batch_are_sent_together(jobs: Jobs) -> None:
    several = made(jobs, *([[]] * 3))
    with known_types(), patch.dict(job_types.LOADED) as types, crash_after(None) as calls:
        del types["charge"]  # a worker of an older version
        work(jobs, several)

    assert calls.names == [BATCH, BATCH, "SendMessageBatch"]
    assert set(now(jobs, several)) == {JobState.DELAYED}


def test_jobs_of_a_batch_end_each_in_its_own_way(jobs: Jobs, provider: Provider) -> None:
    several = made(jobs, [], ["transient"], ["permanent"], ["snoozed"], ["bug"])
    child = jobs.enqueue("note", depends_on=(several[0].id,))

    work(jobs, several)

    assert now(jobs, several) == [
        JobState.COMPLETED,
        JobState.DELAYED,
        JobState.FAILED,
        JobState.DELAYED,
        JobState.DELAYED,
    ]
    assert [jobs.get(job).attempt for job in several] == [1, 1, 1, 0, 1]
    assert jobs.get(child).state is JobState.WAITING
    assert {jobs.get(job).first_started_at for job in several} == {jobs.clock()}


def test_an_end_that_cannot_be_judged_is_a_failure_of_its_job_and_stops_no_other(jobs: Jobs) -> None:
    several = made(jobs, ["endless"], [])

    work(jobs, several)

    assert now(jobs, several) == [JobState.DELAYED, JobState.COMPLETED]
    failure = jobs.get(several[0]).failure
    assert failure
    assert (failure.kind, failure.error) == ("transient", "OverflowError")


def test_a_message_that_comes_twice_in_a_batch_runs_its_job_once_and_then_another_that_waits(
    jobs: Jobs, provider: Provider
) -> None:
    first, second, third = made(jobs, [], [], [])

    work(jobs, [first, first, second, second])

    assert now(jobs, [first, second, third]) == [JobState.COMPLETED] * 3
    assert [name for _, name in provider.calls].count("n0") == 1


def test_a_refused_claim_takes_the_next_job_and_an_early_job_is_sent_again(jobs: Jobs) -> None:
    taken, waiting = made(jobs, [], [])
    jobs.work(taken)
    early = jobs.enqueue("charge", {"name": "early"}, run_at=jobs.clock() + 60_000)

    with crash_after(None) as calls:
        work(jobs, [taken, early])

    assert now(jobs, [taken, waiting, early]) == [JobState.COMPLETED, JobState.COMPLETED, JobState.DELAYED]
    assert calls.names.count("SendMessage") == 1


def looks_of(jobs: Jobs, *batches: list[Job]) -> list[int]:
    """How often the waiting jobs were looked at for each of these full batches."""
    numbers: list[int] = []
    for batch in batches:
        with crash_after(None) as calls:
            work(jobs, batch, full=True)
        numbers.append(calls.names.count("Query"))
    return numbers


def test_what_a_full_batch_sees_of_the_waiting_jobs_serves_the_next_batches_too(jobs: Jobs) -> None:
    several = sorted(made(jobs, *([[]] * 50)), key=lambda job: (job.rank, job.id))  # as they are served

    assert looks_of(jobs, several[:10], several[10:20], several[20:30], several[30:40]) == [1, 0, 0, 0]
    assert looks_of(jobs, several[40:]) == [1]  # what was seen is used up
    assert set(now(jobs, several)) == {JobState.COMPLETED}


def test_a_second_later_the_waiting_jobs_are_looked_at_again_so_that_an_urgent_one_passes(jobs: Jobs) -> None:
    several = made(jobs, *([[]] * 30))
    work(jobs, several[:10], full=True)
    urgent = jobs.enqueue("charge", {"name": "urgent"}, priority=50)
    jobs.advance(1)

    work(jobs, several[10:20], full=True)

    assert jobs.get(urgent).state is JobState.COMPLETED
    assert states(jobs.open()) == {JobState.WAITING: 11}


def permits_of(jobs: Jobs, several: list[Job]) -> list[JobMessage]:
    return [JobMessage.for_job(jobs.get(job)) for job in several]


def test_an_urgent_job_passes_delayed_ones_too_and_the_one_that_gave_way_is_sent_for_again(jobs: Jobs) -> None:
    late = made(jobs, *([[]] * 10), run_at=jobs.clock() + 900_000)
    jobs.advance(901)
    urgent = jobs.enqueue("charge", {"name": "urgent"}, priority=50)
    jobs.receive("money")
    jobs.delete("money")

    jobs.worker.work(permits_of(jobs, late), lambda: 60_000, full=True)

    assert jobs.get(urgent).state is JobState.COMPLETED
    assert Counter(now(jobs, late)) == {JobState.COMPLETED: 9, JobState.DELAYED: 1}
    jobs.drain("money")
    assert set(now(jobs, late)) == {JobState.COMPLETED}


def test_delayed_jobs_of_a_tenant_ahead_of_its_rate_give_way_to_others(jobs: Jobs) -> None:
    ahead = RateLimitResult(True, 100, 0, 0, 0, virtual_time_ms=jobs.clock() + 60_000, interval_us=1_000_000)
    news = [jobs.new("charge", {"name": f"n{n}"}, run_at=jobs.clock() + 1000) for n in range(10)]
    late = [made.job for made in jobs.service.enqueue_many(news, ADMIN, None, ahead) if isinstance(made, Enqueued)]
    jobs.advance(5)
    other = jobs.enqueue("charge", {"name": "other"})

    jobs.worker.work(permits_of(jobs, late), lambda: 60_000, full=True)

    assert jobs.get(other).state is JobState.COMPLETED
    assert jobs.get(late[-1]).state is JobState.DELAYED
    jobs.advance(60)
    jobs.sweep()
    assert jobs.get(late[-1]).rank == rank(0, late[-1].run_at + 69_000)


def test_when_another_worker_has_taken_the_window_it_is_read_again(jobs: Jobs) -> None:
    several = made(jobs, *([[]] * 40))
    work(jobs, several[:10], full=True)
    jobs.work(several[10], jobs.new_worker("another"))

    assert looks_of(jobs, several[10:20], several[20:30]) == [0, 1]
    assert states(jobs.all())[JobState.COMPLETED] == 31


@pytest.mark.parametrize("number", [1, 2])
def test_an_answer_about_a_batch_that_gets_lost_costs_no_attempt(jobs: Jobs, provider: Provider, number: int) -> None:
    several = made(jobs, [], [], [])
    with sent_twice(aws.dynamodb(), BATCH, number):
        work(jobs, several)

    assert [(job.state, job.attempt, len(job.attempts)) for job in map(jobs.get, several)] == [
        (JobState.COMPLETED, 1, 1)
    ] * 3
    assert set(provider.effects.values()) == {1}


def test_a_statement_that_is_throttled_is_sent_alone_and_the_others_are_done(jobs: Jobs) -> None:
    several = made(jobs, [], [], [])
    with statements_answered(None, "ThrottlingError", "ProvisionedThroughputExceeded"), crash_after(None) as calls:
        work(jobs, several)

    assert now(jobs, several) == [JobState.COMPLETED] * 3
    assert calls.names[:3] == [BATCH, "UpdateItem", "UpdateItem"]


def test_what_stays_throttled_is_delivered_again_and_the_others_are_done(jobs: Jobs) -> None:
    several = made(jobs, [], [], [])
    code = "ProvisionedThroughputExceededException"
    with statements_answered(None, "ThrottlingError", None), failing(aws.dynamodb(), "UpdateItem", code=code) as calls:
        with pytest.raises(ClientError, match=code):
            work(jobs, several)
        assert calls[0] == "UpdateItem"

    assert now(jobs, several)[1] is JobState.WAITING


def test_when_the_claim_of_a_batch_fails_it_is_delivered_again_and_nothing_has_run(
    jobs: Jobs, provider: Provider
) -> None:
    several = made(jobs, [], [])
    with failing(aws.dynamodb(), BATCH, code="InternalServerError"), pytest.raises(ClientError):
        work(jobs, several)

    assert provider.calls == []
    assert now(jobs, several) == [JobState.WAITING] * 2


def test_a_cancel_or_a_new_child_in_between_takes_no_claim_of_a_batch(jobs: Jobs) -> None:
    several = made(jobs, [], [], [])
    cancelled, parent, _ = several
    charge, lock = effects.PROVIDER.charge, threading.Lock()
    children: list[Job] = []

    def meanwhile(key: str, payload: effects.Charge) -> dict[str, Any]:
        with lock:
            if not children:
                jobs.lifecycle.cancel(cancelled.id, ADMIN)
                children.append(jobs.enqueue("note", depends_on=(parent.id,)))
        return charge(key, payload)

    with patch.object(effects.PROVIDER, "charge", meanwhile), patch("adbot_queue.jobs.context.Context.check_cancelled"):
        work(jobs, several)

    assert now(jobs, several) == [JobState.COMPLETED] * 3
    assert not jobs.get(cancelled).cancel_requested
    assert jobs.get(children[0]).state is JobState.WAITING


def test_one_that_hangs_is_given_up_while_the_others_are_written_down(jobs: Jobs) -> None:
    released = threading.Event()
    charge = effects.PROVIDER.charge

    def stuck(key: str, payload: effects.Charge) -> dict[str, Any]:
        if payload.name == "n1":
            released.wait(30)
        return charge(key, payload)

    with known_types(charging(timeout_s=1)), patch.object(effects.PROVIDER, "charge", stuck):
        several = made(jobs, [], [], [])
        work(jobs, several)
        released.set()

    assert now(jobs, several) == [JobState.COMPLETED, JobState.DELAYED, JobState.COMPLETED]
    failure = jobs.get(several[1]).failure
    assert failure
    assert failure.kind == "timeout"


def test_types_that_run_alone_follow_one_another_and_are_put_off_when_time_runs_out(
    jobs: Jobs, provider: Provider
) -> None:
    running: list[int] = []
    most: list[int] = []
    charge = effects.PROVIDER.charge

    def counted(key: str, payload: effects.Charge) -> dict[str, Any]:
        running.append(1)
        most.append(len(running))
        answer = charge(key, payload)
        running.pop()
        return answer

    with known_types(charging(parallel=False)), patch.object(effects.PROVIDER, "charge", counted):
        several = made(jobs, [], [], [])
        work(jobs, several)
        assert (now(jobs, several), max(most)) == ([JobState.COMPLETED] * 3, 1)

        late = made(jobs, ["good"], ["good", "good"], ["good", "good", "good"])
        left = iter([60_000] * 3 + [1_000] * 9)
        messages = [JobMessage(job.id, job.queue, job.rank) for job in late]
        jobs.worker.work(messages, lambda: next(left))

    put_off = [jobs.get(job) for job in late if jobs.get(job).state is JobState.DELAYED]
    assert put_off
    assert {(job.failure.kind, job.attempt) for job in put_off if job.failure} == {("snoozed", 0)}


def test_without_time_left_nothing_is_claimed_and_every_permit_is_sent_again(jobs: Jobs, provider: Provider) -> None:
    several = made(jobs, [], [], [])
    jobs.receive("money")
    jobs.delete("money")

    work(jobs, several, milliseconds=10_000)

    assert provider.calls == []
    assert states([jobs.get(job) for job in several]) == {JobState.WAITING: 3}
    assert len(jobs.receive("money")) == 3


class TestSideBySide:
    """The runner itself."""

    def ends(self, crew: TaskGroup[str]) -> list[TaskResult[str]]:
        found: list[TaskResult[str]] = []
        while crew:
            found += crew.wait()
        return found

    def test_results_and_errors_come_back_under_their_names(self) -> None:
        crew: TaskGroup[str] = TaskGroup(DaemonThreadPool())
        error = ValueError("no")

        def fail() -> None:
            raise error

        crew.start("good", lambda: 5, 10)
        crew.start("bad", fail, 10)

        assert {end.name: (end.result, end.error) for end in self.ends(crew)} == {
            "good": (5, None),
            "bad": (None, error),
        }
        assert crew.wait() == []

    def test_a_late_call_is_reported_once_and_its_thread_is_replaced(self) -> None:
        threads, released = DaemonThreadPool(), threading.Event()
        crew: TaskGroup[str] = TaskGroup(threads)
        crew.start("late", lambda: released.wait(30), 0.01)

        (late,) = self.ends(crew)
        assert isinstance(late.error, TimeoutError)
        crew.start("next", released.set, 10)
        assert [end.name for end in self.ends(crew)] == ["next"]

    def test_threads_are_kept(self) -> None:
        threads = DaemonThreadPool()
        seen = set()
        for _ in range(5):
            crew: TaskGroup[str] = TaskGroup(threads)
            crew.start("one", threading.get_ident, 10)
            seen |= {end.result for end in self.ends(crew)}
        assert len(seen) <= 2  # the last one is perhaps not idle yet when the next is started
