"""HTTP models of the call logs: models and plugins."""

from __future__ import annotations

from pydantic import Field

from adbot_queue.core.schema import Period, Query, View


class CallsQuery(Query, Period):
    """Filter and page of calls; both ends of the period are included."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class CallView(View):
    """One call by an attempt of a job; `outcome` is `answered` or the kind of failure."""

    at: str
    job_id: str = Field(validation_alias="job")
    attempt: int
    type: str
    user_id: str = Field(validation_alias="tenant")
    outcome: str
    duration_ms: int


class AiEventView(CallView):
    """A call of a model. Tokens and cost are null without an answer; cost also without a configured price."""

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


class PluginExecutionView(CallView):
    """An execution of a plugin; `output_bytes` is null without an answer."""

    plugin: str
    input_bytes: int
    output_bytes: int | None = None
    request_id: str | None = None


class PluginExecutionPage(View):
    """Executions, newest first."""

    items: list[PluginExecutionView]
    next: str | None
