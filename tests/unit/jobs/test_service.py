"""Jobs from the outside: enqueued, run, retried, cancelled."""

from __future__ import annotations

import threading
from unittest.mock import patch

import pytest

from adbot_queue.core import aws
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Invalid, RateLimited
from adbot_queue.jobs.api.list_schemas import CleanQuery
from adbot_queue.jobs.api.purge import clean
from adbot_queue.jobs.errors import TransientError
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.service import Enqueued
from adbot_queue.jobs.store.pages import JobFilter
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.ledger import SYSTEM
from adbot_queue.platform import health_log
from adbot_queue.platform.mode import ProcessingMode
from tests.builders import effects
from tests.builders.crash import sent_twice
from tests.builders.effects import Provider, charging
from tests.builders.jobs import Jobs, known_types
from tests.builders.payments import failing
from tests.builders.world import ADMIN, AwsHarness


def test_a_job_is_enqueued_run_and_has_its_result(jobs: Jobs, provider: Provider) -> None:
    job = jobs.enqueue("charge", {"name": "a"})
    assert (job.state, job.queue) == (JobState.WAITING, "money")

    jobs.drain()

    done = jobs.get(job)
    assert (done.state, done.result, done.attempt) == (JobState.COMPLETED, {"charge": "ch_0"}, 1)
    assert [attempt.failure for attempt in done.attempts] == [None]
    assert provider.effects == {"a": 1}


def test_a_transient_failure_is_tried_again_after_a_delay_with_the_same_provider_key(
    jobs: Jobs, provider: Provider
) -> None:
    job = jobs.run("charge", {"goes": ["transient"]})

    assert job.state is JobState.DELAYED
    assert job.run_at is not None
    assert 1_600 <= job.run_at - jobs.clock() <= 2_400
    jobs.settle()
    assert jobs.get(job).state is JobState.COMPLETED
    assert len({key for key, _ in provider.calls}) == 1


def test_the_provider_saying_no_fails_the_job_at_once(jobs: Jobs) -> None:
    job = jobs.run("charge", {"goes": ["permanent"]})

    assert job.state is JobState.FAILED
    assert job.failure
    assert (job.failure.kind, job.failure.message) == ("permanent", "card declined")


def test_when_all_attempts_are_spent_the_job_is_dead(jobs: Jobs) -> None:
    job = jobs.enqueue("mail", {"goes": ["transient"] * 9})

    jobs.settle()

    dead = jobs.get(job)
    assert (dead.state, dead.attempt, len(dead.attempts)) == (JobState.DEAD, 3, 3)
    assert dead.fingerprint
    assert dead.expires_at is None


def test_postponed_work_costs_no_attempt(jobs: Jobs) -> None:
    job = jobs.run("mail", {"goes": ["snoozed"] * 5})

    assert (job.state, job.attempt) == (JobState.DELAYED, 0)
    jobs.settle()
    done = jobs.get(job)
    assert (done.state, done.attempt, len(done.attempts)) == (JobState.COMPLETED, 1, 6)


def test_the_same_request_with_the_same_key_is_the_same_job(jobs: Jobs) -> None:
    first = jobs.enqueued("charge", {"name": "a"}, key="k")
    again = jobs.enqueued("charge", {"name": "a"}, key="k")

    assert again.replayed
    assert again.job.id == first.job.id
    assert len(jobs.all()) == 1


def test_without_a_key_every_call_has_a_job_of_its_own(jobs: Jobs) -> None:
    assert jobs.enqueue("note").id != jobs.enqueue("note").id


def test_a_key_with_another_payload_is_refused(jobs: Jobs) -> None:
    jobs.enqueue("charge", {"name": "a"}, key="k")

    with pytest.raises(IdempotencyMismatch):
        jobs.enqueue("charge", {"name": "b"}, key="k")


def test_a_key_means_another_job_after_its_window(jobs: Jobs) -> None:
    first = jobs.enqueue("mail", {"name": "a"}, key="k")
    jobs.advance(86_401)
    assert jobs.enqueue("mail", {"name": "b"}, key="k").id != first.id


