"""`send-email`: one mail to one person through SendGrid.

One recipient a job: whoever writes to many enqueues a batch, so that one bad address fails alone and nobody sees the
others. SendGrid has no idempotency keys: an attempt that dies between SendGrid's yes and its own end sends the mail a
second time. The job's key goes along in `custom_args`, so that SendGrid's events name the job and show such a double.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from adbot_queue.core import telemetry
from adbot_queue.core.errors import ProviderFailed
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.processors.calls import calling, verdict
from adbot_queue.providers import sendgrid_mail

Category = Annotated[str, Field(min_length=1, max_length=255)]


class SendEmail(Input):
    """A mail with a text, an HTML part or both. The sender is the installation's."""

    to: str = Field(max_length=254, pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+$")
    subject: str = Field(min_length=1, max_length=500, pattern=r"^[^\r\n]*$")
    text: str | None = Field(default=None, min_length=1, max_length=20_000)
    html: str | None = Field(default=None, min_length=1, max_length=50_000)
    categories: list[Category] = Field(default_factory=list, max_length=10)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.text is None and self.html is None:
            raise ValueError("text, html or both are needed")
        return self


def send_email(payload: SendEmail, context: Context) -> dict[str, Any]:
    """Send the mail.

    Returns:
        message_id: SendGrid's id of the mail. Delivery is what SendGrid reports later.

    Raises:
        Permanent: refused for what was asked. Transient: SendGrid is busy or was not reached.
        NotConfigured, Unavailable: as `sendgrid_mail.send`.
    """
    message = sendgrid_mail.Message(
        payload.to,
        payload.subject,
        payload.text,
        payload.html,
        {"job": context.job_id, "key": context.idempotency_key},
        tuple(dict.fromkeys(payload.categories)),
    )
    try:
        with calling("sendgrid", sendgrid_mail.TIMEOUT_S, context) as seconds:
            message_id = sendgrid_mail.send(message, seconds)
    except ProviderFailed as error:
        raise verdict(error) from error.__cause__ or error
    telemetry.count("MailsSent")
    return {"message_id": message_id}
