"""How jobs lie in the table: a job as its item and back.

    JOB#<id>                     J   the job; payload and result as JSON text
    IDEM#<hash>                  I   what an idempotency key names (`core.idempotency`)

Index attributes, each there only as long as it means something:

    ready     queue, rank          waiting jobs in the order of service
    due       queue, due_at        delayed and active jobs: the sweeper looks at them by then
    by_state  listing, listed_at   lists: `<queue>#<state>`, and `dead` for the dead letters of all queues
    long      long_list, created_at  long-running jobs of all queues, as long as their rows are there

`v` is the version of the row's format. Readers ignore attributes that they do not know. A change that an older reader
must not write over, or would misread, raises `ROW_VERSION`: older code then leaves the row alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from adbot_queue.core.dynamodb import Item
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.job_queues import QUEUES
from adbot_queue.jobs.model import BAD_ENDS, MAX_HISTORY, Attempt, Job, JobMode, JobState
from adbot_queue.jobs.rank import RANK
from adbot_queue.jobs.unreadable import Unreadable

DEAD_LISTING = "dead"
"""Bad ends of all queues are one list: a person looks through them."""

LONG_LISTING = "long"

ROW_VERSION = 1
"""Written with every row. A row without `v` is of version 1."""

_ALWAYS = {"state", "tenant", "priority", "attempt", "version", "payload"}
_TEXT = {"payload", "result", "progress", "checkpoint"}  # JSON text: numbers with fractions and empty sets survive
_DEFAULTS = {spec.name: spec.default for spec in fields(Job)}
_NAMES = tuple(_DEFAULTS)  # asking a dataclass for its fields each time takes longer than all the rest


def key_of(job_id: str) -> Item:
    """The key of a job's item."""
    return {"pk": f"JOB#{job_id}", "sk": "J"}


def listing_of(queue: str, state: JobState) -> str:
    """Return the list of a job."""
    return DEAD_LISTING if state in BAD_ENDS else f"{queue}#{state}"


def item_of(job: Job) -> Item:
    """A job as its item, index attributes included. What has its default value is left out."""
    return key_of(job.id) | {"v": ROW_VERSION} | _attributes(job, _NAMES)


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
    """Return the job's list, its place there, and those of these fields that do not have their default values."""
    # A decision takes a bad end off the list.
    listing = f"{job.queue}#{job.decision}" if job.decision else listing_of(job.queue, job.state)
    item: Item = {"listing": listing}
    if job.long_running:
        item["long_list"] = LONG_LISTING
    item["listed_at"] = job.finished_at if job.state in BAD_ENDS and job.finished_at else job.created_at
    for name in names:
        value = getattr(job, name)
        if name in _ALWAYS or (value and value != _DEFAULTS[name]):
            item[name] = _stored(name, value)
    return item


def job_of(item: Mapping[str, Any]) -> Job:
    """The job in an item.

    Raises:
        Unreadable: an attribute is missing or is not what this version takes it for, or the row is of a newer version.
    """
    row_version = item.get("v", ROW_VERSION)
    if type(row_version) is not int or row_version > ROW_VERSION:
        raise _unreadable(item, f"its version is above {ROW_VERSION}")
    values: dict[str, Any] = {}
    for name, read in _READERS.items():
        stored = item.get(name)
        if stored is None:
            continue
        try:
            values[name] = read(stored)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _unreadable(item, f"attribute {name}") from error
    if missing := _REQUIRED - values.keys():
        raise _unreadable(item, f"attribute {min(missing)} is missing")
    if item.get("pk", f"JOB#{values['id']}") != f"JOB#{values['id']}":
        raise _unreadable(item, "attribute id")
    return Job(**values)


def sort_out(items: Iterable[Mapping[str, Any]]) -> tuple[list[Job], list[Unreadable]]:
    """The jobs in items, and what cannot be read, each for itself."""
    jobs: list[Job] = []
    unreadable: list[Unreadable] = []
    for item in items:
        try:
            jobs.append(job_of(item))
        except Unreadable as error:
            unreadable.append(error)
    return jobs, unreadable


def _unreadable(item: Mapping[str, Any], problem: str) -> Unreadable:
    return Unreadable(str(item.get("pk", "")).removeprefix("JOB#"), str(item.get("queue", "")), problem)


def exactly(kind: type) -> Callable[[Any], Any]:
    """Return a reader of values of this type and of no subtype."""

    def read(stored: Any) -> Any:
        if type(stored) is not kind:  # True is no number
            raise TypeError(kind.__name__)
        return stored

    return read


def _rank(stored: str) -> str:
    if RANK.fullmatch(stored) is None:
        raise ValueError("no rank")
    return stored


def _queue(stored: str) -> str:
    """Read the name of a queue: no worker of this version takes a job on one of another version."""
    if stored not in QUEUES:
        raise ValueError("no queue")
    return stored


def json_object(stored: str) -> dict[str, Any]:
    """Read an object from JSON text."""
    found: dict[str, Any] = exactly(dict)(json.loads(stored))
    return found


def texts(kind: type, made: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a reader of a list or set of texts."""
    return lambda stored: made(map(exactly(str), exactly(kind)(stored)))


def _attempts(stored: Any) -> tuple[Attempt, ...]:
    return tuple(map(_attempt_of, exactly(list)(stored)))


def _attempt_of(entry: Mapping[str, Any]) -> Attempt:
    failure = entry.get("failure")
    number, started_at, ended_at = (exactly(int)(entry[name]) for name in ("number", "started_at", "ended_at"))
    worker = exactly(str)(entry["worker"])
    return Attempt(number, started_at, ended_at, worker, failure_of(failure) if failure else None)


def failure_of(entry: Mapping[str, Any]) -> Failure:
    """Return a failure from its item; attributes of other versions are ignored."""
    return Failure(*(exactly(str)(entry[name]) for name in ("kind", "error", "message")))


_BY_KIND: dict[str, Callable[[Any], Any]] = {
    "str": exactly(str),
    "int": exactly(int),
    "bool": exactly(bool),
    "JobState": JobState,
    "JobMode": JobMode,
    "Failure": failure_of,
    "tuple[Attempt, ...]": _attempts,
    "tuple[str, ...]": texts(list, tuple),
    "frozenset[str]": texts(set, frozenset),
    "dict[str, Any]": json_object,
    "Any": json.loads,
}
_READERS = {spec.name: _BY_KIND[str(spec.type).removesuffix(" | None")] for spec in fields(Job)}
_READERS |= {"rank": _rank, "queue": _queue}
_REQUIRED = _ALWAYS | {spec.name for spec in fields(Job) if spec.default is MISSING and spec.default_factory is MISSING}


def _stored(name: str, value: Any) -> Any:
    if name in _TEXT:
        return json.dumps(value, separators=(",", ":"))
    if name == "failure":
        return _failure_item(value)
    if name == "attempts":
        return [_attempt_item(entry) for entry in value[-MAX_HISTORY:]]
    if isinstance(value, JobState | JobMode):
        return value.value
    return value


def _attempt_item(attempt: Attempt) -> Item:
    item: Item = {name: getattr(attempt, name) for name in ("number", "started_at", "ended_at", "worker")}
    return item | ({"failure": _failure_item(attempt.failure)} if attempt.failure else {})


def _failure_item(failure: Failure) -> Item:
    return {"kind": failure.kind, "error": failure.error, "message": failure.message}
