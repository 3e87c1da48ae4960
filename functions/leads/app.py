"""Leads: add, list, change, take over, release, hand to a colleague."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from adbot_queue.core.http import ADMINS, LEAD_READERS, SALES, Api, Request, Response
from adbot_queue.leads import directory, directory_schemas, handling, schemas, service
from adbot_queue.leads.handling import Handled, Handling
from adbot_queue.leads.references import ReferenceKind
from adbot_queue.leads.service import Act
from adbot_queue.ledger import Actor

api = Api("Leads")


def _act(request: Request[Any]) -> Act:
    return Act(Actor.behind(request), request.caller.sees_only, request.idempotency_key, request.fingerprint)


def _owner(request: Request[Any], owner_id: str | None, field: str = "owner_id") -> str:
    """Return whose leads are meant: the caller's if not said; `sales` name themselves only."""
    caller = request.caller
    if owner_id and caller.sees_only not in {None, owner_id}:
        raise Invalid.field(field, "must be your own id")
    return owner_id or caller.id


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
    added = service.from_env().add(_owner(request, body.owner_id), body.spec(), _act(request))
    view = schemas.LeadView.of(added.lead)
    return Response(view, 200, {"idempotent-replayed": "true"}) if added.replayed else Response(view)


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
    return "by_owner", _owner(request, query.owner_id)


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
        service.from_env().change(request.path["id"], body.changes(), body.version, _act(request))
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
    return schemas.HandledView.of(act(handling.from_env(), request.path["id"], _act(request)))


@api.get(
    "/leads/settings",
    roles=LEAD_READERS,
    query=directory_schemas.UserQuery,
    returns=directory_schemas.SettingsView,
    summary="Get the settings of a user",
    raises=(NotFound,),
)
def get_lead_settings(request: Request[None]) -> directory_schemas.SettingsView:
    """404 for a user who was never given leads."""
    found = directory.from_env().settings(_owner(request, request.query.user_id, "user_id"))
    return directory_schemas.SettingsView.of(found, system_clock())


@api.put(
    "/leads/settings",
    roles=SALES,
    query=directory_schemas.UserQuery,
    body=directory_schemas.SettingsBody,
    returns=directory_schemas.SettingsView,
    summary="Replace the settings of a user",
    raises=(Conflict,),
)
def put_lead_settings(request: Request[directory_schemas.SettingsBody]) -> directory_schemas.SettingsView:
    """A queue that is prepared keeps its capacity and window; the pause holds at once."""
    user_id, body = _owner(request, request.query.user_id, "user_id"), request.body
    put = directory.from_env().put_settings(body.settings(user_id), body.version, Actor.behind(request))
    return directory_schemas.SettingsView.of(put, system_clock())


@api.get(
    "/leads/clients",
    roles=LEAD_READERS,
    query=schemas.PageQuery,
    returns=directory_schemas.ClientPage,
    summary="List clients",
)
def list_clients(request: Request[None]) -> directory_schemas.ClientPage:
    """By id."""
    items, following = directory.from_env().page(ReferenceKind.CLIENT, request.query.limit, request.query.cursor)
    return directory_schemas.ClientPage.model_validate({"items": items, "next": following})


@api.get(
    "/leads/clients/{id}",
    roles=LEAD_READERS,
    returns=directory_schemas.ClientView,
    summary="Get a client",
    raises=(NotFound,),
)
def get_client(request: Request[None]) -> directory_schemas.ClientView:
    """A company that leads are won for."""
    return directory_schemas.ClientView.model_validate(directory.from_env().client(request.path["id"]))


@api.put(
    "/leads/clients/{id}",
    roles=ADMINS,
    body=directory_schemas.ClientBody,
    returns=directory_schemas.ClientView,
    summary="Create or change a client",
    raises=(Conflict,),
)
def put_client(request: Request[directory_schemas.ClientBody]) -> directory_schemas.ClientView:
    """A client is never deleted: leads refer to it."""
    wanted = request.body.client(_reference_id(request))
    put = directory.from_env().put_client(wanted, request.body.version, Actor.behind(request))
    return directory_schemas.ClientView.model_validate(put)


@api.get(
    "/leads/projects",
    roles=LEAD_READERS,
    query=schemas.PageQuery,
    returns=directory_schemas.ProjectPage,
    summary="List projects",
)
def list_projects(request: Request[None]) -> directory_schemas.ProjectPage:
    """By id."""
    items, following = directory.from_env().page(ReferenceKind.PROJECT, request.query.limit, request.query.cursor)
    return directory_schemas.ProjectPage.model_validate({"items": items, "next": following})


@api.get(
    "/leads/projects/{id}",
    roles=LEAD_READERS,
    returns=directory_schemas.ProjectView,
    summary="Get a project",
    raises=(NotFound,),
)
def get_project(request: Request[None]) -> directory_schemas.ProjectView:
    """What is offered to leads."""
    return directory_schemas.ProjectView.model_validate(directory.from_env().project(request.path["id"]))


@api.put(
    "/leads/projects/{id}",
    roles=ADMINS,
    body=directory_schemas.ProjectBody,
    returns=directory_schemas.ProjectView,
    summary="Create or change a project",
    raises=(Conflict,),
)
def put_project(request: Request[directory_schemas.ProjectBody]) -> directory_schemas.ProjectView:
    """A project is never deleted: leads refer to it."""
    wanted = request.body.project(_reference_id(request))
    put = directory.from_env().put_project(wanted, request.body.version, Actor.behind(request))
    return directory_schemas.ProjectView.model_validate(put)


def _reference_id(request: Request[Any]) -> str:
    found = request.path["id"]
    if not schemas.ID.fullmatch(found):
        raise Invalid.field("id", f"must be {schemas.ID_IN_WORDS}")
    return found


handler = api.handler
