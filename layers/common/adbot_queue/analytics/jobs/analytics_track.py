"""`analytics-track`: one event to Segment, under the job's key: Segment keeps one of those with the same messageId.

What Segment has taken is kept here too, once under the same id, for the counting (`analytics`). An attempt that dies in
between is repeated, and so are both.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from adbot_queue.analytics import service
from adbot_queue.analytics.model import ARTICLE, article_problem
from adbot_queue.core import telemetry
from adbot_queue.core.errors import ProviderFailed
from adbot_queue.core.schema import Input, InstantText
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.jobs.provider_call import calling, verdict
from adbot_queue.providers import segment

MAX_PROPERTIES = segment.MAX_BYTES - 4096
"""Bytes of JSON; the rest of the request needs less than was taken off."""

Id = Annotated[str, Field(min_length=1, max_length=255)]


def _with_article(properties: dict[str, Any]) -> dict[str, Any]:
    named = properties.get(ARTICLE)
    if named is not None and (problem := article_problem(named)):
        raise ValueError(f"{ARTICLE} {problem}")
    return properties


class Track(Input):
    """An event of a person: `user_id`, `anonymous_id` or both."""

    event: str = Field(min_length=1, max_length=255)
    user_id: Id | None = None
    anonymous_id: Id | None = None
    properties: Annotated[dict[str, Any], AfterValidator(_with_article)] = Field(default_factory=dict)
    occurred_at: InstantText | None = Field(default=None, description="By default when it is sent")

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if self.user_id is None and self.anonymous_id is None:
            raise ValueError("user_id, anonymous_id or both are needed")
        if len(json.dumps(self.properties, allow_nan=False).encode()) > MAX_PROPERTIES:
            raise ValueError(f"properties may have {MAX_PROPERTIES} bytes as JSON")
        return self


def track(payload: Track, context: Context) -> dict[str, Any]:
    """Send the event, and keep it for the counting.

    Returns:
        message_id: what Segment knows the event by.

    Raises:
        PermanentError: refused for what was asked. TransientError: Segment is busy or was not reached.
        NotConfigured, Unavailable: as `segment.track`.
    """
    names = {"userId": payload.user_id, "anonymousId": payload.anonymous_id, "timestamp": payload.occurred_at}
    event = {
        "messageId": context.idempotency_key,
        "event": payload.event,
        "properties": payload.properties,
        **{name: value for name, value in names.items() if value is not None},
    }
    try:
        with calling("segment", segment.TIMEOUT_S, context) as seconds:
            segment.track(event, seconds)
    except ProviderFailed as error:
        raise verdict(error) from error.__cause__ or error
    service.from_env().record(
        context.idempotency_key,
        payload.event,
        user_id=payload.user_id,
        anonymous_id=payload.anonymous_id,
        properties=payload.properties,
        occurred_at=payload.occurred_at,
    )
    telemetry.count("EventsTracked")
    return {"message_id": context.idempotency_key}


JOB = JobType(
    queue="analytics",
    payload=Track,
    handler=track,
    timeout_s=15,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    needs=("segment",),
    example={"event": "Sold", "user_id": "cara"},
)
