"""The process dies after each AWS call of a workflow in turn: every step's effect happens once, nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from adbot_queue.core.errors import Conflict
from adbot_queue.jobs.model import JobState
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.effects import Provider, new_provider
from tests.builders.jobs import Jobs
from tests.builders.payments import rows
from tests.builders.workflows import REFUSALS, start, states, step, ticket, workflow, workflows
from tests.builders.world import ADMIN, AwsHarness, empty

pytestmark = pytest.mark.long

Step = Callable[[Jobs], None]


@dataclass(frozen=True)
class CrashScenario:
    """What was before, and what the process does that dies."""

    act: Step
    before: Step = lambda _: None


def drains(*queues: str) -> Step:
    def act(jobs: Jobs) -> None:
        for queue in queues:
            jobs.drain(queue)

    return act


def begin(*steps: dict[str, Any], then: tuple[str, ...] = (), no: str = "") -> Step:
    def before(jobs: Jobs) -> None:
        REFUSALS[no] = 1
        start(jobs, *steps)
        drains(*then)(jobs)

    return before


def flow(jobs: Jobs) -> str:
    return next(job.id for job in jobs.all() if job.type == "run-workflow")


def retried(*, payload: dict[str, Any] | None = None) -> Step:
    def act(jobs: Jobs) -> None:
        with suppress(Conflict):
            jobs.lifecycle.retry(flow(jobs), ADMIN, payload=payload)
        drains("workflow", "money", "workflow")(jobs)

    return act


def cancelled(jobs: Jobs) -> None:
    jobs.lifecycle.cancel(flow(jobs), ADMIN)
    drains("workflow", "money", "workflow")(jobs)


ALL = ("workflow", "money", "workflow", "money", "workflow", "email", "workflow", "analytics", "workflow")
BRANCHES = (
    step("a", "pay", after=[]),
    step("b", "mail", after=[]),
    step("big", condition={"left": "${steps.a.result.charge}", "is": "exists"}, after=["a"]),
    step("said", set_status="paid ${steps.big.result}"),
    step("not", "note", when={"left": "${steps.big.result}", "is": "equals", "right": False}),
    step("last", "note", after=["b", "not"]),
)
PAUSED = (step("pay"), step("pause", wait_seconds=100), step("mail"))

STORIES = {
    "from payment to event": CrashScenario(drains(*ALL), begin(*ticket())),
    "branches and built-ins": CrashScenario(
        drains("workflow", "money", "email", "workflow", "analytics", "workflow"), begin(*BRANCHES)
    ),
    "a wait": CrashScenario(drains("workflow", "money", "workflow"), begin(*PAUSED)),
    "a step fails": CrashScenario(drains("workflow", "money", "workflow"), begin(*ticket(), no="pay")),
    "retry": CrashScenario(retried(), begin(*ticket(), then=("workflow", "money", "workflow"), no="pay")),
    "retry with another payload": CrashScenario(
        retried(payload=workflow(step("pay", payload={"seen": "other"}), *ticket()[1:])),
        begin(*ticket(), then=("workflow", "money", "workflow"), no="pay"),
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_crash_after_any_call_loses_nothing_and_repeats_nothing(on_aws: AwsHarness, name: str) -> None:
    story = STORIES[name]
    with fresh(on_aws) as (jobs, provider):
        story.before(jobs)
        with crash_after(None) as calls:
            story.act(jobs)
        settle(jobs, name)
        expected = outcome(jobs, provider)
        assert calls.names

    for call in every_call(len(calls.names)):
        with fresh(on_aws) as (jobs, provider):
            story.before(jobs)
            with suppress(Killed), crash_after(call):
                story.act(jobs)
            if name.startswith("retry"):
                story.act(jobs)
            settle(jobs, name)
            assert outcome(jobs, provider) == expected, f"died after call {call}, {calls.names[call - 1]}"


def test_one_that_is_cancelled_ends_cancelled_with_its_step_wherever_it_dies(on_aws: AwsHarness) -> None:
    """The step's effect has happened, or it has not; nothing happens afterwards."""
    for call in every_call(100):
        with fresh(on_aws) as (jobs, provider):
            begin(*ticket(), then=("workflow",))(jobs)
            with suppress(Killed), crash_after(call) as calls:
                cancelled(jobs)
            jobs.lifecycle.cancel(flow(jobs), ADMIN) if not jobs.get(flow(jobs)).is_terminal else None
            settle(jobs, "cancelled")
            ended = jobs.get(flow(jobs))
            assert ended.state is JobState.CANCELLED
            assert states(ended)["mint"] == "pending"
            assert provider.effects.keys() <= {"pay"}
            assert (states(ended)["pay"] == "completed") == (provider.effects["pay"] == 1)
            if call > len(calls.names):
                return
    raise AssertionError("it makes more calls than were tried")


@contextmanager
def fresh(world: AwsHarness) -> Iterator[tuple[Jobs, Provider]]:
    empty()
    with ExitStack() as stack:
        yield stack.enter_context(workflows(Jobs(world))), new_provider()


def settle(jobs: Jobs, name: str) -> None:
    """Workers and sweeper go on until no job is open, in long strides."""
    for _ in range(60):
        jobs.drain()
        if not jobs.open():
            return
        jobs.advance(180)
        jobs.sweep()
    raise AssertionError(f"still open ({name}): {jobs.open()}")


def outcome(jobs: Jobs, provider: Provider) -> tuple[Any, ...]:
    """Jobs and how they ended, how each step ended, effects, and what was signed for."""
    ended = Counter((job.type, job.payload.get("name"), job.state.value, job.cycle) for job in jobs.all())
    signed = Counter((entry["action"], entry["actor"]) for entry in rows(jobs.world.env["LEDGER_TABLE"]))
    done = jobs.get(flow(jobs))
    return ended, states(done), done.checkpoint.get("status"), provider.effects, signed