def test_a_bad_payload_names_its_fields(jobs: Jobs) -> None:
    with pytest.raises(Invalid) as caught:
        jobs.enqueue("charge", {"name": 5, "colour": "red"})

    assert {error.field for error in caught.value.errors} == {"payload.name", "payload.colour"}


def test_a_delayed_job_waits_for_its_time(jobs: Jobs, provider: Provider) -> None:
    job = jobs.enqueue("charge", run_at=jobs.clock() + 3_600_000)

    jobs.drain()
    assert jobs.get(job).state is JobState.DELAYED
    jobs.advance(3_599)
    jobs.sweep()
    jobs.work(job)
    assert provider.calls == []
    jobs.settle()
    assert jobs.get(job).state is JobState.COMPLETED


def test_a_worker_that_dies_costs_an_attempt_and_the_job_runs_again(jobs: Jobs, provider: Provider) -> None:
    job = jobs.enqueue("charge")
    jobs.store.claim(job.id, "money", "dies", "lease", jobs.clock(), jobs.clock() + 45_000)

    jobs.advance(46)
    assert jobs.sweep()["stalled"] == 1
    assert jobs.get(job).attempts[0].failure is not None
    jobs.settle()

    done = jobs.get(job)
    assert (done.state, done.attempt) == (JobState.COMPLETED, 2)


def test_a_worker_whose_lease_ran_out_writes_nothing(jobs: Jobs) -> None:
    job = jobs.enqueue("charge")
    taken = jobs.store.claim(job.id, "money", "slow", "lease", jobs.clock(), jobs.clock() + 45_000)
    assert taken
    jobs.advance(46)
    jobs.sweep()

    jobs.worker.finish(taken, taken.completed({"late": True}, jobs.clock()))

    assert jobs.get(job).state is JobState.DELAYED


def test_a_cancelled_job_does_not_run(jobs: Jobs, provider: Provider) -> None:
    job = jobs.enqueue("charge")
    assert jobs.lifecycle.cancel(job.id, ADMIN).state is JobState.CANCELLED

    jobs.drain()

    assert provider.calls == []
    assert [entry["action"] for entry in jobs.world.ledger(target=f"job:{job.id}")] == ["job.cancel"]


def test_a_running_job_is_asked_to_stop(jobs: Jobs) -> None:
    job = jobs.enqueue("charge")
    taken = jobs.store.claim(job.id, "money", "w", "lease", jobs.clock(), jobs.clock() + 45_000)
    assert taken

    assert jobs.lifecycle.cancel(job.id, ADMIN).cancel_requested
    assert jobs.worker._is_cancelled(taken)


@pytest.mark.parametrize("attempts_before", [0, 9])
def test_a_job_that_is_cancelled_while_it_runs_and_then_fails_is_cancelled(
    jobs: Jobs, provider: Provider, attempts_before: int
) -> None:
    """Neither tried again nor a dead letter, also where it was the last attempt."""
    job = jobs.enqueue("charge", {"goes": ["transient"] * attempts_before})
    for _ in range(attempts_before):
        jobs.work(jobs.get(job))
        jobs.advance(3600)

    def cancelled_meanwhile(_key: str, _payload: effects.Charge) -> dict[str, str]:
        assert jobs.lifecycle.cancel(job.id, ADMIN).cancel_requested
        raise TransientError("HTTP 503")

    with patch.object(provider, "charge", cancelled_meanwhile):
        jobs.work(jobs.get(job))

    ended = jobs.get(job)
    assert (ended.state, ended.cancel_requested, ended.attempt) == (JobState.CANCELLED, False, attempts_before + 1)
    assert ended.attempts[-1].failure == Failure("transient", "TransientError", "HTTP 503")


def test_a_cancelled_job_whose_worker_dies_is_cancelled_by_the_sweeper(jobs: Jobs) -> None:
    job = jobs.enqueue("charge")
    jobs.store.claim(job.id, "money", "w", "lease", jobs.clock(), jobs.clock() + 45_000)
    jobs.lifecycle.cancel(job.id, ADMIN)
    jobs.advance(60)

    jobs.sweep()

    assert jobs.get(job).state is JobState.CANCELLED


