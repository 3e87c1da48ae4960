"""Validation of a workflow when it is enqueued, or retried with another payload."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import ValidationError

from adbot_queue.core.errors import FieldError, Invalid
from adbot_queue.core.field_errors import field_errors
from adbot_queue.jobs import job_types
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import Job
from adbot_queue.workflow.declaration import RunWorkflow, WorkflowStep, predecessors
from adbot_queue.workflow.plan import StepState
from adbot_queue.workflow.references import Absent, NoReference, Path, Reference, follow, references, resolved, texts

MAX_ERRORS = 20


def check(payload: RunWorkflow, before: Job | None) -> list[FieldError]:
    """The rules that a workflow breaks; `before` is the workflow that is to be retried as this one."""
    wrong = list(_order(payload.steps))
    if not wrong:
        earlier = _earlier(payload.steps)
        for index, step in enumerate(payload.steps):
            at = ("steps", index)
            wrong += _type(step, at)
            wrong += list(_references(payload, step, earlier[step.id], at)) or list(_payload(payload, step, at))
    if before and not wrong:
        wrong += _changes(payload, before)
    return wrong[:MAX_ERRORS]


def types(payload: Mapping[str, Any]) -> set[str]:
    """The types of the jobs that a checked workflow enqueues."""
    return {step["type"] for step in payload["steps"] if step.get("type")}


def _order(steps: Sequence[WorkflowStep]) -> Iterator[FieldError]:
    """Ids are unique, and no step comes after itself."""
    ids = [step.id for step in steps]
    for index, step in enumerate(steps):
        if step.id in ids[:index]:
            yield _error(("steps", index, "id"), "must be unique")
        missing = [one for one in step.after or () if one not in ids]
        if missing:
            yield _error(("steps", index, "after"), f"step {missing[0]} does not exist")
    try:
        TopologicalSorter(predecessors(steps)).prepare()
    except CycleError as error:
        yield _error(("steps",), f"form a cycle: {', '.join(reversed(error.args[1]))}")


def _earlier(steps: Sequence[WorkflowStep]) -> Mapping[str, frozenset[str]]:
    """All that surely has come to its end when a step is started."""
    before = predecessors(steps)
    found: dict[str, frozenset[str]] = {}
    for one in TopologicalSorter(before).static_order():
        found[one] = frozenset(before[one]).union(*(found[direct] for direct in before[one]))
    return found


def _type(step: WorkflowStep, at: Path) -> list[FieldError]:
    if step.type is None:
        return []
    try:
        known = job_types.find(step.type)
    except Invalid as error:
        return [_error((*at, "type"), entry.message) for entry in error.errors]
    if known.internal:
        return [_error((*at, "type"), "is internal: only the platform enqueues it")]
    return [_error((*at, "type"), "must not be a type that has steps itself")] if known.child_types else []


def _references(payload: RunWorkflow, step: WorkflowStep, earlier: frozenset[str], at: Path) -> Iterator[FieldError]:
    """Every reference names a step before, or an input that is there; a condition may ask whether it is."""
    said: dict[str, Any] = {"payload": step.payload, "set_status": step.set_status}
    for name in ("when", "condition"):
        condition = getattr(step, name)
        said[name] = {"left": condition.left, "right": condition.right} if condition else None
    for place, text in texts(said):
        try:
            for reference in references(text):
                if reference.step is not None and reference.step not in earlier:
                    yield _error((*at, *place), f"must refer to an earlier step: {reference.step} is not")
                elif place[0] in {"payload", "set_status"}:
                    _input_only(payload)(reference)
        except (NoReference, Absent) as error:
            yield _error((*at, *place), str(error))


def _payload(payload: RunWorkflow, step: WorkflowStep, at: Path) -> Iterator[FieldError]:
    """What the step's type has to say, as far as its payload is known now."""
    known = job_types.get(step.type or "")
    if known is None:
        return
    try:
        filled = resolved(step.payload, _input_only(payload))
        known.payload.model_validate_json(json.dumps(filled))
    except Absent as error:
        yield _error((*at, "payload"), str(error))
    except ValidationError as error:
        for entry, said in zip(
            error.errors(include_url=False, include_input=False), field_errors(error, known.payload), strict=True
        ):
            if not _is_open(step.payload, filled, entry["loc"], missing=entry["type"] == "missing"):
                yield FieldError(".".join(["payload", *map(str, at), "payload", said.field]), said.message)


def unreadable_fields(known: JobType, step: WorkflowStep, payload: dict[str, Any]) -> str:
    """Fields of a step's payload that its type cannot read, of those that are none of earlier steps' answers."""
    try:
        known.read(payload)
    except ValidationError as error:
        return ", ".join(
            ".".join(map(str, entry["loc"]))
            for entry in error.errors(include_url=False, include_input=False)
            if not _is_open(step.payload, payload, entry["loc"], missing=entry["type"] == "missing")
        )
    return ""


def _input_only(payload: RunWorkflow) -> Any:
    """Looks up the input; what steps will answer stays the reference that it is."""

    def look_up(reference: Reference) -> Any:
        if reference.step is None:
            return follow(payload.input, reference.path or (), reference.text)
        return f"${{{reference.text}}}"

    return look_up


def _is_open(declared: Any, filled: Any, place: Path, *, missing: bool) -> bool:
    """Return whether the value at a place depends on what steps will answer, so that it cannot be validated yet."""
    for key in place:
        try:
            declared, filled = declared[key], filled[key]
        except (LookupError, TypeError):
            if missing:
                return False
            break
    return any(reference.step is not None for reference in references(declared))


def _changes(payload: RunWorkflow, before: Job) -> Iterator[FieldError]:
    """What has run, or runs, stays as it was; a step that failed keeps its type, because its job is what is retried."""
    record = {entry["id"]: entry for entry in before.checkpoint.get("steps", ())}
    was = {step.id: step for step in RunWorkflow.model_validate_json(json.dumps(before.payload), extra="ignore").steps}
    now = {step.id: (index, step) for index, step in enumerate(payload.steps)}
    for name, entry in record.items():
        begun = entry.get("job") or entry["state"] != StepState.PENDING
        if not begun or name not in was:
            continue
        if name not in now:
            yield _error(("steps",), f"must keep step {name}, which has run")
            continue
        index, step = now[name]
        final = entry["state"] in {StepState.COMPLETED, StepState.SKIPPED, StepState.RUNNING}
        final = final or (entry["state"] == StepState.FAILED and was[name].goes_on)
        if final and step != was[name]:
            yield _error(("steps", index), f"must not change: step {name} is {entry['state']}")
        elif step.kind != was[name].kind:
            yield _error(("steps", index), f"must stay {was[name].kind}: step {name} has run")


def _error(place: Path, message: str) -> FieldError:
    return FieldError(".".join(["payload", *map(str, place)]), message)
