"""What leads look like over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema, model_validator

from adbot_queue.core import zones
from adbot_queue.core.schema import Input, Instant, Moment, Query, View
from adbot_queue.leads import phones
from adbot_queue.leads.handling import Handled
from adbot_queue.leads.model import (
    DEFAULT_PRIORITY,
    MAX_PRIORITY,
    MIN_PRIORITY,
    Consent,
    ConsentState,
    Lead,
    Reach,
    Status,
)
from adbot_queue.leads.service import (
    ID,
    ID_IN_WORDS,
    MAX_FIELD,
    MAX_FIELD_NAME,
    MAX_FIELDS,
    MAX_FIELDS_SIZE,
    MAX_NAME,
    MAX_PROOF,
    LeadSpec,
)


def _zone(name: str) -> str:
    if name not in zones.names():
        raise ValueError("must be an IANA time zone like Europe/Berlin")
    return name


def _fields(fields: dict[str, str]) -> dict[str, str]:
    if sum(len(name) + len(value) for name, value in fields.items()) > MAX_FIELDS_SIZE:
        raise ValueError(f"must have at most {MAX_FIELDS_SIZE} characters")
    return fields


def _id(text: str) -> str:
    if not ID.fullmatch(text):
        raise ValueError(f"must be {ID_IN_WORDS}")
    return text


Id = Annotated[
    str,
    AfterValidator(_id),
    WithJsonSchema({"type": "string", "pattern": f"^{ID.pattern}$", "description": ID_IN_WORDS}),
]
"""The words for it are the type's: a field's own description says whose id it is."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME)]
Source = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_NAME)]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_FIELD_NAME)]
Fields = Annotated[
    dict[FieldName, Annotated[str, Field(max_length=MAX_FIELD)]],
    Field(max_length=MAX_FIELDS),
    AfterValidator(_fields),
]
Zone = Annotated[str, Field(max_length=50), AfterValidator(_zone)]
Country = Annotated[str, Field(min_length=2, max_length=2), AfterValidator(phones.check_country)]
Priority = Annotated[int, Field(ge=MIN_PRIORITY, le=MAX_PRIORITY, description="higher first")]


class ConsentBody(Input):
    """A person's agreement to be written to. `granted` needs a source and a proof."""

    state: ConsentState = Field(strict=False)
    source: Source = Field("", description="where it was given")
    text: str = Field("", max_length=MAX_FIELD, description="its words")
    at: Instant | None = Field(None, description="when it was given")
    proof: str = Field("", max_length=MAX_PROOF, description="where the proof is kept: a link, a file, a call's id")

    @model_validator(mode="after")
    def _proven(self) -> Self:
        if self.state is ConsentState.GRANTED and not (self.source and self.proof):
            raise ValueError("granted needs a source and a proof")
        return self

    def consent(self) -> Consent:
        """Return the consent."""
        return Consent(self.state, self.source, self.text, self.at, self.proof)


class _PhoneBody(Input):
    """A phone, as it is written in a country or with its country's code."""

    country: Country | None = Field(None, description="of a phone without a country code: ISO 3166-1", examples=["DE"])

    def _e164(self, written: str) -> str:
        try:
            return phones.e164(written, self.country)
        except ValueError as error:
            raise ValueError(f"phone: {error}") from error


class NewLead(_PhoneBody):
    """A new lead."""

    client_id: Id
    name: Name
    phone: str = Field(max_length=phones.MAX_WRITTEN, examples=["+49 151 12345678"])
    owner_id: Id | None = Field(None, description="whose lead; the caller's if absent")
    project_id: Id | None = None
    priority: Priority = DEFAULT_PRIORITY
    source: Source = ""
    fields: Fields = Field(default_factory=dict, description="whatever else is known; templates use it")
    consent: ConsentBody | None = Field(None, description="unknown if absent: nothing is sent")
    tz: Zone | None = Field(None, description="the person's time zone")

    @model_validator(mode="after")
    def _normalize(self) -> Self:
        self.phone = self._e164(self.phone)
        return self

    def spec(self) -> LeadSpec:
        """Return what the service takes."""
        return LeadSpec(
            self.client_id,
            self.name,
            self.phone,
            self.project_id,
            self.priority,
            self.source,
            self.fields,
            self.consent.consent() if self.consent else Consent(),
            self.tz,
        )


