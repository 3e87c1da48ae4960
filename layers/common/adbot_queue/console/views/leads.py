"""Leads: the list, one as a conversation, and what people do with it."""

from __future__ import annotations

from datetime import datetime

from adbot_queue.console.request import Done, Page, Raw, Reply, Visit, checked
from adbot_queue.console.views.lead_day import act_of, owner_of
from adbot_queue.core.errors import Invalid
from adbot_queue.core.zones import zone
from adbot_queue.leads import conversation, export, handling, outreach_schemas, schemas, service
from adbot_queue.leads.handling import Handled, Message
from adbot_queue.leads.model import ConsentState, Lead, Reach, Status
from adbot_queue.providers.twilio_codes import meaning

SHOWN = 50
FILTERS = {"status": [*Status], "consent": [*ConsentState], "reach": [*Reach], "taken": ["true", "false"]}
"""Filter of the list -> its values."""

NEXT_STATUS = {
    Status.ENGAGED: (Status.QUALIFIED, Status.LOST),
    Status.QUALIFIED: (Status.BOOKED, Status.LOST),
    Status.BOOKED: (Status.LOST,),
    Status.CONTACTED: (Status.LOST,),
    Status.NEW: (Status.LOST,),
    Status.LOST: (Status.ENGAGED,),
}
"""Status -> those that a person may give a lead."""

REFUSALS = {
    "opted_out": "The person asked for no more messages; automation never writes to them.",
    "taken": "A person has taken the lead over; automation does not write to it.",
    "replied": "The person replied; automation does not write to them.",
    "closed": "The lead is beyond the first message; automation does not write to it.",
    "consent_denied": "The person did not agree to be written to.",
    "no_whatsapp": "The phone has no WhatsApp.",
    "consent_unknown": "It is unknown whether the person agreed to be written to; add the consent and its proof.",
}
"""Why automation does not write to a lead, in a sentence."""


def index(visit: Visit) -> Reply:
    """Leads of a user or a client, newest first, by filters."""
    query = visit.query_as(schemas.LeadListQuery, limit=str(SHOWN))
    by, value = _listed_by(visit, query)
    leads, following = service.from_env().page(by, value, query.wants, SHOWN, query.cursor)
    shown = {
        "leads": leads,
        "filters": FILTERS,
        "chosen": {name: visit.query[name] for name in FILTERS if visit.query.get(name)},
        "older": visit.here(cursor=following) if following else "",
        "newest": visit.here(cursor=None) if query.cursor else "",
        "owner_id": value if by == "by_owner" else "",
    }
    return Page("leads.html", "Leads", shown)


def _listed_by(visit: Visit, query: schemas.LeadQuery) -> tuple[str, str]:
    if query.client_id and not query.owner_id and visit.caller.sees_only is None:
        return "by_client", query.client_id
    return "by_owner", owner_of(visit)


def download(visit: Visit) -> Reply:
    """The list as CSV, with the same filters."""
    query = visit.query_as(schemas.LeadQuery)
    by, value = _listed_by(visit, query)
    return Raw(export.from_env().leads(by, value, query.wants), export.headers("leads"))


def show(visit: Visit) -> Reply:
    """One lead: messages as a conversation, consent, what happened."""
    lead_id, sees_only = visit.params["id"], visit.caller.sees_only
    leads = service.from_env()
    lead = leads.get(lead_id, sees_only)
    messages, _ = conversation.from_env().page(lead_id, sees_only, SHOWN, None, visit.session.user)
    trail, _ = leads.trail(lead_id, sees_only, SHOWN, None)
    shown = {
        "lead": lead,
        "messages": [(message, meaning(message.code)) for message in reversed(messages)],
        "trail": trail,
        "refusal": REFUSALS.get(lead.refusal() or "", ""),
        "moves": NEXT_STATUS.get(lead.status, ()),
        "local_time": datetime.fromtimestamp(visit.now / 1000, zone(lead.tz)).strftime("%H:%M") if lead.tz else "",
        "is_open": bool(lead.window_until and lead.window_until > visit.now),
        "mine": lead.taken_by == visit.session.user,
    }
    return Page("lead.html", lead.name, shown)


def take(visit: Visit) -> Reply:
    """Take a lead over from automation."""
    return _handled(handling.from_env().take(visit.params["id"], act_of(visit)), "Taken.")


def release(visit: Visit) -> Reply:
    """Give a lead back."""
    return _handled(handling.from_env().release(visit.params["id"], act_of(visit)), "Released.")


def assign(visit: Visit) -> Reply:
    """Hand a lead to a colleague."""
    to = checked(schemas.AssignLead, {"owner_id": visit.form.get("to", "").strip()}).owner_id
    return _handled(handling.from_env().assign(visit.params["id"], to, act_of(visit)), f"Assigned to {to}.")


def _handled(handled: Handled, done: str) -> Done:
    said = {
        Message.NONE: "",
        Message.CANCELLED: " The message that was about to go out is cancelled.",
        Message.HANDED_OVER: " Twilio has a message already; it cannot be recalled.",
    }
    return Done(done + said[handled.message], back=_page(handled.lead))


def change(visit: Visit) -> Reply:
    """Give a lead a status."""
    body = checked(schemas.ChangeLead, {"status": visit.form.get("status", ""), "version": _version(visit)})
    lead = service.from_env().change(visit.params["id"], body.changes(), body.version, act_of(visit))
    return Done(f"{lead.name} is {lead.status}.", back=_page(lead))


def consent(visit: Visit) -> Reply:
    """Note whether the person agreed to be written to, where, and the proof."""
    given = {name: visit.form.get(name, "").strip() for name in ("state", "source", "text", "proof")}
    body = checked(schemas.ChangeLead, {"consent": given, "version": _version(visit)})
    lead = service.from_env().change(visit.params["id"], body.changes(), body.version, act_of(visit))
    return Done(f"Consent of {lead.name} is {lead.consent.state}.", back=_page(lead))


def write(visit: Visit) -> Reply:
    """Send a text, while WhatsApp's window is open."""
    text = checked(outreach_schemas.WriteMessage, {"text": visit.form.get("text", "")}).text
    conversation.from_env().write(visit.params["id"], text, act_of(visit), visit.time_left)
    return Done("On its way. Its ticks follow here.", open=f"/console/leads/{visit.params['id']}")


def _version(visit: Visit) -> int:
    text = visit.form.get("version", "")
    if not (text.isascii() and text.isdigit()):
        raise Invalid.field("version", "must be the version that the page shows")
    return int(text)


def _page(lead: Lead) -> str:
    return f"/console/leads/{lead.id}"
