"""`send-whatsapp`: one message to one phone through Twilio (`messaging.phone_messages`)."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from adbot_queue.core import telemetry
from adbot_queue.core.schema import Input, Phone
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType
from adbot_queue.messaging.phone_messages import Text, callback_url, send_once
from adbot_queue.providers import twilio

Variable = Annotated[str, StringConstraints(min_length=1, max_length=32)]


class SendWhatsApp(Input):
    """A text, within 24 hours of the recipient's last message, or an approved template with its variables."""

    to: Phone
    text: Text | None = None
    content_sid: str | None = Field(default=None, pattern=r"^HX[0-9a-fA-F]{32}$", description="HX and 32 hex digits")
    content_variables: dict[Variable, Text] = Field(default_factory=dict, max_length=100)

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.text is None) == (self.content_sid is None):
            raise ValueError("either text or content_sid is needed")
        if self.content_variables and self.content_sid is None:
            raise ValueError("content_variables need a content_sid")
        return self


def send_whatsapp(payload: SendWhatsApp, context: Context) -> dict[str, Any]:
    """Send the text or the template.

    Returns:
        sid: Twilio's id of the message; status: as Twilio took it, `GET /messages/{sid}` tells how far it came.

    Raises:
        As `send_sms`. That 24 hours have passed is reported later as a rule: state failed, code 63016.
    """
    message = twilio.Message(
        payload.to,
        payload.text,
        payload.content_sid,
        payload.content_variables,
        whatsapp=True,
        status_callback=callback_url(context),
    )
    sent = send_once(message, context)
    telemetry.count("WhatsAppsSent")
    return {"sid": sent.sid, "status": sent.status}


JOB = JobType(
    queue="messages",
    payload=SendWhatsApp,
    handler=send_whatsapp,
    timeout_s=15,
    horizon_s=HOUR_S,
    cap_s=5 * MINUTE_S,
    needs=("twilio",),
    example={"to": "+4915112345678", "text": "Your order is on its way."},
)
