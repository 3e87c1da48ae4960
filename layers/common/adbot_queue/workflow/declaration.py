"""What a workflow is declared by: the payload of `run-workflow`. Rules that need more than one step are in `check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from adbot_queue.core.schema import Input
from adbot_queue.workflow.references import NoReference, Reference, whole

MAX_STEPS = 50
MAX_WAIT_S = 366 * 86_400

StepId = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$", description="1 to 40 of a-z, 0-9, _ and -, a letter first")
]


class Condition(Input):
    """Compares what a reference names. What is not there equals nothing, is in nothing, is neither more nor less."""

    model_config = ConfigDict(serialize_by_alias=True)

    left: str = Field(max_length=300, description="a reference and nothing else")
    is_: Literal["equals", "not_equals", "greater", "less", "exists", "in"] = Field(alias="is")
    right: Any = Field(default=None, description="a value or a reference; a list for `in`; none for `exists`")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.reference is None:
            raise ValueError("left must be a reference: ${input.…} or ${steps.<id>.…}")
        if self.is_ == "exists" and self.right is not None:
            raise ValueError("exists has no right side")
        if self.is_ in {"greater", "less"} and (self.right is None or isinstance(self.right, bool | list | dict)):
            raise ValueError("right must be a number, a text or a reference")
        if self.is_ == "in" and not isinstance(self.right, list) and whole(self.right) is None:
            raise ValueError("right must be a list or a reference to one")
        return self

    @property
    def reference(self) -> Reference | None:
        """The left side."""
        try:
            return whole(self.left)
        except NoReference as error:
            raise ValueError(str(error)) from error


class WorkflowStep(Input):
    """One of: a job (`type`, `payload`), `wait_seconds`, `set_status`, `condition` (its result is true or false)."""

    id: StepId
    after: list[StepId] | None = Field(default=None, max_length=MAX_STEPS, description="by default the step before it")
    when: Condition | None = Field(default=None, description="otherwise the step is skipped")
    type: str | None = Field(default=None, min_length=1, max_length=64)
    payload: dict[str, Any] = Field(default_factory=dict)
    on_failure: Literal["stop", "continue"] = "stop"
    wait_seconds: int | None = Field(default=None, ge=1, le=MAX_WAIT_S)
    set_status: str | None = Field(default=None, min_length=1, max_length=200)
    condition: Condition | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        names = ("type", "wait_seconds", "set_status", "condition")
        if sum(getattr(self, name) is not None for name in names) != 1:
            raise ValueError(f"a step has exactly one of {', '.join(names)}")
        if self.type is None and (self.payload or self.on_failure != "stop"):
            raise ValueError("payload and on_failure belong to a job")
        return self

    @property
    def kind(self) -> str:
        """The job's type, or the built-in's name."""
        if self.type is not None:
            return self.type
        if self.wait_seconds is not None:
            return "wait"
        return "condition" if self.condition is not None else "set_status"

    @property
    def goes_on(self) -> bool:
        """Steps after it are taken although it failed."""
        return self.on_failure == "continue"

    def said(self) -> list[Any]:
        """Everything that may hold references."""
        conditions = [one for one in (self.when, self.condition) if one]
        return [self.payload, self.set_status, *([one.left, one.right] for one in conditions)]


class RunWorkflow(Input):
    """Steps in order. `input` is what `${input.…}` names."""

    name: str = Field(min_length=1, max_length=100)
    input: dict[str, Any] = Field(default_factory=dict)
    steps: list[WorkflowStep] = Field(min_length=1, max_length=MAX_STEPS)


def predecessors(steps: Sequence[WorkflowStep]) -> Mapping[str, tuple[str, ...]]:
    """What each step comes after: as it says, or the step before it."""
    found: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for step in steps:
        found[step.id] = before if step.after is None else tuple(step.after)
        before = (step.id,)
    return found
