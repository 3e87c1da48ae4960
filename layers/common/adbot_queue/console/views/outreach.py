"""Around the leads: messages that match none, templates, figures of the team."""

from __future__ import annotations

from adbot_queue.console.request import Done, Page, Reply, Visit, checked
from adbot_queue.core.clock import iso
from adbot_queue.core.errors import Invalid
from adbot_queue.core.instants import day_start
from adbot_queue.leads import figures, inbound, outreach_schemas, service, templates
from adbot_queue.providers.twilio_codes import meaning

SHOWN = 50
FIGURES = ("prepared", "sent", "delivered", "read", "failed", "unsure", "replied", "taken")


def inbox(visit: Visit) -> Reply:
    """Messages that match no lead, newest first."""
    query = visit.query_as(outreach_schemas.InboxQuery, limit=str(SHOWN))
    found, following = inbound.from_env().unmatched(SHOWN, query.cursor)
    shown = {"found": found, "older": visit.here(cursor=following) if following else ""}
    return Page("lead_inbox.html", "Unmatched", shown)


def match(visit: Visit) -> Reply:
    """Say whose a message is: it does what it would have done."""
    lead_id = checked(outreach_schemas.MatchBody, {"lead_id": visit.form.get("lead_id", "").strip()}).lead_id
    lead = service.from_env().get(lead_id, visit.caller.sees_only)
    inbound.from_env().match(visit.params["id"], lead.id, visit.actor)
    return Done(
        f"Matched to {lead.name}. Later messages find the lead by themselves.", open=f"/console/leads/{lead.id}"
    )


def listed(_visit: Visit) -> Reply:
    """Templates with WhatsApp's approval and what failed with them."""
    known = templates.from_env().listed()
    return Page(
        "templates.html", "Templates", {"rows": known.items, "refreshed_at": known.refreshed_at, "meaning": meaning}
    )


def team(visit: Visit) -> Reply:
    """A day of every user."""
    date = visit.query.get("date") or iso(visit.now)[:10]
    try:
        day_start(date)
    except ValueError as error:
        raise Invalid.field("date", "must be a date like 2026-12-31") from error
    if only := visit.caller.sees_only:
        days, following = figures.from_env().of_user(only, date, date), None
    else:
        days, following = figures.from_env().of_team(date, visit.query.get("cursor"))
    shown = {"date": date, "days": days, "names": FIGURES, "older": visit.here(cursor=following) if following else ""}
    return Page("lead_team.html", "Team", shown)
