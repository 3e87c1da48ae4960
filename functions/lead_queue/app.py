"""The queue of a day: prepare, show, export; figures; settings of users, clients and projects."""

from __future__ import annotations

from typing import Any

from adbot_queue.core.callers import ADMINS, LEAD_READERS, SALES
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import Conflict, Invalid, NotFound
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.leads import directory, directory_schemas, export, figures, prepare, queue_schemas, schemas
from adbot_queue.leads.callers import act_of, owner_of, reference_id_of
from adbot_queue.leads.references import ReferenceKind
from adbot_queue.ledger import Actor

api = Api("Leads")


@api.post(
    "/leads/queue/prepare",
    roles=SALES,
    body=queue_schemas.PrepareQueue,
    returns=queue_schemas.PreparedView,
    summary="Prepare the queue of a day",
    raises=(Conflict,),
)
def prepare_queue(request: Request[queue_schemas.PrepareQueue]) -> queue_schemas.PreparedView:
    """Adds what fits; a second call adds only what still fits."""
    owner_id = owner_of(request, request.body.owner_id)
    made = prepare.from_env().prepare(owner_id, request.body.date, act_of(request), request.time_left)
    return queue_schemas.PreparedView.of(made)


@api.get(
    "/leads/queue",
    roles=LEAD_READERS,
    query=queue_schemas.LeadQueuePageQuery,
    returns=queue_schemas.LeadQueueView,
    summary="Get the queue of a day",
)
def get_queue(request: Request[None]) -> queue_schemas.LeadQueueView:
    """Figures, and a page of its entries in the order of sending."""
    query: queue_schemas.LeadQueuePageQuery = request.query
    owner_id, date = _day(request)
    view = queue_schemas.DayView.of(owner_id, date, figures.from_env().day(owner_id, date))
    entries, following = figures.from_env().entries(owner_id, date, query.limit, query.cursor)
    preview = prepare.from_env().preview(owner_id, date) if query.preview else None
    return queue_schemas.LeadQueueView(
        **view.model_dump(),
        preview=preview and queue_schemas.PreparedView.of(preview),
        items=[queue_schemas.LeadEntryView.of(*entry) for entry in entries],
        next=following,
    )


@api.get(
    "/leads/queue/export.csv",
    roles=LEAD_READERS,
    query=queue_schemas.LeadQueueQuery,
    summary="Export the queue of a day (CSV)",
    produces="text/csv",
)
def export_queue(request: Request[None]) -> Response:
    """Every entry with what became of its message, for spreadsheets."""
    owner_id, date = _day(request)
    return Response(export.from_env().queue(owner_id, date), headers=export.headers(f"lead-queue-{date}"))


def _day(request: Request[Any]) -> tuple[str, str]:
    owner_id = owner_of(request, request.query.owner_id)
    return owner_id, request.query.date or figures.from_env().next_date(owner_id)


@api.get(
    "/leads/figures",
    roles=LEAD_READERS,
    query=queue_schemas.FiguresQuery,
    returns=queue_schemas.FiguresPage,
    summary="Get figures of users by day",
)
def get_figures(request: Request[None]) -> queue_schemas.FiguresPage:
    """Of one user up to 31 days; of all users (for staff) one day."""
    query: queue_schemas.FiguresQuery = request.query
    following = None
    if query.owner_id or request.caller.sees_only:
        days = figures.from_env().of_user(owner_of(request, query.owner_id), query.first, query.last or query.first)
    elif query.last not in {None, query.first}:
        raise Invalid.field("to", "not allowed without owner_id")
    else:
        days, following = figures.from_env().of_team(query.first, query.cursor)
    return queue_schemas.FiguresPage(items=[queue_schemas.DayView.of(*day) for day in days], next=following)


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
    found = directory.from_env().settings(owner_of(request, request.query.user_id, "user_id"))
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
    user_id, body = owner_of(request, request.query.user_id, "user_id"), request.body
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
    wanted = request.body.client(reference_id_of(request))
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
    wanted = request.body.project(reference_id_of(request))
    put = directory.from_env().put_project(wanted, request.body.version, Actor.behind(request))
    return directory_schemas.ProjectView.model_validate(put)


handler = api.handler
