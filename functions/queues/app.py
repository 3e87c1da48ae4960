"""Queues: figures, pause and resume."""

from __future__ import annotations

from adbot_queue.core.callers import ADMINS, OWNERS, STAFF
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import Conflict, NotFound
from adbot_queue.core.http import Api, Request
from adbot_queue.jobs import service
from adbot_queue.jobs.api import list_schemas
from adbot_queue.jobs.api import purge as clean
from adbot_queue.ledger import Actor
from adbot_queue.queues import pause as queues_control
from adbot_queue.queues import schemas as queue_schemas
from adbot_queue.queues import service as queues

api = Api("Queues")


@api.get(
    "/queues", roles=STAFF, scope="jobs.read", returns=queue_schemas.QueuePage, summary="List queues with their counts"
)
def list_queues(_request: Request[None]) -> queue_schemas.QueuePage:
    """Reads the same number of items regardless of how many jobs there are."""
    return queue_schemas.QueuePage.of(queues.from_env().snapshots(), system_clock())


@api.get(
    "/queues/{name}/stats",
    roles=STAFF,
    query=queue_schemas.QueueStatsQuery,
    returns=queue_schemas.QueueStatsView,
    summary="Get throughput, wait and run times of a queue",
    raises=(NotFound,),
)
def get_queue_stats(request: Request[None]) -> queue_schemas.QueueStatsView:
    """Percentiles are exact to the bucket of a histogram."""
    return queue_schemas.QueueStatsView.of_queue(*queues.from_env().stats(request.path["name"], request.query.minutes))


@api.post(
    "/queues/{name}/pause",
    roles=ADMINS,
    body=queue_schemas.PauseQueue,
    returns=queue_schemas.PauseResultView,
    summary="Pause a queue (running jobs finish)",
    raises=(NotFound,),
)
def pause_queue(request: Request[queue_schemas.PauseQueue]) -> queue_schemas.PauseResultView:
    """Pausing twice changes nothing."""
    return queue_schemas.PauseResultView.model_validate(
        queues_control.from_env().pause(request.path["name"], request.body.reason, Actor.behind(request))
    )


@api.post(
    "/queues/{name}/resume",
    roles=ADMINS,
    body=queue_schemas.PauseQueue,
    returns=queue_schemas.PauseResultView,
    summary="Resume a queue",
    raises=(NotFound,),
)
def resume_queue(request: Request[queue_schemas.PauseQueue]) -> queue_schemas.PauseResultView:
    """Resuming twice changes nothing."""
    return queue_schemas.PauseResultView.model_validate(
        queues_control.from_env().resume(request.path["name"], request.body.reason, Actor.behind(request))
    )


@api.get(
    "/queues/{name}/jobs",
    roles=STAFF,
    query=list_schemas.QueueJobsQuery,
    returns=list_schemas.JobPage,
    summary="List the jobs of a queue in one state",
    raises=(NotFound,),
)
def list_queue_jobs(request: Request[None]) -> list_schemas.JobPage:
    """Newest first. A page may be shorter than its limit while more follow."""
    query, jobs = request.query, service.from_env()
    found = jobs.page(request.path["name"], query.state, query.limit, query.cursor, query.wanted())
    return list_schemas.JobPage.of(*found)


@api.delete(
    "/queues/{name}/clean",
    roles=OWNERS,
    query=list_schemas.CleanQuery,
    returns=list_schemas.CleanView,
    summary="Delete old jobs that have ended (without `confirm`: only count them)",
    raises=(NotFound, Conflict),
)
def clean_queue(request: Request[None]) -> list_schemas.CleanView:
    """`confirm` and `cut_off` are those of the dry run (`count`, `cut_off`); 409 if another number matches."""
    found = clean.clean(
        service.from_env(), request.path["name"], request.query, Actor.behind(request), request.time_left
    )
    return list_schemas.CleanView.model_validate(found)


handler = api.handler
