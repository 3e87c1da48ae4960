"""`send-email`: one mail to one person through SendGrid.

One recipient a job: many recipients are a batch, so that one bad address fails alone and no recipient sees the others.
A mail is transactional (bought or asked for) or marketing. An address that bounced or complained gets neither, one that
unsubscribed gets no marketing (`messaging.suppressions`).

SendGrid has no idempotency keys. The job's key goes along in `custom_args` and returns with every event of the mail. An
attempt first checks whether its mail is known as sent: recorded after SendGrid's answer, or by SendGrid's first event,
which arrives within seconds. One gap is left: an attempt dies between SendGrid's answer and its record, and the next
one starts before any event. That mail is sent twice, and both show in the job's deliveries.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from adbot_queue.core import telemetry
from adbot_queue.core.errors import ProviderFailed
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.jobs.provider_call import calling, verdict
from adbot_queue.messaging import mail_templates, suppressions
from adbot_queue.messaging import service as deliveries
from adbot_queue.messaging.suppressions import MailKind
from adbot_queue.providers import sendgrid_mail

Category = Annotated[str, Field(min_length=1, max_length=255)]
Template = Literal["welcome", "ticket", "order-confirmation", "report-ready"]


class SendEmail(Input):
    """A mail: one of the product's own by `template`, or any with a subject and a text, an HTML part or both.

    The sender is the installation's.
    """

    to: str = Field(max_length=254, pattern=r"^[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+$", description="one email address")
    template: Template | None = None
    kind: Literal["transactional", "marketing"] | None = Field(
        default=None,
        description="transactional unless given: bought or asked for by the recipient, sent although they unsubscribed",
    )
    group: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="SendGrid's unsubscribe group, for marketing only"
    )
    variables: dict[str, Any] | None = Field(default=None, validate_default=True, description="what the template wants")
    subject: str | None = Field(
        default=None, min_length=1, max_length=500, pattern=r"^[^\r\n]*$", description="one line", validate_default=True
    )
    text: str | None = Field(default=None, min_length=1, max_length=20_000)
    html: str | None = Field(default=None, min_length=1, max_length=50_000)
    categories: list[Category] = Field(default_factory=list, max_length=10)

    @field_validator("kind")
    @classmethod
    def _kind_of_the_template(cls, kind: str | None, info: ValidationInfo) -> str | None:
        if kind and (template := info.data.get("template")) and kind != mail_templates.TEMPLATES[template].kind:
            raise ValueError(f"must be {mail_templates.TEMPLATES[template].kind}, as the template {template} is")
        return kind

    @field_validator("group")
    @classmethod
    def _group_of_marketing(cls, group: int | None, info: ValidationInfo) -> int | None:
        if group is not None and info.data.get("kind", MailKind.MARKETING) != MailKind.MARKETING:
            raise ValueError("requires kind marketing")
        return group

    @field_validator("variables")
    @classmethod
    def _fit_the_template(cls, given: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if template := info.data.get("template"):
            return mail_templates.check(template, given or {}, tolerant=info.context is not None)
        if given is not None and "template" in info.data:
            raise ValueError("belong to a template, and none is named")
        return given

    @field_validator("subject", "text", "html")
    @classmethod
    def _said_once(cls, said: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("template") and said is not None:
            raise ValueError("is the template's to say")
        if said is None and info.field_name == "subject" and info.data.get("template", ...) is None:
            raise PydanticCustomError("missing", "Field required")
        return said

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.template is None and self.text is None and self.html is None:
            raise ValueError("text, html or both are needed, or a template")
        return self


def send_email(payload: SendEmail, context: Context) -> dict[str, Any]:
    """Send the mail.

    Returns:
        message_id: SendGrid's id of the mail. What became of it afterwards: `GET /deliveries/{job_id}`.

    Raises:
        PermanentError: the address is suppressed for this kind of mail, or SendGrid refused what was asked.
        TransientError: SendGrid is busy or was not reached.
        NotConfigured, Unavailable: as `sendgrid_mail.send`, or there is no key for addresses.
    """
    sent = deliveries.from_env()
    if known := sent.message_of(context.job_id, context.idempotency_key):
        telemetry.count("MailsFoundSent")
        return {"message_id": known}
    if reason := suppressions.from_env().reason("email", payload.to, _kind(payload), payload.group):
        telemetry.count("MailsSuppressed")
        raise PermanentError(f"suppressed: {reason}")
    message = _message(payload, context)
    try:
        with calling("sendgrid", sendgrid_mail.TIMEOUT_S, context) as seconds:
            message_id = sendgrid_mail.send(message, seconds)
    except ProviderFailed as error:
        raise verdict(error) from error.__cause__ or error
    telemetry.count("MailsSent")
    sent.accepted("email", context.job_id, context.idempotency_key, message_id)
    return {"message_id": message_id}


def _kind(payload: SendEmail) -> MailKind:
    if payload.template:
        return mail_templates.TEMPLATES[payload.template].kind
    return MailKind(payload.kind or MailKind.TRANSACTIONAL)


def _message(payload: SendEmail, context: Context) -> sendgrid_mail.Message:
    subject, text, html = payload.subject or "", payload.text, payload.html
    if payload.template:
        mail = mail_templates.render(payload.template, payload.variables or {})
        subject, text, html = mail.subject, mail.text, mail.html
    return sendgrid_mail.Message(
        payload.to,
        subject,
        text,
        html,
        {"job": context.job_id, "key": context.idempotency_key},
        tuple(dict.fromkeys(payload.categories)),
        marketing=_kind(payload) is MailKind.MARKETING,
        group=payload.group,
    )


JOB = JobType(
    queue="email",
    payload=SendEmail,
    handler=send_email,
    timeout_s=15,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    needs=("sendgrid",),
    example={"to": "cara@example.com", "subject": "Hello", "text": "Welcome."},
)
