"""What a test expects of an enqueued job, and how a job differs from it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adbot_queue.core.clock import iso
from adbot_queue.jobs.model import Job

MAX_LISTED = 20
"""Jobs that a failure describes."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A job as a test describes it. None: anything.

    Attributes:
        payload: values that the payload has, among others.
        tags: tags that the job has, among others.
        run_at: when the job may run (ms), compared to the second.
    """

    type: str
    payload: Mapping[str, Any] | None = None
    queue: str | None = None
    priority: int | None = None
    tags: frozenset[str] = frozenset()
    run_at: int | None = None

    def matches(self, job: Job) -> bool:
        """Return whether a job is as expected."""
        return job.type == self.type and not self.differences(job)

    def differences(self, job: Job) -> list[str]:
        """Return what is different about a job of the type, in words."""
        found = list(_payload_differences("payload", self.payload or {}, job.payload))
        if self.queue is not None and job.queue != self.queue:
            found.append(f"queue is {job.queue}, not {self.queue}")
        if self.priority is not None and job.priority != self.priority:
            found.append(f"priority is {job.priority}, not {self.priority}")
        if missing := sorted(self.tags - set(job.tags)):
            found.append(f"tags are {_json(job.tags)}, without {', '.join(missing)}")
        if self.run_at is not None and (job.run_at is None or job.run_at // 1000 != self.run_at // 1000):
            found.append(f"run_at is {'not set' if job.run_at is None else iso(job.run_at)}, not {iso(self.run_at)}")
        return found

    def __str__(self) -> str:
        """Return the expectation in words."""
        said = [f"payload {_json(self.payload)}"] if self.payload else []
        said += [f"queue {self.queue}"] if self.queue is not None else []
        said += [f"priority {self.priority}"] if self.priority is not None else []
        said += [f"tags {', '.join(sorted(self.tags))}"] if self.tags else []
        said += [f"run_at {iso(self.run_at)}"] if self.run_at is not None else []
        return f"of type {self.type}" + (f" with {', '.join(said)}" if said else "")

    def failure(self, count: int, jobs: Sequence[Job]) -> str:
        """Return what a test reads when another number of these jobs is as expected."""
        matching = sum(map(self.matches, jobs))
        return f"expected {_number(count)} {self}, found {matching or 'none'}. {self._instead(jobs)}"

    def _instead(self, jobs: Sequence[Job]) -> str:
        if not jobs:
            return "No job was enqueued."
        nearest = sorted(jobs, key=lambda job: job.type != self.type)
        lines = [f"- {self._described(job)}" for job in nearest[:MAX_LISTED]]
        more = [f"- and {len(jobs) - MAX_LISTED} more"] if len(jobs) > MAX_LISTED else []
        return "\n".join(["Enqueued were:", *lines, *more])

    def _described(self, job: Job) -> str:
        name = f"{job.type} on {job.queue} ({job.state})"
        if job.type != self.type:
            return f"{name}: payload {_json(job.payload)}"
        return f"{name}: {'; '.join(self.differences(job)) or 'as expected'}"


def _payload_differences(path: str, expected: Any, actual: Any) -> Iterator[str]:
    if not (isinstance(expected, Mapping) and isinstance(actual, Mapping)):
        if expected != actual:
            yield f"{path} is {_json(actual)}, not {_json(expected)}"
        return
    for name, value in expected.items():
        if name in actual:
            yield from _payload_differences(f"{path}.{name}", value, actual[name])
        else:
            yield f"{path}.{name} is missing"


def millis(moment: datetime | int | None) -> int | None:
    """Return a moment in milliseconds.

    Raises:
        ValueError: a datetime without a time zone.
    """
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError("run_at: must have a time zone")
    return round(moment.timestamp() * 1000)


def unknown_fields(payload: Iterable[str], known: Iterable[str]) -> str | None:
    """Return why no payload of the type can match, None when one can."""
    if wrong := sorted(set(payload) - set(known)):
        return f"payload.{wrong[0]}: does not exist; the fields are {', '.join(sorted(known))}"
    return None


def _number(count: int) -> str:
    return {0: "no job", 1: "1 job"}.get(count, f"{count} jobs")


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
