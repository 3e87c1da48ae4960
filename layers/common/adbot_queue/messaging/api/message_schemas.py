"""HTTP models of text messages."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasPath, BeforeValidator, Field

from adbot_queue.core.schema import Moment, View
from adbot_queue.providers.twilio_codes import meaning


class MessageView(View):
    """Delivery state of a text message; `message_id` is the id of the provider, `reason` explains its `error_code`."""

    message_id: str = Field(validation_alias="sid")
    job_id: str = Field(validation_alias="job")
    state: str
    changed_at: Moment
    error_code: int | None
    reason: Annotated[str | None, BeforeValidator(meaning)] = Field(validation_alias=AliasPath("error_code"))
