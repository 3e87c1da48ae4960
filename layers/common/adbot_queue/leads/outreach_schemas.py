"""HTTP models of templates, runs, conversations and the inbox."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, StringConstraints

from adbot_queue.core.schema import Date, Input, Moment, Query, View
from adbot_queue.leads.automation import Run
from adbot_queue.leads.inbox import Unmatched
from adbot_queue.leads.messages import LeadMessage
from adbot_queue.leads.schemas import Id
from adbot_queue.leads.templates import KnownTemplate, TemplateList
from adbot_queue.providers.twilio_codes import meaning

MAX_TEXT = 1_600
"""Characters that Twilio takes in one message: https://www.twilio.com/docs/api/errors/21617."""

Meaning = Annotated[str | None, BeforeValidator(meaning)]


class TemplateView(View):
    """A template and WhatsApp's approval of it. Only one that is `approved` is sent."""

    content_sid: str
    name: str
    language: str
    category: str
    status: str
    rejection_reason: str
    variables: list[str]
    body: str
    failures: int = Field(description="messages that failed because of it")
    last_code: int | None
    last_reason: str | None = Field(description="what the code means")
    last_failed_at: Moment | None

    @classmethod
    def of(cls, known: KnownTemplate) -> Self:
        """Return the view of a template."""
        template = known.template
        return cls(
            content_sid=template.sid,
            name=template.name,
            language=template.language,
            category=template.category,
            status=template.status,
            rejection_reason=template.rejection_reason,
            variables=list(template.variables),
            body=template.body,
            failures=known.failures,
            last_code=known.last_code,
            last_reason=meaning(known.last_code),
            last_failed_at=known.last_failed_at,
        )


class TemplatePage(View):
    """All templates by name, and when they were read from Twilio (null: never)."""

    items: list[TemplateView]
    next: None = None
    refreshed_at: Moment | None

    @classmethod
    def of(cls, known: TemplateList) -> Self:
        """Return the view of all templates."""
        return cls(items=[TemplateView.of(one) for one in known.items], refreshed_at=known.refreshed_at)


class RunBody(Input):
    """Whose queue of which date; the caller's of today if absent."""

    owner_id: Id | None = None
    date: Date | None = Field(None, description="in the zone of the owner; today if absent")


class RunView(View):
    """The queue of a day after an act: `running`, `stopping`, `stopped`, `done`, and why."""

    owner_id: str
    date: str
    state: str
    reason: str
    job_id: str | None = Field(description="of the run: `GET /jobs/{id}` shows its progress")
    window_from: Moment
    window_to: Moment
    counts: dict[str, int]
    repeated: bool = Field(description="it was so before")

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return the view of a run."""
        day = run.day
        return cls(
            owner_id=day.owner_id,
            date=day.date,
            state=day.state.value,
            reason=day.reason,
            job_id=day.job_id,
            window_from=day.window_from,
            window_to=day.window_to,
            counts=dict(day.counts),
            repeated=run.repeated,
        )


class WriteMessage(Input):
    """A text to a lead."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT)]


class MessageWritten(View):
    """A text that is on its way, sent by `job_id`."""

    message_id: str
    job_id: str


class LeadMessageView(View):
    """A message to or from a lead."""

    message_id: str
    at: Moment
    direction: str
    channel: str
    state: str = Field(
        description="Twilio's: accepted to read, failed; or received, waiting, asked, unknown (a lost answer), not_sent"
    )
    text: str
    content_sid: str | None
    sid: str | None
    code: int | None
    reason: str | None = Field(description="what the code means")
    by: str | None = Field(description="the user who wrote it; null: automation, or the lead")
    media: int

    @classmethod
    def of(cls, message: LeadMessage) -> Self:
        """Return the view of a message."""
        return cls(
            message_id=message.key.ref,
            at=message.key.at,
            direction=message.direction,
            channel=message.channel,
            state=message.state,
            text=message.text,
            content_sid=message.content_sid,
            sid=message.sid,
            code=message.code,
            reason=meaning(message.code),
            by=message.by,
            media=message.media,
        )


class LeadMessagePage(View):
    """Messages of a lead, newest first."""

    items: list[LeadMessageView]
    next: str | None


class InboxQuery(Query):
    """Which page."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class UnmatchedView(View):
    """A message that matches no lead. `phone` is null if the person hides it."""

    message_id: str
    at: Moment
    channel: str
    phone: str | None
    wa_id: str | None
    name: str
    text: str
    wish: str | None = Field(description="STOP, START or HELP")
    media: int

    @classmethod
    def of(cls, unmatched: Unmatched) -> Self:
        """Return the view of a message."""
        message = unmatched.message
        return cls(
            message_id=message.sid,
            at=unmatched.at,
            channel=message.channel,
            phone=message.phone,
            wa_id=message.wa_id,
            name=message.name,
            text=message.text,
            wish=message.wish,
            media=message.media,
        )


class InboxPage(View):
    """Messages that match no lead, newest first."""

    items: list[UnmatchedView]
    next: str | None


class MatchBody(Input):
    """Whose message it is."""

    lead_id: Id