def test_what_is_completed_cannot_be_cancelled_or_retried(jobs: Jobs) -> None:
    job = jobs.run("charge")

    with pytest.raises(Conflict):
        jobs.lifecycle.cancel(job.id, ADMIN)
    with pytest.raises(Conflict):
        jobs.lifecycle.retry(job.id, ADMIN)


def test_a_failed_job_is_retried_under_another_provider_key_and_a_dead_one_under_the_same(
    jobs: Jobs, provider: Provider
) -> None:
    failed = jobs.run("charge", {"name": "f", "goes": ["permanent"]})
    dead = jobs.enqueue("mail", {"name": "d", "goes": ["transient"] * 3})
    jobs.settle()

    for job in (failed, dead):
        jobs.lifecycle.retry(job.id, ADMIN)
    jobs.settle()

    assert len({key for key, name in provider.calls if name == "f"}) == 2
    assert len({key for key, name in provider.calls if name == "d"}) == 1
    assert jobs.get(dead).state is JobState.COMPLETED


def test_in_direct_mode_the_request_executes_the_job(jobs: Jobs) -> None:
    jobs.mode = ProcessingMode.SYNC_DIRECT

    job = jobs.enqueue("charge")

    assert (job.state, job.mode) == (JobState.COMPLETED, "sync_direct")
    assert jobs.functions.calls == [("test_MoneyWorker", "RequestResponse")]
    assert jobs.drain() == 0


def test_a_child_runs_when_its_parents_are_done(jobs: Jobs, provider: Provider) -> None:
    parents = [jobs.enqueue("note", {"name": name}) for name in "ab"]
    child = jobs.enqueue("charge", {"name": "c"}, depends_on=tuple(parent.id for parent in parents))
    assert child.state is JobState.DELAYED

    jobs.work(parents[0])
    assert jobs.get(child).blocked_by == {parents[1].id}
    jobs.work(parents[1])
    assert jobs.get(child).state is JobState.WAITING
    jobs.drain()
    assert [name for _, name in provider.calls] == ["a", "b", "c"]


def test_a_child_is_cancelled_when_a_parent_fails_unless_it_is_tolerant(jobs: Jobs) -> None:
    parent = jobs.enqueue("charge", {"goes": ["permanent"]})
    strict = jobs.enqueue("note", depends_on=(parent.id,))
    after = jobs.enqueue("note", depends_on=(strict.id,))
    run_if_parents_fail = jobs.enqueue("note", depends_on=(parent.id,), run_if_parents_fail=True)

    jobs.settle()

    assert [jobs.get(job).state for job in (strict, after, run_if_parents_fail)] == [
        JobState.CANCELLED,
        JobState.CANCELLED,
        JobState.COMPLETED,
    ]


def test_a_lost_message_is_sent_again(jobs: Jobs) -> None:
    job = jobs.enqueue("charge")
    jobs.receive("money")
    jobs.delete("money")

    jobs.advance(61)
    assert jobs.sweep()["sent"] == 1
    jobs.drain()

    assert jobs.get(job).state is JobState.COMPLETED


def test_lists_are_paged_newest_first(jobs: Jobs) -> None:
    made = []
    for number in range(5):
        made.append(jobs.enqueue("note", {"name": str(number)}, priority=number).id)
        jobs.advance(1)

    first, cursor = jobs.service.page("analytics", JobState.WAITING, 3, None)
    rest, end = jobs.service.page("analytics", JobState.WAITING, 3, cursor)

    assert [job.id for job in first + rest] == made[::-1]
    assert end is None


