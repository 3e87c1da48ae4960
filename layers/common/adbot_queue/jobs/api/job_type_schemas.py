"""Job types over HTTP."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from adbot_queue.core.errors import NotConfigured, Unavailable
from adbot_queue.core.schema import View
from adbot_queue.jobs import job_types
from adbot_queue.jobs.job_types import JobType
from adbot_queue.providers import registry as providers


class NeedView(View):
    """A provider whose credentials or settings a job type needs."""

    provider: str
    configured: bool
    problem: str | None = Field(description="What is missing; null when nothing is")


class JobTypeView(View):
    """A job type: what its payload looks like, where it runs, and how it is retried."""

    type: str
    queue: str
    timeout_seconds: int = Field(description="Longest run of one attempt")
    max_attempts: int = Field(description="Quick attempts; a provider's outage is then waited out up to the horizon")
    horizon_seconds: int = Field(description="How long after its first run a job is retried while a provider is down")
    idempotency_window_seconds: int = Field(description="How long an Idempotency-Key means the same job")
    is_once: bool = Field(description="Equal payloads of a user are one job, also without an Idempotency-Key")
    cancellable: bool = Field(description="A running job stops when it is cancelled; others only before they run")
    long_running: bool = Field(description="It works in slices: its progress is shown, and it can be resumed")
    needs: list[NeedView]
    payload_schema: dict[str, Any] = Field(description="JSON Schema of the payload")
    example: dict[str, Any] | None

    @classmethod
    def of(cls, known: JobType) -> JobTypeView:
        """Of a declaration."""
        policy = known.retry_policy()
        return cls(
            type=known.name,
            queue=known.queue,
            timeout_seconds=known.timeout_s,
            max_attempts=policy.attempts,
            horizon_seconds=known.horizon_s,
            idempotency_window_seconds=known.window_s,
            is_once=known.is_once,
            cancellable=known.cancellable,
            long_running=known.long_running,
            needs=[_need(provider) for provider in known.needs],
            payload_schema=known.payload.model_json_schema(),
            example=dict(known.example) if known.example is not None else None,
        )


class JobTypePage(View):
    """The job types that people may enqueue, in order."""

    items: list[JobTypeView]

    @classmethod
    def of_all(cls) -> JobTypePage:
        """Import and list every public type."""
        return cls(items=[JobTypeView.of(known) for known in job_types.public()])


def _need(provider: str) -> NeedView:
    try:
        providers.check(provider)
    except (NotConfigured, Unavailable) as error:
        return NeedView(provider=provider, configured=False, problem=str(error))
    return NeedView(provider=provider, configured=True, problem=None)
