"""Automation over WhatsApp: templates, start and stop of a day's queue, conversations, the inbox."""

from __future__ import annotations

from typing import Any

from adbot_queue.core import events, telemetry
from adbot_queue.core.callers import LEAD_READERS, SALES
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Invalid, NotConfigured, NotFound, ProviderFailed
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.leads import automation, conversation, inbound, service, templates
from adbot_queue.leads import outreach_schemas as schemas
from adbot_queue.leads.automation import Run
from adbot_queue.leads.service import Act
from adbot_queue.ledger import Actor

api = Api("Leads")


def _owner(request: Request[schemas.RunBody]) -> str:
    """Return whose queue is meant: the caller's if not said; `sales` name themselves only."""
    caller, named = request.caller, request.body.owner_id
    if named and caller.sees_only not in {None, named}:
        raise Invalid.field("owner_id", "must be your own id")
    return named or caller.id


@api.get("/templates", roles=LEAD_READERS, returns=schemas.TemplatePage, summary="List WhatsApp templates")
def list_templates(_request: Request[None]) -> schemas.TemplatePage:
    """As Twilio had them within the last hour, with WhatsApp's approval and what failed with them."""
    return schemas.TemplatePage.of(templates.from_env().listed())


@api.post(
    "/leads/queue/start",
    roles=SALES,
    body=schemas.RunBody,
    returns=schemas.RunView,
    status=202,
    also=(200,),
    summary="Start to send the queue of a day",
    raises=(NotFound, Conflict, NotConfigured, ProviderFailed),
)
def start_lead_queue(request: Request[schemas.RunBody]) -> Response:
    """Spread over the window, in batches. 409 unless the template is approved. Starting it twice is one run."""
    by = Actor.behind(request)
    run = automation.from_env().start(_owner(request), request.body.date, by, request.time_left)
    return _shown(run, 202)


@api.post(
    "/leads/queue/stop",
    roles=SALES,
    body=schemas.RunBody,
    returns=schemas.RunView,
    summary="Stop to send the queue of a day",
    raises=(NotFound,),
)
def stop_lead_queue(request: Request[schemas.RunBody]) -> Response:
    """Nothing is sent after the answer; what Twilio has is on its way. Stopping twice changes nothing."""
    return _shown(automation.from_env().stop(_owner(request), request.body.date, Actor.behind(request)), 200)


def _shown(run: Run, status: int) -> Response:
    return Response(schemas.RunView.of(run), 200 if run.repeated else status)


@api.get(
    "/leads/{id}/messages",
    roles=LEAD_READERS,
    query=schemas.InboxQuery,
    returns=schemas.LeadMessagePage,
    summary="List messages to and from a lead",
    raises=(NotFound,),
)
def list_lead_messages(request: Request[None]) -> schemas.LeadMessagePage:
    """Newest first, kept for 90 days. The user who works the lead has read them then."""
    query: schemas.InboxQuery = request.query
    found, following = conversation.from_env().page(
        request.path["id"], request.caller.sees_only, query.limit, query.cursor, request.caller.id
    )
    return schemas.LeadMessagePage(items=[schemas.LeadMessageView.of(one) for one in found], next=following)


@api.post(
    "/leads/{id}/messages",
    roles=SALES,
    body=schemas.WriteMessage,
    returns=schemas.MessageWritten,
    status=202,
    also=(200,),
    summary="Send a text to a lead",
    raises=(NotFound, Conflict, IdempotencyMismatch),
)
def write_lead_message(request: Request[schemas.WriteMessage]) -> Response:
    """Within 24 hours of the person's last message; 409 outside."""
    by = Act(Actor.behind(request), request.caller.sees_only, request.idempotency_key, request.fingerprint)
    written = conversation.from_env().write(request.path["id"], request.body.text, by, request.time_left)
    view = schemas.MessageWritten(message_id=written.message.ref, job_id=written.job.id)
    return Response(view, 200, {"idempotent-replayed": "true"}) if written.replayed else Response(view)


@api.get(
    "/leads/inbox",
    roles=LEAD_READERS,
    query=schemas.InboxQuery,
    returns=schemas.InboxPage,
    summary="List messages that match no lead",
)
def list_inbox(request: Request[None]) -> schemas.InboxPage:
    """Newest first, kept for 90 days or until they are matched."""
    found, following = inbound.from_env().unmatched(request.query.limit, request.query.cursor)
    return schemas.InboxPage(items=[schemas.UnmatchedView.of(one) for one in found], next=following)


@api.post(
    "/leads/inbox/{id}/match",
    roles=SALES,
    body=schemas.MatchBody,
    returns=schemas.LeadMessagePage,
    summary="Assign a message of the inbox to a lead",
    raises=(NotFound, Conflict),
)
def match_message(request: Request[schemas.MatchBody]) -> schemas.LeadMessagePage:
    """It then does what it would have done: a reply opens the window, a STOP opts out. Later messages find the lead."""
    lead = service.from_env().get(request.body.lead_id, request.caller.sees_only)
    inbound.from_env().match(request.path["id"], lead.id, Actor.behind(request))
    found, following = conversation.from_env().page(lead.id, request.caller.sees_only, 50, None, request.caller.id)
    return schemas.LeadMessagePage(items=[schemas.LeadMessageView.of(one) for one in found], next=following)


def handler(event: Any, context: Any) -> Any:
    """An HTTP request, or the schedule's tick: days without a run are closed, and templates read again."""
    if not events.is_tick(event):
        return api.handler(event, context)
    try:
        closed = automation.from_env().close_left()
        return {"closed": closed, "templates": len(templates.from_env().refresh().items)}
    except NotConfigured as error:
        telemetry.logger.info("templates are not read", reason=error.detail)
        return {"closed": closed, "templates": 0}
    finally:
        telemetry.flush()
