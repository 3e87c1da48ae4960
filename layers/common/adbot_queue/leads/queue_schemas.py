"""What the queue of a day looks like over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Date, Input, Moment, Query, View
from adbot_queue.leads.model import COUNTS, Day, Entry, Lead
from adbot_queue.leads.prepare import Prepared
from adbot_queue.leads.schemas import Id


class PrepareQueue(Input):
    """Which queue is prepared."""

    date: Date | None = Field(None, description="today to a week ahead, in the owner's zone; the next day with hours")
    owner_id: Id | None = Field(None, description="the caller if absent")


class LeadQueueQuery(Query):
    """Which queue."""

    date: Date | None = Field(None, description="the next day with hours if absent")
    owner_id: Id | None = Field(None, description="the caller if absent")


class LeadQueuePageQuery(LeadQueueQuery):
    """Which page of which queue."""

    preview: bool = Field(default=False, description="whether to say what preparing would do now")
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class PreparedView(View):
    """What preparing did, or would do."""

    date: str
    zone: str
    window: str = Field(description="in UTC: from/to")
    capacity: int
    room: int = Field(description="entries that still fit")
    eligible: int = Field(description="leads that were never written to, those without a known consent among them")
    is_exact: bool = Field(description="false: there are more eligible and skipped leads than these")
    prepared: int
    skipped: dict[str, int] = Field(
        description="leads left out, by reason: consent_unknown, us_marketing, empty_variable, owner_elsewhere (in a "
        "queue of another owner), already_today, over_capacity"
    )
    failed: dict[str, str] = Field(description="leads that changed at the same time, with the reason")
    is_complete: bool = Field(description="false: time ran out, and the same request goes on")

    @classmethod
    def of(cls, prepared: Prepared) -> Self:
        """Return the view of a result."""
        plan = prepared.plan
        return cls(
            date=plan.date,
            zone=plan.settings.zone,
            window=f"{iso(plan.window.start)}/{iso(plan.window.end)}",
            capacity=plan.capacity,
            room=plan.room,
            eligible=prepared.eligible,
            is_exact=prepared.is_exact,
            prepared=prepared.prepared,
            skipped=dict(prepared.skipped),
            failed=prepared.failed,
            is_complete=prepared.is_complete,
        )


class LeadEntryView(View):
    """A lead in the queue of a day, with its message."""

    lead_id: str
    name: str | None
    phone: str | None
    state: str = Field(
        description="queued, handed (to its job), sending (Twilio is asked), sent, delivered, read, failed, unsure "
        "(whether it was sent is unknown; never sent again), cancelled, carried_over"
    )
    content_sid: str
    variables: dict[str, str]
    job_id: str | None
    sid: str | None
    code: int | None = Field(description="Twilio's error code")
    reason: str
    changed_at: Moment

    @classmethod
    def of(cls, entry: Entry, lead: Lead | None) -> Self:
        """Return the view of an entry and its lead."""
        known = {name: getattr(entry, name) for name in cls.model_fields if name not in {"lead_id", "name", "phone"}}
        return cls(lead_id=entry.key.lead_id, name=lead and lead.name, phone=lead and lead.phone, **known)


class DayView(View):
    """Figures of a user's day."""

    owner_id: str
    date: str
    state: str = Field(description="none (not prepared), prepared, running, stopping, stopped, done")
    reason: str
    job_id: str | None
    capacity: int | None
    window: str | None = Field(description="in UTC: from/to")
    counts: dict[str, int] = Field(description="entries by what became of them; replies and takes")
    first_reply_s: int | None = Field(description="mean time to the first reply, in seconds")

    @classmethod
    def of(cls, owner_id: str, date: str, day: Day | None) -> Self:
        """Return the view of a day, prepared or not."""
        counts: Mapping[str, int] = day.counts if day else {}
        replied = counts.get("replied", 0)
        return cls(
            owner_id=owner_id,
            date=date,
            state=day.state if day else "none",
            reason=day.reason if day else "",
            job_id=day.job_id if day else None,
            capacity=day.capacity if day else None,
            window=f"{iso(day.window_from)}/{iso(day.window_to)}" if day else None,
            counts={name: counts.get(name, 0) for name in COUNTS},
            first_reply_s=round(day.first_reply_ms / replied / 1000) if day and replied else None,
        )


class LeadQueueView(DayView):
    """The queue of a day: figures, and a page of its entries in the order of sending."""

    preview: PreparedView | None
    items: list[LeadEntryView]
    next: str | None


class FiguresQuery(Query):
    """Whose figures of which days; without owner_id those of all users of one day."""

    owner_id: Id | None = None
    first: Date = Field(alias="from")
    last: Date | None = Field(None, alias="to", description="of one owner: up to 31 days; the first day if absent")
    cursor: str | None = Field(None, max_length=2000)


class FiguresPage(View):
    """Figures of days."""

    items: list[DayView]
    next: str | None = None
