"""`greet`: greets a person by name."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, TransientError
from adbot_queue.jobs.job_types import HOUR_S, JobType


class Greet(Input):
    """A person to greet."""

    name: str = Field(min_length=1, max_length=100)


def greet(payload: Greet, context: Context) -> dict[str, Any]:
    """Greet, and say whom.

    Raises:
        PermanentError: the name is a number. TransientError: Godot does not come at once.
    """
    if payload.name.isdigit():
        raise PermanentError("a number has no name")
    if payload.name == "Godot" and context.attempt == 1:
        raise TransientError("not here yet", retry_after=60)
    return {"greeted": payload.name}


JOB = JobType(queue="messages", payload=Greet, handler=greet, horizon_s=HOUR_S, example={"name": "Cara"})
