"""One attempt at a job, without the platform around it."""

from __future__ import annotations

from typing import Any

from adbot_queue.jobs import job_types
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.retry import failure_of

NOW = 1_763_769_900_000


def context(key: str = "job-1", seconds: float = 20, age_s: float = 0) -> Context:
    """Return a job's context with that many seconds left, of a job enqueued that many seconds ago."""
    deadline, created_at = NOW + round(seconds * 1000), NOW - round(age_s * 1000)
    return Context(
        key, 1, key, deadline, lambda: NOW, lambda: False, lambda _percent, _note: None, created_at=created_at
    )


def run(job_type: str, payload: dict[str, Any], *, key: str = "job-1", seconds: float = 20, age_s: float = 0) -> Any:
    """The result of one attempt; raises what the processor raised."""
    known = job_types.find(job_type)
    return known.run(known.payload.model_validate(payload), context(key, seconds, age_s))


def failure(job_type: str, payload: dict[str, Any], **options: Any) -> tuple[Failure, float | None]:
    """What one attempt failed by, as the platform tells failures apart, and the seconds asked for."""
    try:
        result = run(job_type, payload, **options)
    except Exception as error:  # noqa: BLE001  this is the platform's own question
        return failure_of(error)
    raise AssertionError(f"it went well: {result}")
