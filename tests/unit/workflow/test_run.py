"""Workflows by the real worker: what runs, in which order, with which values; what is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from adbot_queue.core.clock import iso
from adbot_queue.jobs import job_types as registered
from adbot_queue.jobs.api.schemas import JobView
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.platform.mode import ProcessingMode
from adbot_queue.workflow.run import StepFailed
from tests.builders import workflows
from tests.builders.effects import Provider
from tests.builders.jobs import Jobs, known_types
from tests.builders.workflows import REFUSALS, TICKET, Later, job_of, start, states, step, ticket
from tests.builders.world import ADMIN


def settle(jobs: Jobs, stride: float) -> None:
    """As `Jobs.settle`, in strides of that many seconds."""
    for _ in range(100):
        jobs.drain()
        if not jobs.open():
            return
        jobs.advance(stride)
        jobs.sweep()
    raise AssertionError(f"still open: {jobs.open()}")


def test_steps_run_one_after_the_other_and_each_gets_what_the_one_before_got(jobs: Jobs, provider: Provider) -> None:
    flow = start(jobs, *ticket())

    jobs.settle()

    done = jobs.get(flow)
    assert (done.state, done.attempt) == (JobState.COMPLETED, 1)
    assert [name for _, name in provider.calls] == list(TICKET)
    assert workflows.SEEN == {"pay": None, "mint": "ch_0", "mail": "ch_1", "note": "ch_2"}
    assert states(done) == dict.fromkeys(TICKET, "completed")
    assert done.result["steps"]["pay"] == {"state": "completed", "job": job_of(jobs, done, "pay").id}


def test_messages_alone_carry_it_without_the_sweeper(jobs: Jobs) -> None:
    flow = start(jobs, *ticket())

    for _ in range(9):
        jobs.drain()

    assert jobs.get(flow).state is JobState.COMPLETED


def test_one_that_began_late_goes_on_by_messages_alone_too(jobs: Jobs) -> None:
    flow = jobs.enqueue("run-workflow", workflows.workflow(*ticket()), run_at=jobs.clock() + 5000)
    jobs.advance(6)
    jobs.work(flow)

    for _ in range(9):
        jobs.drain()

    assert jobs.get(flow).state is JobState.COMPLETED


def test_a_step_is_a_job_of_the_same_user_with_its_own_queue_and_policy(jobs: Jobs) -> None:
    body = workflows.workflow(step("mail"))
    flow = jobs.enqueue("run-workflow", body, tenant="ada", priority=7, tags=("order-1",))
    jobs.settle()

    mail = job_of(jobs, flow, "mail")
    assert (mail.type, mail.queue, mail.tenant, mail.priority) == ("mail", "email", "ada", 7)
    assert set(mail.tags) == {"order-1", f"workflow:{flow.id}"}


def test_the_view_shows_where_it_is(jobs: Jobs) -> None:
    flow = start(jobs, step("text", set_status="for ${input.who}"), *ticket(pay=["transient"] * 99), who="Cara")
    jobs.drain("workflow")
    jobs.drain("money")

    view = JobView.of(jobs.get(flow))

    assert (view.state, view.status, view.blocked_by) == (JobState.DELAYED, "for Cara", [job_of(jobs, flow, "pay").id])
    assert [(one.step_id, one.type, one.state) for one in view.steps] == [
        ("text", "set_status", "completed"),
        ("pay", "pay", "running"),
        ("mint", "mint", "pending"),
        ("mail", "mail", "pending"),
        ("note", "note", "pending"),
    ]
    assert (view.steps[1].job_id, view.steps[1].started_at is not None) == (job_of(jobs, flow, "pay").id, True)


def test_a_whole_reference_keeps_its_type_and_within_text_it_is_text(jobs: Jobs) -> None:
    seen = {"n": "${input.n}", "text": "${input.n} of ${steps.a.result.list.0.n}", "list": "${steps.a.result.list}"}
    start(jobs, step("a", "pay"), step("b", "pay", payload={"seen": seen, "number": "${input.n}"}), n=5)

    jobs.settle()

    assert workflows.SEEN["b"] == {"n": 5, "text": "5 of 7", "list": [{"n": 7}]}


def test_branches_run_side_by_side_and_the_first_that_ends_goes_on(jobs: Jobs, provider: Provider) -> None:
    flow = start(
        jobs,
        step("slow", "pay", payload={"goes": ["transient"] * 3}, after=[]),
        step("quick", "mail", after=[]),
        step("then", "mail", after=["quick"]),
        step("last", "note", after=["slow", "then"]),
    )

    jobs.drain("workflow")
    assert {job.type for job in jobs.open()} == {"run-workflow", "pay", "mail"}
    jobs.drain("money")
    jobs.drain("email")
    jobs.drain("workflow")
    jobs.drain("email")
    assert [name for _, name in provider.calls] == ["slow", "quick", "then"]
    jobs.settle()

    assert jobs.get(flow).state is JobState.COMPLETED
    assert provider.calls[-1][1] == "last"


def test_what_does_not_hold_is_skipped_and_what_follows_runs(jobs: Jobs, provider: Provider) -> None:
    flow = start(
        jobs,
        step("big", condition={"left": "${input.amount}", "is": "greater", "right": 100}),
        step("mail", when={"left": "${steps.big.result}", "is": "equals", "right": True}),
        step("note", when={"left": "${steps.mail.state}", "is": "equals", "right": "skipped"}),
        step("pay", when={"left": "${steps.mail.result.charge}", "is": "exists"}),
        amount=99,
    )

    jobs.settle()

    assert states(jobs.get(flow)) == {"big": "completed", "mail": "skipped", "note": "completed", "pay": "skipped"}
    assert provider.effects == {"note": 1}


def test_a_step_may_wait_at_no_attempts_cost_and_to_the_second(jobs: Jobs) -> None:
    flow = start(jobs, step("a", "mail"), step("pause", wait_seconds=7200), step("b", "mail"))
    settle(jobs, 600)

    done, pause = jobs.get(flow), job_of(jobs, flow, "pause")
    assert (done.state, [entry.number for entry in done.attempts]) == (JobState.COMPLETED, [1])
    assert pause.result == {"waited_until": iso(pause.created_at + 7_200_000)}
    assert 7_200_000 <= job_of(jobs, flow, "b").created_at - pause.created_at <= 7_200_000 + 1_200_000


def test_a_workflow_that_waits_for_a_time_is_not_rechecked(jobs: Jobs) -> None:
    flow = start(jobs, step("pause", wait_seconds=30 * 86_400), step("b", "mail"))
    jobs.drain()
    jobs.advance(301)
    jobs.sweep()

    due = jobs.get(flow).due_at
    assert due is not None
    assert due > jobs.clock() + 29 * 86_400_000


def test_a_failing_step_fails_the_workflow_and_names_itself_and_a_retry_resumes_there(
    jobs: Jobs, provider: Provider
) -> None:
    REFUSALS["mint"] = 1
    flow = start(jobs, *ticket())
    jobs.settle()

    failed = jobs.get(flow)
    assert failed.failure
    assert (failed.state, failed.failure.error) == (JobState.FAILED, StepFailed.__name__)
    assert failed.failure.message == "step mint: failed: card declined"
    assert states(failed) == {"pay": "completed", "mint": "failed", "mail": "pending", "note": "pending"}
    assert failed.checkpoint["steps"][1]["error"]["kind"] == "permanent"

    jobs.lifecycle.retry(flow.id, ADMIN, "topped up")
    jobs.settle()

    assert jobs.get(flow).state is JobState.COMPLETED
    assert provider.effects == dict.fromkeys(TICKET, 1)
    assert job_of(jobs, flow, "mint").cycle == 1


def test_a_dead_step_gets_a_new_cycle_under_the_same_provider_key(jobs: Jobs, provider: Provider) -> None:
    """Also when a newer version of its type has more fields: it is the same effect."""
    flow = start(jobs, *ticket(mail=["late-transient"] + ["transient"] * 2))
    jobs.settle()
    assert (jobs.get(flow).state, job_of(jobs, flow, "mail").state) == (JobState.FAILED, JobState.DEAD)

    with known_types(replace(registered.find("mail"), payload=Later)):
        jobs.lifecycle.retry(flow.id, ADMIN)
        jobs.settle()

    assert jobs.get(flow).state is JobState.COMPLETED
    assert provider.effects["mail"] == 1
    assert len({key for key, name in provider.calls if name == "mail"}) == 1


def test_a_step_that_fails_again_fails_the_workflow_again_and_can_be_retried_again(
    jobs: Jobs, provider: Provider
) -> None:
    flow = start(jobs, *ticket(mail=["transient"] * 7))
    jobs.settle()

    for cycle in (1, 2):
        assert jobs.get(flow).state is JobState.FAILED
        jobs.lifecycle.retry(flow.id, ADMIN)
        jobs.settle()
        assert job_of(jobs, flow, "mail").cycle == cycle

    assert jobs.get(flow).state is JobState.COMPLETED
    assert len([name for _, name in provider.calls if name == "mail"]) == 8


def test_a_step_whose_job_a_person_had_retried_is_taken_as_it_is(jobs: Jobs, provider: Provider) -> None:
    REFUSALS["mint"] = 1
    flow = start(jobs, *ticket())
    jobs.settle()
    jobs.lifecycle.retry(job_of(jobs, flow, "mint").id, ADMIN)
    jobs.settle()

    jobs.lifecycle.retry(flow.id, ADMIN)
    jobs.settle()

    assert jobs.get(flow).state is JobState.COMPLETED
    assert (job_of(jobs, flow, "mint").cycle, provider.effects["mint"]) == (1, 1)


def test_a_failure_may_be_passed_over(jobs: Jobs) -> None:
    flow = start(jobs, step("mail", payload={"goes": ["permanent"]}, on_failure="continue"), step("note"))

    jobs.settle()

    done = jobs.get(flow)
    assert (done.state, states(done)) == (JobState.COMPLETED, {"mail": "failed", "note": "completed"})


def test_when_one_branch_breaks_running_jobs_are_waited_for_and_no_more_are_started(jobs: Jobs) -> None:
    flow = start(
        jobs,
        step("no", "pay", payload={"goes": ["permanent"]}, after=[]),
        step("slow", "mail", payload={"goes": ["transient"]}, after=[]),
        step("never", "note", after=["slow"]),
        step("pause", wait_seconds=86_400, after=[]),
    )
    for _ in range(5):
        jobs.drain()
        jobs.advance(60)
        jobs.sweep()

    failed = jobs.get(flow)
    assert failed.state is JobState.FAILED
    assert states(failed) == {"no": "failed", "slow": "completed", "never": "pending", "pause": "running"}


@pytest.mark.parametrize("seen", ["${steps.a.result.nothing}", "x ${steps.a.result.charge.x}"])
def test_a_reference_to_nothing_fails_the_step_that_makes_it(jobs: Jobs, seen: str) -> None:
    flow = start(jobs, step("a", "pay"), step("b", "pay", payload={"seen": seen}))

    jobs.settle()

    failed = jobs.get(flow)
    assert failed.failure
    assert (failed.state, states(failed)["b"]) == (JobState.FAILED, "failed")
    assert failed.failure.message.startswith("step b: failed: there is no ${steps.a.result.")


def test_what_a_reference_brings_must_fit_the_steps_type(jobs: Jobs) -> None:
    flow = start(jobs, step("a", "pay"), step("b", "pay", payload={"number": "${steps.a.result.charge}"}))

    jobs.settle()

    failed = jobs.get(flow)
    assert failed.failure
    assert "payload.number" in failed.failure.message


def test_a_step_that_could_not_begin_begins_after_a_retry_with_another_payload(jobs: Jobs, provider: Provider) -> None:
    first = step("a", "pay")
    flow = start(jobs, first, step("b", "pay", payload={"seen": "${steps.a.result.nothing}"}))
    jobs.settle()

    better = workflows.workflow(first, step("b", "pay", payload={"seen": "${steps.a.result.list}"}))
    jobs.lifecycle.retry(flow.id, ADMIN, payload=better)
    jobs.settle()

    assert jobs.get(flow).state is JobState.COMPLETED
    assert workflows.SEEN["b"] == [{"n": 7}]
    assert provider.effects == {"a": 1, "b": 1}


def test_what_is_too_large_to_be_kept_is_not_there_later(jobs: Jobs) -> None:
    steps = [step(f"s{n}", "pay", payload={"big": 30_000}) for n in range(4)]
    flow = start(
        jobs, *steps, step("last", "pay", payload={"seen": [f"${{steps.s{n}.result.data}}" for n in range(4)]})
    )

    jobs.settle()

    failed = jobs.get(flow)
    assert failed.failure
    assert "too large to be kept" in failed.failure.message
    assert states(failed)["s3"] == "completed"


def test_a_step_whose_job_is_gone_fails(jobs: Jobs) -> None:
    flow = start(jobs, step("a", "pay"), step("b", "pay"))
    jobs.drain("workflow")
    a = job_of(jobs, flow, "a")
    jobs.drain("money")
    jobs.store.delete(jobs.get(a))
    jobs.settle()

    failed = jobs.get(flow)
    assert failed.failure
    assert failed.failure.message == "step a: failed: its job was deleted"


# Cancelling


def cancelled(jobs: Jobs, flow: Job) -> Job:
    jobs.lifecycle.cancel(flow.id, ADMIN, "not wanted")
    jobs.settle()
    return jobs.get(flow)


def test_cancelling_stops_the_job_of_the_running_step_and_starts_no_more(jobs: Jobs, provider: Provider) -> None:
    flow = start(jobs, *ticket())
    jobs.drain("workflow")

    ended = cancelled(jobs, flow)

    assert (ended.state, job_of(jobs, flow, "pay").state) == (JobState.CANCELLED, JobState.CANCELLED)
    assert states(ended) == {"pay": "cancelled", "mint": "pending", "mail": "pending", "note": "pending"}
    assert provider.calls == []
    assert [entry["action"] for entry in jobs.world.ledger(target=f"job:{flow.id}")] == ["job.cancel"]


def test_a_running_steps_job_is_asked_to_stop_and_the_workflow_ends_with_it(jobs: Jobs, provider: Provider) -> None:
    flow = start(jobs, *ticket())
    jobs.drain("workflow")
    pay = job_of(jobs, flow, "pay")
    claimed = jobs.store.claim(pay.id, "money", "w", "lease", jobs.clock(), jobs.clock() + 45_000)
    assert claimed
    jobs.lifecycle.cancel(flow.id, ADMIN)
    jobs.drain("workflow")
    assert jobs.get(pay).cancel_requested
    assert jobs.get(flow).state is JobState.DELAYED

    jobs.worker.finish(claimed, claimed.completed({"charge": "in time"}, jobs.clock()))
    jobs.settle()

    ended = jobs.get(flow)
    assert (ended.state, states(ended)["pay"]) == (JobState.CANCELLED, "completed")


def test_a_cancelled_workflow_that_is_retried_goes_on_where_it_was_stopped(jobs: Jobs, provider: Provider) -> None:
    flow = start(jobs, *ticket())
    for queue in ("workflow", "money", "workflow"):
        jobs.drain(queue)
    cancelled(jobs, flow)

    jobs.lifecycle.retry(flow.id, ADMIN, "wanted after all")
    jobs.settle()

    assert jobs.get(flow).state is JobState.COMPLETED
    assert provider.effects == dict.fromkeys(TICKET, 1)


def test_a_wait_that_was_cancelled_is_over_when_it_would_have_been(jobs: Jobs) -> None:
    began = jobs.clock()
    flow = start(jobs, step("pause", wait_seconds=3600), step("note"))
    jobs.drain()
    cancelled(jobs, flow)
    jobs.advance(600)
    jobs.lifecycle.retry(flow.id, ADMIN)
    settle(jobs, 600)

    assert jobs.get(flow).state is JobState.COMPLETED
    assert job_of(jobs, flow, "note").created_at >= began + 3_600_000


def test_one_that_is_cancelled_while_it_enqueues_a_step_stops_that_step(jobs: Jobs, provider: Provider) -> None:
    flow = start(jobs, *ticket())
    written = jobs.store.save_checkpoint

    def late(job: Job, record: Any) -> bool:
        jobs.store.save_checkpoint = written  # type: ignore[method-assign]
        jobs.lifecycle.cancel(flow.id, ADMIN)
        return written(job, record)

    jobs.store.save_checkpoint = late  # type: ignore[method-assign]
    jobs.drain("workflow")

    assert jobs.get(flow).state is JobState.CANCELLED
    assert job_of(jobs, flow, "pay").state is JobState.CANCELLED
    assert provider.calls == []


def test_one_that_died_before_it_wrote_a_step_down_finds_it_when_it_is_cancelled(
    jobs: Jobs, provider: Provider
) -> None:
    flow = start(jobs, *ticket())
    written = jobs.store.save_checkpoint
    jobs.store.save_checkpoint = lambda _job, _checkpoint: False  # type: ignore[method-assign]
    jobs.work(flow)
    jobs.store.save_checkpoint = written  # type: ignore[method-assign]
    assert "steps" not in jobs.get(flow).checkpoint

    ended = cancelled(jobs, flow)

    assert (ended.state, states(ended)["pay"]) == (JobState.CANCELLED, "cancelled")
    assert provider.calls == []


def test_cancelling_before_its_first_run_is_as_for_any_job(jobs: Jobs) -> None:
    flow = start(jobs, *ticket())

    assert jobs.lifecycle.cancel(flow.id, ADMIN).state is JobState.CANCELLED
    assert len(jobs.all()) == 1


def test_cancelling_twice_is_cancelling_once(jobs: Jobs) -> None:
    flow = start(jobs, *ticket())
    jobs.drain("workflow")
    jobs.lifecycle.cancel(flow.id, ADMIN)
    jobs.lifecycle.cancel(flow.id, ADMIN)

    assert [entry["action"] for entry in jobs.world.ledger(target=f"job:{flow.id}")] == ["job.cancel"]


# The platform around it


def test_while_the_queues_are_switched_off_it_goes_on_by_the_sweeper(jobs: Jobs, provider: Provider) -> None:
    jobs.mode = ProcessingMode.SYNC_DIRECT
    flow = start(jobs, *ticket())

    for _ in range(12):
        jobs.advance(61)
        jobs.sweep()

    assert jobs.get(flow).state is JobState.COMPLETED
    assert provider.effects == dict.fromkeys(TICKET, 1)


def test_attempts_that_failed_before_it_got_further_count_no_more(jobs: Jobs) -> None:
    flow = start(jobs, *ticket())
    for number in range(4):
        for attempt in range(4):  # of five
            now = jobs.clock()
            if jobs.get(flow).state is JobState.DELAYED and not jobs.get(flow).blocked_by:
                jobs.advance(200)
                jobs.sweep()
            claimed = jobs.store.claim(flow.id, "workflow", "dies", f"{number} {attempt}", now, now + 35_000)
            if claimed:
                jobs.advance(36)
                jobs.sweep()
        while not jobs.get(flow).blocked_by and not jobs.get(flow).is_terminal:
            jobs.advance(100)
            jobs.sweep()
            jobs.drain("workflow")
        for queue in ("money", "email", "analytics"):
            jobs.drain(queue)
    jobs.settle()

    assert jobs.get(flow).state is JobState.COMPLETED


def test_a_workflow_that_waits_for_another_job_is_cancelled_when_that_fails_and_never_for_its_own_steps(
    jobs: Jobs,
) -> None:
    first = jobs.enqueue("pay", {"goes": ["permanent"]})
    flow = jobs.enqueue("run-workflow", workflows.workflow(step("note")), depends_on=(first.id,))
    jobs.settle()
    assert jobs.get(flow).state is JobState.CANCELLED

    good = jobs.enqueue("pay", {"name": "b"})
    other = jobs.enqueue(
        "run-workflow",
        workflows.workflow(step("mail", payload={"goes": ["permanent"]}, on_failure="continue"), step("note")),
        depends_on=(good.id,),
    )
    jobs.settle()
    assert jobs.get(other).state is JobState.COMPLETED


def test_a_step_that_ended_before_it_was_waited_for_is_not_missed(jobs: Jobs) -> None:
    flow = start(jobs, *ticket())
    released = jobs.store.release_many

    def slowly(ends: Sequence[tuple[Job, Job]], *on_cancel: Any) -> Any:
        jobs.store.release_many = released  # type: ignore[method-assign]
        jobs.worker.work([JobMessage(job_of(jobs, flow, "pay").id, "money")], lambda: 60_000)
        return released(ends, *on_cancel)

    jobs.store.release_many = slowly  # type: ignore[method-assign]
    jobs.drain("workflow")

    assert states(jobs.get(flow))["pay"] == "completed"


def test_the_same_workflow_with_the_same_key_is_the_same_job(jobs: Jobs) -> None:
    assert start(jobs, *ticket(), key="k").id == start(jobs, *ticket(), key="k").id
