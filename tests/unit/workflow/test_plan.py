"""What a workflow does next, against a model that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.workflow.declaration import Condition, WorkflowStep
from adbot_queue.workflow.plan import Incomparable, StepState, holds, plan
from adbot_queue.workflow.references import Absent, Reference

ENDS = [StepState.COMPLETED, StepState.SKIPPED, StepState.FAILED, StepState.CANCELLED]


@dataclass(frozen=True)
class Flow:
    """Steps, and how each will end."""

    steps: list[WorkflowStep]
    ends: dict[str, StepState]


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Any acyclic order of up to eight steps, in any order of declaration."""
    number = draw(st.integers(1, 8))
    made = []
    for index in range(number):
        before = draw(st.sets(st.integers(0, index - 1))) if index else set()
        kind = draw(st.sampled_from([{"type": "charge"}, {"wait_seconds": 5}, {"set_status": "x"}]))
        fails = {"on_failure": draw(st.sampled_from(["stop", "continue"]))} if "type" in kind else {}
        made.append(WorkflowStep(id=f"s{index}", after=[f"s{one}" for one in sorted(before)], **kind, **fails))
    ends = {step.id: draw(st.sampled_from(ENDS)) for step in made}
    return Flow(draw(st.permutations(made)), ends)


def reachable(flow: Flow) -> dict[str, StepState]:
    """Return the end of a flow whose steps run one after the other, in an order that all agree on: the naive model.

    Which steps run next to a broken one is a matter of time; so this one leaves out all that do not surely run.
    """
    ended: dict[str, StepState] = {}
    for step in sorted(flow.steps, key=lambda step: step.id):
        if all(passes(flow, one, ended) for one in step.after or []):
            ended[step.id] = flow.ends[step.id]
    return ended


def passes(flow: Flow, name: str, ended: dict[str, StepState]) -> bool:
    step = next(step for step in flow.steps if step.id == name)
    state = ended.get(name)
    return state in {StepState.COMPLETED, StepState.SKIPPED} or (
        state is StepState.FAILED and step.on_failure == "continue"
    )


@given(flows(), st.randoms(use_true_random=False))
def test_whatever_ends_first_steps_run_once_after_those_before_them_and_all_that_can(flow: Flow, chance: Any) -> None:
    states: dict[str, StepState] = {}
    started: list[str] = []
    while True:
        now = plan(flow.steps, states)
        for step in now.start:
            assert step.id not in started
            assert all(passes(flow, one, states) for one in step.after or [])
            started.append(step.id)
            states[step.id] = flow.ends[step.id] if step.set_status else StepState.RUNNING
        running = [name for name, state in states.items() if state is StepState.RUNNING]
        if now.start:
            continue
        if not now.wait:
            break
        ending = chance.choice(running)
        states[ending] = flow.ends[ending]

    model = reachable(flow)
    assert set(started) <= model.keys()
    if now.broken is None:
        assert states == model  # nothing that could run was left out
    else:
        assert states[now.broken.id] in {StepState.FAILED, StepState.CANCELLED}
        assert not passes(flow, now.broken.id, states)
        left = [step for step in flow.steps if states.get(step.id) is StepState.RUNNING]
        assert all(step.wait_seconds for step in left), "only a time is not waited for"


@given(flows(), st.randoms(use_true_random=False))
def test_a_broken_flow_that_goes_on_after_each_break_ends_as_if_nothing_had_broken(flow: Flow, chance: Any) -> None:
    states: dict[str, StepState] = {}
    for _ in range(100):
        now = plan(flow.steps, states)
        for step in now.start:
            states[step.id] = StepState.RUNNING
        running = [name for name, state in states.items() if state is StepState.RUNNING]
        if now.broken and not now.wait:
            states[now.broken.id] = StepState.COMPLETED  # manual retry
        elif running:
            ending = chance.choice(running)
            states[ending] = flow.ends[ending]
        elif not now.start:
            break

    assert states.keys() == flow.ends.keys()
    assert plan(flow.steps, states).broken is None


def test_by_default_a_step_comes_after_the_one_before_it() -> None:
    steps = [WorkflowStep(id=name, set_status=name) for name in "abc"]

    assert [step.id for step in plan(steps, {}).start] == ["a"]
    assert [step.id for step in plan(steps, {"a": StepState.COMPLETED}).start] == ["b"]


THERE = {"input.n": 5, "input.text": "b", "input.yes": True, "input.none": None, "input.list": [1, "b"]}


def look_up(reference: Reference) -> Any:
    if reference.text not in THERE:
        raise Absent(reference.text)
    return THERE[reference.text]


@pytest.mark.parametrize(
    ("left", "is_", "right", "answer"),
    [
        ("n", "equals", 5, True),
        ("n", "equals", "5", False),
        ("n", "equals", "${input.n}", True),
        ("n", "not_equals", 5, False),
        ("n", "greater", 4.5, True),
        ("n", "greater", 5, False),
        ("n", "less", 6, True),
        ("text", "less", "c", True),
        ("text", "in", ["a", "b"], True),
        ("n", "in", "${input.list}", False),
        ("text", "in", "${input.list}", True),
        ("text", "in", "${input.text}", False),
        ("yes", "equals", True, True),
        ("yes", "equals", 1, False),
        ("none", "exists", None, True),
        ("none", "equals", None, True),
        ("gone", "exists", None, False),
        ("gone", "equals", None, False),
        ("gone", "not_equals", 5, True),
        ("gone", "greater", 5, False),
        ("gone", "in", [None], False),
        ("n", "equals", "${input.gone}", False),
    ],
)
def test_conditions_compare_json_values(left: str, is_: str, right: Any, answer: bool) -> None:
    condition = Condition.model_validate({"left": f"${{input.{left}}}", "is": is_, "right": right})

    assert holds(condition, look_up) is answer


@pytest.mark.parametrize(("left", "right"), [("n", "x"), ("text", 3), ("yes", 0), ("list", 1)])
def test_what_has_no_order_is_not_compared(left: str, right: Any) -> None:
    with pytest.raises(Incomparable):
        holds(Condition.model_validate({"left": f"${{input.{left}}}", "is": "greater", "right": right}), look_up)