class ChangeLead(_PhoneBody):
    """What changes of a lead; what is absent stays."""

    client_id: Id | None = None
    name: Name | None = None
    phone: str | None = Field(None, max_length=phones.MAX_WRITTEN)
    project_id: Id | None = Field(None, description="null: none")
    priority: Priority | None = None
    source: Source | None = None
    fields: Fields | None = Field(None, description="all of them, anew")
    consent: ConsentBody | None = None
    tz: Zone | None = Field(None, description="null: unknown")
    status: Status | None = Field(
        None, strict=False, description="engaged (of a lost lead), qualified, booked, lost; others follow by themselves"
    )
    version: int | None = Field(None, ge=1, description="refuse (409) unless it has this version")

    @model_validator(mode="after")
    def _normalize(self) -> Self:
        for name in sorted(self.model_fields_set - {"project_id", "tz", "version", "country"}):
            if getattr(self, name) is None:
                raise ValueError(f"{name}: must not be null")
        if self.phone is not None:
            self.phone = self._e164(self.phone)
        return self

    def changes(self) -> dict[str, Any]:
        """Return the new values by field of `Lead`."""
        given = self.model_fields_set - {"version", "country"}
        found = {name: getattr(self, name) for name in given}
        return found | ({"consent": self.consent.consent()} if self.consent else {})


class AssignLead(Input):
    """Who gets a lead."""

    owner_id: Id


class ConsentView(View):
    """A person's agreement to be written to."""

    state: str
    source: str
    text: str
    at: Moment | None
    proof: str


class LeadView(View):
    """A lead."""

    lead_id: str = Field(validation_alias="id")
    owner_id: str
    client_id: str
    project_id: str | None
    name: str
    phone: str
    wa_id: str | None
    status: str
    priority: int
    source: str
    fields: dict[str, str]
    consent: ConsentView
    tz: str | None
    reach: str = Field(description="whether the phone has WhatsApp: unknown, ok, none")
    window_until: Moment | None = Field(description="until when free text may be sent")
    last_in: Moment | None
    last_out: Moment | None
    unread: bool = Field(description="whether who works it has not read the person's last message")
    touches: int = Field(description="messages that automation handed to Twilio")
    queued_for: str | None = Field(description="date of the queue that has a message for it")
    taken_by: str | None
    taken_at: Moment | None
    not_sendable: str | None = Field(description="why automation does not write to it, in a word")
    version: int
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, lead: Lead) -> Self:
        """Return the view of a lead."""
        return cls.model_validate(lead)


class HandledView(View):
    """A lead after an act, and what became of the message that automation was about to send."""

    lead: LeadView
    message: str = Field(description="none, cancelled, handed_over: Twilio has it and it cannot be recalled")
    sid: str | None = Field(description="of a message that is handed over, once known")
    since: Moment | None

    @classmethod
    def of(cls, handled: Handled) -> Self:
        """Return the view of an act's result."""
        return cls(lead=LeadView.of(handled.lead), message=handled.message, sid=handled.sid, since=handled.since)


class LeadQuery(Query):
    """Which leads: of an owner, or (for staff) of a client; the caller's own if neither is named."""

    owner_id: Id | None = None
    client_id: Id | None = None
    project_id: Id | None = None
    status: Status | None = None
    consent: ConsentState | None = None
    reach: Reach | None = None
    queued: bool | None = Field(None, description="whether a queue has a message for it")
    taken: bool | None = None

    def wants(self, lead: Lead) -> bool:
        """Return whether a lead passes all filters."""
        facts = {
            "owner_id": lead.owner_id,
            "client_id": lead.client_id,
            "project_id": lead.project_id,
            "status": lead.status,
            "consent": lead.consent.state,
            "reach": lead.reach,
            "queued": lead.open_entry is not None,
            "taken": lead.taken_by is not None,
        }
        return all(getattr(self, name) in {None, fact} for name, fact in facts.items())


class LeadListQuery(LeadQuery):
    """Which page of which leads."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class LeadPage(View):
    """Leads, newest first. A page may be shorter than its limit while more follow."""

    items: list[LeadView]
    next: str | None


class TrailEntry(View):
    """One thing that happened to a lead."""

    at: str
    what: str
    actor: str
    role: str
    detail: dict[str, Any] = Field(default_factory=dict)


class TrailPage(View):
    """What happened to a lead, newest first."""

    items: list[TrailEntry]
    next: str | None


class PageQuery(Query):
    """Which page."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)
