"""Jobs: enqueue, look at, cancel, retry."""

from __future__ import annotations

from adbot_queue.core.callers import ADMINS, STAFF
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotConfigured, NotFound, RateLimited
from adbot_queue.core.http import LARGE_BODY, Api, Request, Response
from adbot_queue.core.schema import View
from adbot_queue.jobs import lifecycle, service
from adbot_queue.jobs.api import batch_schemas, list_schemas, schemas
from adbot_queue.jobs.api.batch import enqueue_batch
from adbot_queue.jobs.api.job_type_schemas import JobTypePage
from adbot_queue.jobs.api.permission import permitted
from adbot_queue.jobs.enqueue import owner_check
from adbot_queue.ledger import Actor
from adbot_queue.platform.rate_limits import RateLimitResult

api = Api("Jobs")


@api.post(
    "/jobs",
    roles=ADMINS,
    scope="jobs.write",
    body=schemas.EnqueueJob,
    returns=schemas.JobView,
    status=202,
    summary="Enqueue a job (201: executed within the request)",
    raises=(RateLimited, Conflict, IdempotencyMismatch, NotConfigured),
    also=(200, 201),
)
def enqueue_job(request: Request[schemas.EnqueueJob]) -> Response:
    """The same request with the same Idempotency-Key answers 200 with the current state of the first job."""
    jobs, user = service.from_env(), request.caller.id
    wanted = request.body.new(user, request.idempotency_key)
    (new,) = permitted(jobs, request.caller, [wanted])
    rate_limit = jobs.acquire(user)
    enqueued = jobs.enqueue(new, Actor.behind(request), request.time_left, rate_limit)
    view = schemas.JobView.of(enqueued.job)
    return _enqueued(view, rate_limit, replayed=enqueued.replayed, ended=enqueued.job.is_terminal)


def _enqueued(view: View, rate_limit: RateLimitResult, *, replayed: bool, ended: bool) -> Response:
    return Response.idempotent(view, 201 if ended else 202, service.rate_headers(rate_limit), replayed=replayed)


@api.post(
    "/jobs/batch",
    roles=ADMINS,
    scope="jobs.write",
    body=batch_schemas.EnqueueBatch,
    returns=batch_schemas.BatchView,
    limit=LARGE_BODY,
    status=202,
    summary="Enqueue up to 100 jobs (201: all executed within the request)",
    raises=(RateLimited, Conflict, IdempotencyMismatch, NotConfigured),
    also=(200, 201),
)
def enqueue_jobs(request: Request[batch_schemas.EnqueueBatch]) -> Response:
    """One invalid job rejects the whole batch; a reused key rejects its own job alone."""
    batch = enqueue_batch(service.from_env(), request)
    ended = all(item.state in service.TERMINAL for item in batch.view.items)
    return _enqueued(batch.view, batch.rate_limit, replayed=batch.replayed, ended=ended)


@api.get(
    "/jobs",
    roles=STAFF,
    scope="jobs.read",
    query=list_schemas.LongQuery,
    returns=list_schemas.JobPage,
    summary="List long-running jobs",
)
def list_jobs(request: Request[list_schemas.LongQuery]) -> list_schemas.JobPage:
    """Newest first, of all queues."""
    query = request.query
    return list_schemas.JobPage.of(*service.from_env().long_running(query.limit, query.cursor))


@api.get(
    "/job-types",
    roles=STAFF,
    scope="jobs.read",
    returns=JobTypePage,
    summary="List the job types with their payload schemas",
)
def list_job_types(_: Request[None]) -> JobTypePage:
    """With queue, retries, idempotency window, needed providers and an example each."""
    return JobTypePage.of_all()


@api.get("/jobs/{id}", roles=STAFF, scope="jobs.read", returns=schemas.JobView, summary="Get a job", raises=(NotFound,))
def get_job(request: Request[None]) -> schemas.JobView:
    """With all its attempts."""
    return schemas.JobView.of(service.from_env().job(request.path["id"]))


@api.delete(
    "/jobs/{id}",
    roles=ADMINS,
    scope="jobs.write",
    returns=schemas.JobView,
    summary="Cancel a job (202: it is running and will stop)",
    raises=(NotFound, Conflict),
    also=(202,),
)
def cancel_job(request: Request[None]) -> Response:
    """Cancelling twice changes nothing."""
    job = lifecycle.from_env().cancel(request.path["id"], Actor.behind(request))
    return Response(schemas.JobView.of(job), 200 if job.is_terminal else 202)


@api.post(
    "/jobs/{id}/retry",
    roles=ADMINS,
    body=schemas.RetryJob,
    returns=schemas.JobView,
    status=202,
    summary="Retry a failed, dead or cancelled job",
    raises=(NotFound, Conflict),
    also=(201,),
)
def retry_job(request: Request[schemas.RetryJob]) -> Response:
    """Starts a new cycle of attempts, optionally with another payload. Money above the limit needs the owner again."""
    body = request.body
    before = service.from_env().job(request.path["id"])
    owner_check.check(request.caller, before.type, before.payload if body.payload is None else body.payload)
    job = lifecycle.from_env().retry(
        request.path["id"], Actor.behind(request), body.reason, payload=body.payload, time_left=request.time_left
    )
    return Response(schemas.JobView.of(job), 201 if job.is_terminal else 202)


handler = api.handler