def test_a_filtered_list_is_paged_without_gap_or_repetition(jobs: Jobs) -> None:
    made: dict[bool, list[str]] = {True: [], False: []}
    for number in range(7):
        is_wanted = number % 2 == 0
        tags, kind = (("gold",), "note") if is_wanted else (("lead",), "report")
        made[is_wanted].append(jobs.enqueue("note", {"name": str(number)}, tags=tags, tenant=kind).id)
        jobs.advance(1)

    for wanted in (JobFilter(tag="gold"), JobFilter(user="note"), JobFilter("note", "gold", "note")):
        seen: list[str] = []
        cursor = None
        for _ in range(10):
            page, cursor = jobs.service.page("analytics", JobState.WAITING, 3, cursor, wanted)
            seen += [job.id for job in page]
            if cursor is None:
                break
        assert seen == made[True][::-1]
    assert jobs.service.page("analytics", JobState.WAITING, 3, None, JobFilter(type="other")) == ([], None)


def test_bad_ends_of_a_queue_are_found_among_those_of_the_others(jobs: Jobs) -> None:
    mine = [jobs.run("charge", {"name": f"m{number}", "goes": ["permanent"]}).id for number in range(3)]
    for number in range(5):
        jobs.run("mail", {"name": f"o{number}", "goes": ["permanent"]})

    page, following = jobs.service.page("money", JobState.FAILED, 2, None)
    rest, end = jobs.service.page("money", JobState.FAILED, 2, following)

    assert sorted(job.id for job in page + rest) == sorted(mine)
    assert (len(page), end) == (2, None)


def test_cleaning_counts_first_and_deletes_what_was_confirmed(jobs: Jobs) -> None:
    for number in range(3):
        jobs.run("charge", {"name": str(number)}, key=str(number))
    jobs.advance(3600)
    kept = jobs.run("charge", {"name": "new"})
    wanted = {"older_than_seconds": 60}

    counted = clean(jobs.service, "money", CleanQuery(**wanted), ADMIN, lambda: 60_000)
    assert (counted.count, counted.deleted) == (3, 0)
    with pytest.raises(Conflict):
        clean(jobs.service, "money", CleanQuery(**wanted, confirm=2), ADMIN, lambda: 60_000)
    assert clean(jobs.service, "money", CleanQuery(**wanted, confirm=3), ADMIN, lambda: 60_000).deleted == 3

    assert [job.id for job in jobs.all()] == [kept.id]
    with pytest.raises(Conflict, match="deleted"):
        jobs.enqueue("charge", {"name": "1"}, key="1")


def test_tokens_give_a_tenant_who_is_ahead_of_its_rate_a_later_place(jobs: Jobs) -> None:
    burst = jobs.service.acquire("ada", 1000)
    many = jobs.service.enqueue_many([jobs.new("note", {}, tenant="ada")] * 3, SYSTEM, None, burst)
    one = jobs.service.enqueue(jobs.new("note", {}, tenant="bob"), SYSTEM, None, jobs.service.acquire("bob"))

    ranks = [entry.job.rank for entry in many if isinstance(entry, Enqueued)]
    assert ranks == sorted(ranks)
    assert one.job.rank == ranks[0]
    assert ranks[1] != ranks[0]


def test_a_users_burst_is_limited_with_a_retry_after(jobs: Jobs) -> None:
    jobs.service.acquire("ada", 2000)

    with pytest.raises(RateLimited) as caught:
        jobs.service.acquire("ada")

    assert caught.value.headers["retry-after"] == "1"
    assert caught.value.headers["ratelimit-remaining"] == "0"


def test_when_the_queue_refuses_the_request_executes_the_job_and_says_so(jobs: Jobs, on_aws: AwsHarness) -> None:
    with failing(aws.sqs(), "SendMessage"):
        job = jobs.enqueue("charge")

    assert (job.state, job.mode) == (JobState.COMPLETED, "fallback")
    entries, _ = health_log.from_env().read(None, 10, None)
    assert [entry["event"] for entry in entries] == ["queue.refused"]


def test_jobs_of_a_paused_queue_wait_even_in_direct_mode(jobs: Jobs) -> None:
    jobs.mode = ProcessingMode.SYNC_DIRECT
    jobs.paused.add("money")

    assert jobs.enqueue("charge").state is JobState.WAITING
    jobs.advance(120)
    jobs.sweep()
    assert jobs.functions.calls == []

    jobs.paused.clear()
    jobs.sweep()
    assert jobs.functions.calls == [("test_MoneyWorker", "Event")]


