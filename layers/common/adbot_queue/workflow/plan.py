"""What a workflow does next. Pure: what was declared and what is known of its steps go in, a decision comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from adbot_queue.workflow.declaration import Condition, WorkflowStep, predecessors
from adbot_queue.workflow.references import Absent, LookUp, resolved


class StepState(StrEnum):
    """The state of a step."""

    PENDING = "pending"
    RUNNING = "running"  # its job has not ended
    COMPLETED = "completed"
    SKIPPED = "skipped"  # its `when` was false
    FAILED = "failed"
    CANCELLED = "cancelled"  # its job, or the workflow, was cancelled


BROKEN = frozenset({StepState.FAILED, StepState.CANCELLED})


@dataclass(frozen=True, slots=True)
class NextSteps:
    """What is to be done now; when there is nothing to start or to wait for, the workflow has ended.

    Attributes:
        start: steps whose turn it is.
        wait: running steps whose end matters.
        broken: the first step because of which no more are started.
    """

    start: tuple[WorkflowStep, ...] = ()
    wait: tuple[WorkflowStep, ...] = ()
    broken: WorkflowStep | None = None


def plan(steps: Sequence[WorkflowStep], states: Mapping[str, StepState]) -> NextSteps:
    """The plan; steps without a state are pending.

    A step is started when all that it comes after have completed, were skipped, or failed with `on_failure: continue`.
    When one is broken otherwise, no more are started, and jobs that run are waited for; a `wait` is not.
    """
    known = {step.id: states.get(step.id, StepState.PENDING) for step in steps}
    passed = {step.id for step in steps if is_passed(step, known[step.id])}
    running = tuple(step for step in steps if known[step.id] is StepState.RUNNING)
    broken = next((step for step in steps if known[step.id] in BROKEN and step.id not in passed), None)
    if broken:
        return NextSteps(wait=tuple(step for step in running if step.type), broken=broken)
    before = predecessors(steps)
    pending = (step for step in steps if known[step.id] is StepState.PENDING)
    return NextSteps(start=tuple(step for step in pending if passed.issuperset(before[step.id])), wait=running)


def is_passed(step: WorkflowStep, state: StepState) -> bool:
    """Whether steps after it may be started."""
    # A cancelled one was stopped on purpose: nothing follows from it, whatever its failure would have meant.
    return state in {StepState.COMPLETED, StepState.SKIPPED} or (state is StepState.FAILED and step.goes_on)


class Incomparable(ValueError):
    """A condition asks which of two values is greater that are no two numbers and no two texts."""


def holds(condition: Condition, look_up: LookUp) -> bool:
    """Whether a condition is true; `look_up` as in `references.resolved`.

    Raises:
        Incomparable: for `greater` and `less`.
    """
    left, right = _side(condition.left, look_up), _side(condition.right, look_up)
    if condition.is_ == "not_equals":
        return not _same(left, right)
    if left is _NOTHING or right is _NOTHING:
        return False
    match condition.is_:
        case "exists":
            return True
        case "equals":
            return _same(left, right)
        case "in":
            return isinstance(right, list) and any(_same(left, one) for one in right)
    return _order(left, right) == condition.is_


_NOTHING = object()


def _side(value: Any, look_up: LookUp) -> Any:
    try:
        return resolved(value, look_up)
    except Absent:
        return _NOTHING


def _same(left: Any, right: Any) -> bool:
    # JSON's true is no 1.
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _order(left: Any, right: Any) -> str:
    for kind in (int | float, str):
        if all(isinstance(one, kind) and not isinstance(one, bool) for one in (left, right)):
            return "greater" if left > right else "less" if left < right else "equals"
    raise Incomparable("only two numbers, or two texts, are greater or less")
