"""Calls of models and plugins over HTTP."""

from __future__ import annotations

from pydantic import Field

from adbot_queue.core.schema import Period, Query, View


class EventsQuery(Query, Period):
    """Which events: by their time, both ends included."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class EventView(View):
    """One attempt of a job to call something; `outcome` is `answered` or why there is no good answer."""

    at: str
    job: str
    attempt: int
    type: str
    tenant: str
    outcome: str
    duration_ms: int


class AiEventView(EventView):
    """A call of a model. Tokens and cost are null where no answer came; the cost also where no price is set."""

    model: str
    stop_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_microdollars: int | None = None
    request_id: str | None = None


class AiEventPage(View):
    """Events, newest first."""

    items: list[AiEventView]
    next: str | None


class ExecutionView(EventView):
    """An execution of a plugin; `output_bytes` is null where no answer came."""

    plugin: str
    input_bytes: int
    output_bytes: int | None = None
    request_id: str | None = None


class ExecutionPage(View):
    """Executions, newest first."""

    items: list[ExecutionView]
    next: str | None