def test_a_queues_rate_sends_messages_again_at_no_attempts_cost(jobs: Jobs, provider: Provider) -> None:
    made = jobs.enqueue_many([jobs.new("welcome", {"name": str(number)}) for number in range(12)])

    jobs.worker.work([JobMessage(job.id, "accounts", job.rank) for job in made], lambda: 60_000)

    assert len(provider.effects) == 10
    assert [jobs.get(job).attempt for job in made[10:]] == [0, 0]


def test_a_result_webhook_is_a_job_that_waits_for_its_job(jobs: Jobs) -> None:
    job = jobs.enqueue("charge", webhook_url="https://shop.example.com/hook")

    [teller] = jobs.assert_enqueued("deliver-webhook", payload={"job_id": job.id})
    assert (teller.state, teller.blocked_by) == (JobState.DELAYED, {job.id})
    jobs.work(job)
    assert jobs.get(teller).state is JobState.WAITING


def test_internal_types_are_the_platforms_own(jobs: Jobs) -> None:
    with pytest.raises(Invalid, match="only the platform"):
        jobs.enqueue("deliver-webhook", {"url": "https://a.example", "job_id": "x"}, ADMIN)


def test_a_processor_that_hangs_is_given_up_and_tried_again(jobs: Jobs) -> None:
    released = threading.Event()
    with known_types(charging("hangs", timeout_s=1)), patch.object(effects, "PROVIDER") as stuck:
        stuck.charge.side_effect = lambda *_: released.wait(30)
        job = jobs.run("hangs")
    released.set()

    assert job.failure
    assert (job.state, job.failure.kind) == (JobState.DELAYED, "timeout")


def test_the_same_job_twice_in_one_batch_is_one(jobs: Jobs) -> None:
    news = [jobs.new("charge", {"name": name}, key=key) for name, key in [("a", "k"), ("a", "k"), ("b", "k")]]

    first, again, other = jobs.service.enqueue_many(news, SYSTEM)

    assert isinstance(first, Enqueued)
    assert isinstance(again, Enqueued)
    assert (again.job.id, again.replayed) == (first.job.id, True)
    assert isinstance(other, IdempotencyMismatch)


def test_several_jobs_of_a_batch_may_wait_for_the_same_parent(jobs: Jobs) -> None:
    parent = jobs.enqueue("charge", {"name": "first"})
    children = jobs.enqueue_many(
        [jobs.new("charge", {"name": name}, depends_on=(parent.id,)) for name in ("a", "b", "c")]
    )

    jobs.settle()

    assert {jobs.get(child).state for child in children} == {JobState.COMPLETED}


@pytest.mark.parametrize("operation", ["claim", "release"])
def test_an_answer_that_gets_lost_costs_no_attempt_because_the_client_asks_again(jobs: Jobs, operation: str) -> None:
    child = jobs.enqueue("note", depends_on=(jobs.enqueue("charge").id,))
    parent = jobs.get(child.depends_on[0])

    with sent_twice(aws.dynamodb(), "UpdateItem", 1 if operation == "claim" else 2):
        jobs.work(parent)

    done = jobs.get(parent)
    assert (done.state, done.attempt, len(done.attempts)) == (JobState.COMPLETED, 1, 1)
    assert jobs.get(child).state is JobState.WAITING


def test_a_job_may_wait_for_a_hundred_others_some_of_which_end_while_it_is_made(jobs: Jobs) -> None:
    parents = [job.id for start in (0, 50) for job in jobs.enqueue_many([jobs.new("note", {})] * 50)]
    reported = jobs.service.dependents.recheck

    def later(child: Job) -> None:
        assert len(child.blocked_by) == 100
        reported(child)

    with patch.object(jobs.service.dependents, "recheck", later):
        child = jobs.service.enqueue(
            jobs.new("charge", {}, depends_on=tuple(parents), run_if_parents_fail=True), ADMIN, None
        ).job
    assert sum(child.id in jobs.get(parent).children for parent in parents) == 100
    jobs.settle()
    assert jobs.get(child).state is JobState.COMPLETED
