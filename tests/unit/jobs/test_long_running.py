"""A long-running job: killed, doubled, cancelled, resumed, with a clock that jumps. Each item is done exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core import aws
from adbot_queue.core.dynamodb import Transaction, TransactionConflict
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.api.schemas import JobView
from adbot_queue.jobs.errors import TransientError
from adbot_queue.jobs.long_running import MAX_CHECKPOINT_BYTES, NextRun, Progress, Slice, allowed, next_at
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.retry import RetryPolicy
from adbot_queue.jobs.store.items import item_of
from adbot_queue.queues.statistics import change_of
from tests.builders import long_work
from tests.builders.crash import Killed, crash_after, every_call, sent_twice
from tests.builders.jobs import Jobs, known_types
from tests.builders.long_work import CountItems, Script, counting_items, new_script, times
from tests.builders.world import ADMIN, AwsHarness, empty

ITEMS = 10
ONCE = dict.fromkeys(range(ITEMS), 1)
ATTEMPTS = 3


@pytest.fixture(autouse=True)
def _declared(on_aws: AwsHarness) -> Iterator[None]:
    """Two queues are swept in a sixth of the time."""
    few = {name: job_queues.QUEUES[name] for name in ("money", "maintenance")}
    with (
        known_types(counting_items(policy=RetryPolicy(ATTEMPTS, 1000))),
        patch.dict(job_queues.QUEUES, few, clear=True),
    ):
        yield


@pytest.fixture(autouse=True)
def script(on_aws: AwsHarness) -> Script:
    return new_script(on_aws)


def progress(job: Job) -> Progress:
    return Progress.read(job.checkpoint)


def shown(job: Job) -> dict[str, Any]:
    view = JobView.of(job).progress
    assert view
    return view.model_dump()


def before(item: int, act: Callable[[], object]) -> Callable[[int], None]:
    """Act before the slice that begins with `item` is decided on, the first time."""
    acted: list[int] = []

    def before_slice(first: int) -> None:
        if first == item and not acted:
            acted.append(item)
            act()

    return before_slice


def fail(error: Exception) -> Callable[[], None]:
    def raises() -> None:
        raise error

    return raises


def slow(jobs: Jobs) -> Callable[[int], None]:
    """Each slice takes five seconds: a run has time for three of them."""
    return lambda _: jobs.advance(5)


# Slices and runs


def test_slices_run_until_nothing_is_left(jobs: Jobs) -> None:
    job = jobs.run("count-items")

    assert (job.state, times(ITEMS), job.slices) == (JobState.COMPLETED, ONCE, 5)
    assert job.result["outcomes"] == {"even": 5, "odd": 5}


def test_progress_shows_items_outcomes_and_cut_off(jobs: Jobs, script: Script) -> None:
    seen: list[dict[str, Any]] = []
    job = jobs.enqueue("count-items")
    assert shown(job) == {"done": 0, "of": None, "outcomes": {}, "cut_off": None, "note": ""}
    script.before_slice = before(6, lambda: seen.append(shown(jobs.get(job))))
    jobs.work(job)

    expected = {"of": 10, "cut_off": "2026-09-21T14:13:20.000Z", "note": ""}
    assert seen == [{"done": 6, "outcomes": {"even": 3, "odd": 3}, **expected}]
    assert shown(jobs.get(job)) == {"done": 10, "outcomes": {"even": 5, "odd": 5}, **expected}


def test_a_percentage_of_another_job_is_shown_as_progress(jobs: Jobs) -> None:
    job = jobs.enqueue("charge")
    assert JobView.of(job).progress is None
    active = jobs.store.claim(job.id, job.queue, "w", "lease", jobs.clock(), jobs.clock() + 60_000)
    assert active
    jobs.store.set_progress(active, {"percent": 40, "note": "halfway"})

    assert shown(jobs.get(job)) == {"done": 40, "of": 100, "outcomes": {}, "cut_off": None, "note": "halfway"}


def test_a_run_stops_before_its_deadline_and_spends_no_attempt(jobs: Jobs, script: Script) -> None:
    script.before_slice = slow(jobs)
    job = jobs.run("count-items")

    assert (job.state, job.attempt, job.attempts, job.failure) == (JobState.WAITING, 0, (), None)
    assert progress(job).done == 6
    jobs.settle()
    done = jobs.get(job)
    assert (done.state, len(done.attempts), times(ITEMS)) == (JobState.COMPLETED, 1, ONCE)


def test_more_runs_than_attempts_are_no_failure(jobs: Jobs, script: Script) -> None:
    script.before_slice = lambda _: jobs.advance(15)
    job = jobs.enqueue("count-items", {"items": 12, "size": 1})
    jobs.settle()

    assert (jobs.get(job).state, times(12)) == (JobState.COMPLETED, dict.fromkeys(range(12), 1))


def test_a_rate_delays_the_next_slice(jobs: Jobs) -> None:
    began = jobs.clock()
    job = jobs.enqueue("count-items", {"items": 4, "size": 1, "rate": 0.1})
    jobs.settle()

    # The first item catches up for five seconds; three pauses of ten follow.
    assert jobs.get(job).state is JobState.COMPLETED
    assert jobs.clock() - began >= 25_000
    assert times(4) == dict.fromkeys(range(4), 1)


@pytest.mark.parametrize(
    ("paced_at", "now", "rate", "expected"),
    [
        (100_000, 100_000, 10, 100_100),  # right on time
        (100_000, 101_000, 10, 100_100),  # a second late: it is made up for
        (100_000, 160_000, 10, 155_100),  # a minute late: at most five seconds are made up for
        (100_000, 99_000, 3, 100_334),  # the clock went back; rounded up
    ],
)
def test_next_at_never_exceeds_the_rate(paced_at: int, now: int, rate: float, expected: int) -> None:
    assert next_at(paced_at, now, rate) == expected


@pytest.mark.parametrize("rate", [0.1, 0.7, 3, 5, 100])
def test_as_many_items_are_allowed_as_may_follow_each_other(rate: float) -> None:
    for late_ms in (-1, 0, 1, 199, 200, 1000, 4999, 60_000):
        now = 1_000_000
        paced_at, number = now - late_ms, 0
        while paced_at <= now and number < 1000:
            paced_at, number = next_at(paced_at, now, rate), number + 1
        assert 0 <= allowed(now - late_ms, now, rate) - number <= 1  # `next_at` rounds up


# Deaths and failures


@pytest.mark.long
@pytest.mark.parametrize("size", [3, 10])
def test_a_kill_after_any_call_loses_nothing_and_repeats_nothing(on_aws: AwsHarness, size: int) -> None:
    def fresh() -> Jobs:
        empty()
        new_script(on_aws)
        jobs = Jobs(on_aws)
        long_work.SCRIPT.before_slice = slow(jobs)
        jobs.enqueue("count-items", {"size": size})
        return jobs

    jobs = fresh()
    with crash_after(None) as calls:
        jobs.drain()
    assert len(calls.names) > 5

    for call in every_call(len(calls.names)):
        jobs = fresh()
        with suppress(Killed), crash_after(call):
            jobs.drain()
        jobs.settle(20)
        (job,) = jobs.all()
        assert (job.state, times(ITEMS)) == (JobState.COMPLETED, ONCE), f"killed after {calls.names[call - 1]}"
        assert (job.result["done"], job.result["outcomes"]) == (10, {"even": 5, "odd": 5})


@pytest.mark.parametrize("number", range(1, 6))
def test_a_slice_whose_answer_was_lost_is_counted_once(jobs: Jobs, number: int) -> None:
    with sent_twice(aws.dynamodb(), "TransactWriteItems", number):
        jobs.enqueue("count-items")
        jobs.settle()

    assert times(ITEMS) == ONCE


def test_a_worker_that_lost_its_lease_writes_nothing_more(jobs: Jobs, script: Script) -> None:
    job = jobs.enqueue("count-items")

    def another_takes_over() -> None:
        jobs.advance(600)
        jobs.sweep()
        jobs.advance(60)
        jobs.work(jobs.get(job), jobs.new_worker("worker-2"))

    script.before_slice = before(4, another_takes_over)
    jobs.work(job)

    done = jobs.get(job)
    assert (done.state, done.worker, times(ITEMS)) == (JobState.COMPLETED, "worker-2", ONCE)
    assert progress(done).done == 10


def test_a_slice_whose_lease_was_lost_is_not_written_even_without_another_worker(jobs: Jobs, script: Script) -> None:
    def the_lease_runs_out() -> None:
        jobs.advance(600)
        jobs.sweep()

    script.before_slice = before(4, the_lease_runs_out)
    job = jobs.run("count-items")

    assert (job.state, job.lease, progress(job).done) == (JobState.DELAYED, None, 4)
    assert times(ITEMS) == dict.fromkeys(range(4), 1)


def test_two_workers_that_take_turns_do_each_item_once(jobs: Jobs, script: Script) -> None:
    job = jobs.enqueue("count-items")

    def another_does_a_part() -> None:
        jobs.advance(600)
        jobs.sweep()
        jobs.advance(60)
        script.before_slice = slow(jobs)
        jobs.work(jobs.get(job), jobs.new_worker("worker-2"))
        assert progress(jobs.get(job)).done == 8

    script.before_slice = before(2, another_does_a_part)
    jobs.work(job)
    assert progress(jobs.get(job)).done == 8
    jobs.settle()

    assert (jobs.get(job).state, times(ITEMS)) == (JobState.COMPLETED, ONCE)


def test_a_failed_slice_spends_an_attempt_and_progress_resets_the_count(jobs: Jobs, script: Script) -> None:
    fails: list[int] = []

    def twice_each(first: int) -> None:
        if fails.count(first) < ATTEMPTS - 1:
            fails.append(first)
            raise TransientError("HTTP 503")

    script.before_slice = twice_each
    job = jobs.enqueue("count-items")
    jobs.settle()

    done = jobs.get(job)
    assert len(fails) == 2 * 5 > ATTEMPTS
    assert (done.state, times(ITEMS)) == (JobState.COMPLETED, ONCE)
    assert [one.number for one in done.attempts[:4]] == [1, 2, 1, 2]


def test_a_slice_that_always_fails_ends_the_job_dead_after_its_attempts(jobs: Jobs, script: Script) -> None:
    def fails(first: int) -> None:
        if first == 4:
            raise ValueError("no such thing")

    script.before_slice = fails
    job = jobs.enqueue("count-items")
    jobs.settle()

    dead = jobs.get(job)
    assert (dead.state, len(dead.attempts), progress(dead).done) == (JobState.DEAD, ATTEMPTS, 4)


def test_a_slice_that_kills_its_worker_ends_the_job_dead_after_its_attempts(jobs: Jobs, script: Script) -> None:
    def dies(first: int) -> None:
        if first == 4:
            raise KeyboardInterrupt

    script.before_slice = dies
    job = jobs.enqueue("count-items")
    for _ in range(20):
        with suppress(KeyboardInterrupt):
            jobs.drain()
        jobs.advance(180)
        jobs.sweep()
    dead = jobs.get(job)
    assert (dead.state, dead.failure and dead.failure.kind, progress(dead).done) == (JobState.DEAD, "stalled", 4)
    assert len(dead.attempts) == ATTEMPTS


def test_a_refused_effect_decides_on_the_slice_anew(jobs: Jobs, script: Script) -> None:
    refused: list[int] = []

    def refuses(transaction: Transaction, first: int) -> None:
        if first == 4 and len(refused) < 2:
            refused.append(first)
            key = {"pk": "NOWHERE", "sk": "N"}
            transaction.check("nowhere", script.table, key, condition="attribute_exists(pk)")

    script.effects = refuses
    job = jobs.run("count-items")

    assert refused == [4, 4]
    assert (job.state, len(job.attempts), times(ITEMS)) == (JobState.COMPLETED, 1, ONCE)


def test_a_contended_slice_is_tried_again_within_its_run(jobs: Jobs, script: Script) -> None:
    script.before_slice = before(4, fail(TransactionConflict("TransactionConflict")))
    job = jobs.run("count-items")

    assert (job.state, len(job.attempts), times(ITEMS)) == (JobState.COMPLETED, 1, ONCE)


# Cancelling and resuming


def test_no_slice_is_written_after_a_cancel(jobs: Jobs, script: Script) -> None:
    job = jobs.enqueue("count-items")
    script.before_slice = before(4, lambda: jobs.lifecycle.cancel(job.id, ADMIN, "not wanted"))
    jobs.work(job)

    stopped = jobs.get(job)
    assert (stopped.state, progress(stopped).done) == (JobState.CANCELLED, 4)
    assert times(ITEMS) == dict.fromkeys(range(4), 1)


def test_a_job_between_two_runs_is_cancelled_at_once(jobs: Jobs, script: Script) -> None:
    script.before_slice = slow(jobs)
    job = jobs.run("count-items")
    assert jobs.lifecycle.cancel(job.id, ADMIN, "not wanted").state is JobState.CANCELLED
    jobs.settle()

    assert times(ITEMS) == dict.fromkeys(range(6), 1)


@pytest.mark.parametrize("pause", [0, 5])
def test_a_cancel_while_the_job_puts_itself_back_ends_it(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, pause: int
) -> None:
    job = jobs.enqueue("count-items")

    def is_cancelled_meanwhile(*_: object) -> Slice:
        jobs.lifecycle.cancel(job.id, ADMIN)
        raise NextRun("more to do", pause)

    monkeypatch.setattr(CountItems, "next_slice", is_cancelled_meanwhile)
    jobs.work(job)

    stopped = jobs.get(job)
    assert (stopped.state, stopped.cancel_requested) == (JobState.CANCELLED, False)
    assert stopped.failure
    assert stopped.failure.message == "cancelled while it ran"


def test_a_cancelled_job_is_resumed_from_its_cursor(jobs: Jobs, script: Script) -> None:
    job = jobs.enqueue("count-items")
    script.before_slice = before(4, lambda: jobs.lifecycle.cancel(job.id, ADMIN))
    jobs.work(job)
    cut_off = shown(jobs.get(job))["cut_off"]
    jobs.advance(3600)
    jobs.lifecycle.retry(job.id, ADMIN, "go on")
    jobs.settle()

    done = jobs.get(job)
    assert (done.state, times(ITEMS), shown(done)["cut_off"]) == (JobState.COMPLETED, ONCE, cut_off)
    assert done.result == {"done": 10, "of": 10, "outcomes": {"even": 5, "odd": 5}, "cut_off": cut_off}


def test_a_dead_job_is_resumed_from_its_cursor(jobs: Jobs, script: Script) -> None:
    script.before_slice = lambda first: fail(ValueError("bug"))() if first == 6 else None
    job = jobs.enqueue("count-items")
    jobs.settle()
    assert jobs.get(job).state is JobState.DEAD
    script.before_slice = lambda _: None
    jobs.lifecycle.retry(job.id, ADMIN, "fixed")
    jobs.settle()

    assert (jobs.get(job).state, times(ITEMS)) == (JobState.COMPLETED, ONCE)


def test_a_retry_with_another_payload_starts_over(jobs: Jobs, script: Script) -> None:
    job = jobs.enqueue("count-items")
    script.before_slice = before(4, lambda: jobs.lifecycle.cancel(job.id, ADMIN))
    jobs.work(job)
    jobs.lifecycle.retry(job.id, ADMIN, "fewer", payload={"items": 6})
    jobs.settle()

    assert (jobs.get(job).state, shown(jobs.get(job))["done"]) == (JobState.COMPLETED, 6)
    assert times(ITEMS) == {0: 2, 1: 2, 2: 2, 3: 2, 4: 1, 5: 1}


# Time


@pytest.mark.parametrize("seconds", [3600, -3600, -86_400 * 400, 86_400 * 400])
def test_a_clock_that_jumps_loses_nothing_and_repeats_nothing(jobs: Jobs, script: Script, seconds: int) -> None:
    job = jobs.enqueue("count-items")
    script.before_slice = before(4, lambda: jobs.advance(seconds))
    jobs.work(job)
    jobs.clock.advance(-seconds)
    jobs.settle()

    assert (jobs.get(job).state, times(ITEMS)) == (JobState.COMPLETED, ONCE)


# What is written and shown


def test_runs_between_slices_count_as_postponed_and_not_as_retried(jobs: Jobs, script: Script) -> None:
    script.before_slice = slow(jobs)
    waiting = jobs.enqueue("count-items")
    active = jobs.store.claim(waiting.id, "maintenance", "w", "lease", jobs.clock(), jobs.clock() + 60_000)
    assert active
    between = active.between_slices(jobs.clock() + 1000, jobs.clock())

    assert change_of(item_of(active), item_of(between)).counts == {"maintenance": {"snoozed": 1}}


def test_a_checkpoint_above_the_limit_fails_the_job(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    large = Slice("x" * MAX_CHECKPOINT_BYTES)
    monkeypatch.setattr(CountItems, "next_slice", lambda *_: large)
    job = jobs.run("count-items")

    assert job.state is JobState.FAILED
    assert job.failure
    assert f"checkpoint: must be at most {MAX_CHECKPOINT_BYTES} bytes" in job.failure.message


def test_a_slice_that_changes_nothing_is_not_written(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Progress] = []

    def recheck(_: CountItems, seen: Progress) -> Slice:
        looks.append(seen)
        return Slice(None, not_before=jobs.clock() + 5_000)

    monkeypatch.setattr(CountItems, "next_slice", recheck)
    with crash_after(None) as calls:
        job = jobs.run("count-items")

    assert (looks, job.state, job.checkpoint) == ([Progress()], JobState.DELAYED, {})
    assert "TransactWriteItems" not in calls.names


def test_long_running_jobs_are_listed_newest_first(jobs: Jobs, on_aws: AwsHarness) -> None:
    made = []
    for _ in range(3):
        jobs.advance(1)
        made.append(jobs.enqueue("count-items").id)
        jobs.enqueue("charge", {"name": "a"})
    jobs.drain("maintenance")

    first = on_aws.http("jobs", "GET /jobs", role="viewer", query={"long": "true", "limit": "2"})
    rest = on_aws.http("jobs", "GET /jobs", role="viewer", query={"long": "true", "cursor": first.json["next"]})
    assert [item["job_id"] for item in first.json["items"] + rest.json["items"]] == made[::-1]
    assert (first.json["items"][0]["progress"]["done"], rest.json["next"]) == (10, None)


def test_only_long_running_jobs_can_be_listed_without_a_queue(on_aws: AwsHarness) -> None:
    for query in ({}, {"long": "false"}):
        refused = on_aws.http("jobs", "GET /jobs", role="viewer", query=query)
        assert (refused.status, refused.json["errors"][0]["field"]) == (422, "long")
