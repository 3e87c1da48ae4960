"""Schedules: create, show, replace and remove them; run one now."""

from __future__ import annotations

import dataclasses
from http import HTTPStatus
from typing import Any

from adbot_queue.core.callers import ADMINS, STAFF
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotConfigured, NotFound, RateLimited
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.jobs.enqueue import owner_check
from adbot_queue.ledger import Actor
from adbot_queue.schedules import list_schemas, schemas
from adbot_queue.schedules import service as schedules
from adbot_queue.schedules.creation import Command
from adbot_queue.schedules.model import ScheduleSpec

api = Api("Schedules")


def _command(request: Request[Any]) -> Command:
    return Command(Actor.behind(request), request.idempotency_key, request.fingerprint)


def _permitted(request: Request[Any]) -> ScheduleSpec:
    """Return what the caller specifies, if the caller may enqueue its job."""
    spec: ScheduleSpec = request.body.spec(by_owner=request.caller.is_owner)
    return dataclasses.replace(spec, payload=owner_check.permitted(request.caller, spec.type, spec.payload))


@api.get(
    "/schedules",
    roles=STAFF,
    query=list_schemas.SchedulesQuery,
    returns=list_schemas.SchedulePage,
    summary="List schedules",
)
def list_schedules(request: Request[None]) -> list_schemas.SchedulePage:
    """In the order of their creation."""
    page = schedules.from_env().page(request.query.limit, request.query.cursor)
    return list_schemas.SchedulePage.of(page, system_clock())


@api.post(
    "/schedules",
    roles=ADMINS,
    body=schemas.CreateSchedule,
    returns=schemas.ScheduleView,
    status=201,
    also=(200,),
    summary="Create a schedule",
    raises=(Conflict, IdempotencyMismatch, NotConfigured),
)
def create_schedule(request: Request[schemas.CreateSchedule]) -> Response:
    """The same Idempotency-Key answers with the first one."""
    created = schedules.from_env().create(request.body.name, _permitted(request), _command(request))
    view = schemas.ScheduleView.of(created.schedule, system_clock())
    return Response.idempotent(view, HTTPStatus.CREATED, replayed=created.replayed)


@api.get(
    "/schedules/{name}",
    roles=STAFF,
    returns=list_schemas.ScheduleDetail,
    summary="Get a schedule with its latest ticks",
    raises=(NotFound,),
)
def get_schedule(request: Request[None]) -> list_schemas.ScheduleDetail:
    """The next five runs, the last ten ticks."""
    service = schedules.from_env()
    schedule = service.get(request.path["name"])
    ticks = [list_schemas.TickView.model_validate(tick) for tick in service.ticks(schedule.name)]
    return list_schemas.ScheduleDetail.of(schedule, system_clock(), ticks=ticks)


@api.put(
    "/schedules/{name}",
    roles=ADMINS,
    body=schemas.ReplaceSchedule,
    returns=schemas.ScheduleView,
    summary="Replace a schedule",
    raises=(NotFound, Conflict, NotConfigured),
)
def replace_schedule(request: Request[schemas.ReplaceSchedule]) -> schemas.ScheduleView:
    """Replacing it with the same changes nothing. Of two requests at the same time one gets 409."""
    body, actor = request.body, Actor.behind(request)
    changed = schedules.from_env().change(request.path["name"], _permitted(request), body.version, actor)
    return schemas.ScheduleView.of(changed, system_clock())


@api.delete(
    "/schedules/{name}",
    roles=ADMINS,
    returns=schemas.ScheduleView,
    summary="Delete a schedule",
    raises=(NotFound, Conflict),
)
def delete_schedule(request: Request[None]) -> schemas.ScheduleView:
    """Answers with the schedule as it was. Jobs that have started stay; those of the next two minutes are cancelled."""
    removed = schedules.from_env().remove(request.path["name"], Actor.behind(request))
    return schemas.ScheduleView.of(removed, system_clock())


@api.post(
    "/schedules/{name}/run",
    roles=ADMINS,
    returns=list_schemas.StartedView,
    status=202,
    also=(200, 201),
    summary="Run the job of a schedule now",
    raises=(NotFound, Conflict, IdempotencyMismatch, RateLimited, NotConfigured),
)
def run_schedule(request: Request[None]) -> Response:
    """Also of a disabled schedule. 201 when the job was executed within the request, 200 when before."""
    name, service = request.path["name"], schedules.from_env()
    spec = service.get(name).spec
    owner_check.check(request.caller, spec.type, spec.payload)
    enqueued = service.run(name, _command(request), request.request_id, request.time_left)
    view = list_schemas.StartedView.of(name, enqueued.job)
    status = HTTPStatus.CREATED if enqueued.job.is_terminal else HTTPStatus.ACCEPTED
    return Response.idempotent(view, status, replayed=enqueued.replayed)


handler = api.handler
