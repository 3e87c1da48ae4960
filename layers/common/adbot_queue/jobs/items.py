"""How jobs lie in the table: a job as its item and back.

    JOB#<id>                     J   the job; payload and result as JSON text
    IDEM#<hash>                  I   which job an idempotency key means, for its window

Index attributes, each there only as long as it means something:

    ready     queue, rank          waiting jobs in the order of service
    due       queue, due_at        delayed and active jobs: by then somebody must look at them
    by_state  listing, listed_at   lists: `<queue>#<state>`, and `dead` for the dead ones of all queues
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from adbot_queue.core.dynamodb import Item
from adbot_queue.jobs.model import HISTORY, Attempt, Failure, Job, Mode, State

DEAD_LISTING = "dead"
"""Dead jobs of all queues are one list: they are what a person has to look through."""

_ALWAYS = {"state", "tenant", "priority", "attempt", "version", "payload"}
_TEXT = {"payload", "result", "progress", "record"}  # JSON text: numbers with fractions and empty sets survive
_DEFAULTS = {spec.name: spec.default for spec in fields(Job)}
_NAMES = tuple(_DEFAULTS)  # asking a dataclass for its fields each time takes longer than all the rest


def key_of(job_id: str) -> Item:
    """The key of a job's item."""
    return {"pk": f"JOB#{job_id}", "sk": "J"}


def listing_of(queue: str, state: State) -> str:
    """The list that a job stands in."""
    return DEAD_LISTING if state is State.DEAD else f"{queue}#{state}"


def item_of(job: Job) -> Item:
    """A job as its item, index attributes included. What has its default value is left out."""
    return key_of(job.id) | _attributes(job, _NAMES)


def changes(before: Job, after: Job) -> tuple[Item, list[str]]:
    """From one version of a job's item to another: the attributes that are set, but its version, and those that go."""
    names = [name for name in _NAMES if name != "version" and _differ(getattr(before, name), getattr(after, name))]
    old, new = _attributes(before, names), _attributes(after, names)
    return {name: value for name, value in new.items() if old.get(name) != value}, [
        name for name in old if name not in new
    ]


def _differ(one: Any, other: Any) -> bool:
    return one is not other and bool(one != other)


def _attributes(job: Job, names: Iterable[str]) -> Item:
    """The list that it stands in, and its place there; of these fields those that do not have their default values."""
    # A dead one that somebody has decided about is none that a person has to look through.
    listing = f"{job.queue}#{job.decision}" if job.decision else listing_of(job.queue, job.state)
    item: Item = {"listing": listing}
    item["listed_at"] = job.finished_at if job.state is State.DEAD and job.finished_at else job.created_at
    for name in names:
        value = getattr(job, name)
        if name in _ALWAYS or (value and value != _DEFAULTS[name]):
            item[name] = _stored(name, value)
    return item


def job_of(item: Mapping[str, Any]) -> Job:
    """The job in an item."""
    values = {name: item[name] for name in _NAMES if item.get(name) is not None}
    for name in _TEXT & values.keys():
        values[name] = json.loads(values[name])
    values["state"] = State(values["state"])
    if "mode" in values:
        values["mode"] = Mode(values["mode"])
    for name in ("tags", "depends_on"):
        values[name] = tuple(values.get(name, ()))
    for name in ("waits_for", "children"):
        values[name] = frozenset(values.get(name, ()))
    if "failure" in values:
        values["failure"] = Failure(**values["failure"])
    values["attempts"] = tuple(_attempt_of(entry) for entry in values.get("attempts", ()))
    return Job(**values)


def _attempt_of(entry: Mapping[str, Any]) -> Attempt:
    failure = entry.get("failure")
    return Attempt(**{**entry, "failure": Failure(**failure) if failure else None})


def _stored(name: str, value: Any) -> Any:
    if name in _TEXT:
        return json.dumps(value, separators=(",", ":"))
    if name == "failure":
        return _failure_item(value)
    if name == "attempts":
        return [_attempt_item(entry) for entry in value[-HISTORY:]]
    if isinstance(value, State | Mode):
        return value.value
    return value


def _attempt_item(attempt: Attempt) -> Item:
    item: Item = {name: getattr(attempt, name) for name in ("number", "started_at", "ended_at", "worker")}
    return item | ({"failure": _failure_item(attempt.failure)} if attempt.failure else {})


def _failure_item(failure: Failure) -> Item:
    return {"kind": failure.kind, "error": failure.error, "message": failure.message}
