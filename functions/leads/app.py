"""Leads: add, list, export, change, take over, release, hand to a colleague."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adbot_queue.core.callers import LEAD_READERS, SALES
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Malformed, NotFound, TooLarge
from adbot_queue.core.http import LARGE_BODY, Api, Request, Response
from adbot_queue.core.ids import fingerprint
from adbot_queue.leads import export, handling, import_file, import_schemas, importer, schemas, service
from adbot_queue.leads.callers import act_of, owner_of
from adbot_queue.leads.handling import Handled, Handling
from adbot_queue.leads.service import Act

api = Api("Leads")


@api.post(
    "/leads",
    roles=SALES,
    body=schemas.NewLead,
    returns=schemas.LeadView,
    status=201,
    also=(200,),
    summary="Create a lead",
    raises=(Conflict, IdempotencyMismatch),
)
def create_lead(request: Request[schemas.NewLead]) -> Response:
    """409 if the owner has a lead with this phone, or (of an exclusive owner) anyone has."""
    body = request.body
    added = service.from_env().add(owner_of(request, body.owner_id), body.spec(), act_of(request))
    view = schemas.LeadView.of(added.lead)
    return Response(view, 200, {"idempotent-replayed": "true"}) if added.replayed else Response(view)


@api.post(
    "/leads/import",
    roles=SALES,
    raw={
        "application/octet-stream": {"type": "string", "format": "binary"},
        "multipart/form-data": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}},
        },
    },
    limit=LARGE_BODY,
    query=import_schemas.ImportQuery,
    returns=import_schemas.ImportView,
    summary="Import up to 10,000 leads (CSV, JSON lines, JSON array, form)",
    raises=(IdempotencyMismatch, Malformed, TooLarge),
)
def import_leads(request: Request[None]) -> import_schemas.ImportView:
    """Columns are known by their names in a few languages, or by `columns`; all others become fields of the lead.

    A file may also come as `text/csv`, `application/x-ndjson`, a JSON array and the like: its format is detected.
    Returns a verdict for every line. A bad line refuses no other.
    """
    query: import_schemas.ImportQuery = request.query
    defaults = query.defaults(system_clock())
    lines = import_file.parse(request.raw, request.header("content-type") or "", defaults)
    by = act_of(request)._replace(fingerprint=fingerprint(f"{request.fingerprint} {request.query_string}"))
    owner_id = owner_of(request, query.owner_id)
    return import_schemas.ImportView.of(importer.from_env().run(owner_id, lines, defaults, by, request.time_left))


@api.get("/leads", roles=LEAD_READERS, query=schemas.LeadListQuery, returns=schemas.LeadPage, summary="List leads")
def list_leads(request: Request[None]) -> schemas.LeadPage:
    """Those of an owner or a client, newest first, with filters."""
    query: schemas.LeadListQuery = request.query
    index, value = _index(request, query)
    leads, following = service.from_env().page(index, value, query.wants, query.limit, query.cursor)
    return schemas.LeadPage(items=[schemas.LeadView.of(lead) for lead in leads], next=following)


def _index(request: Request[Any], query: schemas.LeadQuery) -> tuple[str, str]:
    if query.client_id and not query.owner_id and request.caller.sees_only is None:
        return "by_client", query.client_id
    return "by_owner", owner_of(request, query.owner_id)


@api.get("/leads/{id}", roles=LEAD_READERS, returns=schemas.LeadView, summary="Get a lead", raises=(NotFound,))
def get_lead(request: Request[None]) -> schemas.LeadView:
    """With the reason for which automation does not write to it."""
    return schemas.LeadView.of(service.from_env().get(request.path["id"], request.caller.sees_only))


@api.patch(
    "/leads/{id}",
    roles=SALES,
    body=schemas.ChangeLead,
    returns=schemas.LeadView,
    summary="Change a lead",
    raises=(NotFound, Conflict),
)
def change_lead(request: Request[schemas.ChangeLead]) -> schemas.LeadView:
    """Changing it to what it is changes nothing."""
    body = request.body
    return schemas.LeadView.of(
        service.from_env().change(request.path["id"], body.changes(), body.version, act_of(request))
    )


@api.get(
    "/leads/{id}/trail",
    roles=LEAD_READERS,
    query=schemas.PageQuery,
    returns=schemas.TrailPage,
    summary="List what happened to a lead",
    raises=(NotFound,),
)
def list_trail(request: Request[None]) -> schemas.TrailPage:
    """Newest first, with cause and actor."""
    query: schemas.PageQuery = request.query
    found, following = service.from_env().trail(request.path["id"], request.caller.sees_only, query.limit, query.cursor)
    return schemas.TrailPage(items=[schemas.TrailEntry.model_validate(item) for item in found], next=following)


@api.post(
    "/leads/{id}/take",
    roles=SALES,
    returns=schemas.HandledView,
    summary="Take a lead over from automation",
    raises=(NotFound, Conflict),
)
def take_lead(request: Request[None]) -> schemas.HandledView:
    """A message that Twilio does not have is cancelled. 409 names the colleague who was faster."""
    return _handled(request, Handling.take)


@api.post(
    "/leads/{id}/release",
    roles=SALES,
    returns=schemas.HandledView,
    summary="Release a lead (its status stays)",
    raises=(NotFound, Conflict),
)
def release_lead(request: Request[None]) -> schemas.HandledView:
    """Releasing it twice changes nothing."""
    return _handled(request, Handling.release)


@api.post(
    "/leads/{id}/assign",
    roles=SALES,
    body=schemas.AssignLead,
    returns=schemas.HandledView,
    summary="Assign a lead to another user",
    raises=(NotFound, Conflict),
)
def assign_lead(request: Request[schemas.AssignLead]) -> schemas.HandledView:
    """A message that Twilio does not have is cancelled. 409 while one is being sent."""
    owner_id = request.body.owner_id
    return _handled(request, lambda acts, lead_id, by: acts.assign(lead_id, owner_id, by))


def _handled(request: Request[Any], act: Callable[[Handling, str, Act], Handled]) -> schemas.HandledView:
    return schemas.HandledView.of(act(handling.from_env(), request.path["id"], act_of(request)))


@api.get(
    "/leads/export.csv",
    roles=LEAD_READERS,
    query=schemas.LeadQuery,
    summary="Export leads (CSV, up to 5,000)",
    produces="text/csv",
)
def export_leads(request: Request[None]) -> Response:
    """The leads of `GET /leads` with the same filters, for spreadsheets. 422 asks to narrow the filter."""
    query: schemas.LeadQuery = request.query
    index, value = _index(request, query)
    return Response(export.from_env().leads(index, value, query.wants), headers=export.headers("leads"))


handler = api.handler
