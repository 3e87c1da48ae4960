"""Dead letters: looking through them, replaying one or many, discarding."""

from __future__ import annotations

from http import HTTPStatus

from adbot_queue.core.callers import ADMINS, STAFF
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotFound
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.dead_letters import replay_schemas, schemas
from adbot_queue.dead_letters import replay_service as replays
from adbot_queue.dead_letters import service as dead_letters
from adbot_queue.jobs import service as jobs
from adbot_queue.jobs.api.schemas import JobView
from adbot_queue.jobs.enqueue import owner_check
from adbot_queue.ledger import Actor
from adbot_queue.platform import owner_limit

api = Api("Dead letters")


@api.get(
    "/dead-letters",
    roles=STAFF,
    query=schemas.DeadLetterQuery,
    returns=schemas.DeadLetterPage,
    summary="List dead letters, or their groups",
)
def list_dead_letters(request: Request[None]) -> schemas.DeadLetterPage:
    """Jobs in `dead` or `failed` without a decision, newest first."""
    query, service = request.query, dead_letters.from_env()
    if query.group:
        groups, complete = service.groups(query.wanted())
        views = [schemas.GroupView.model_validate(group) for group in groups]
        return schemas.DeadLetterPage(items=[], next=None, groups=views, complete=complete)
    found, following = service.page(query.wanted(), query.limit, query.cursor)
    return schemas.DeadLetterPage(items=[schemas.DeadLetterView.of(job) for job in found], next=following)


@api.get(
    "/dead-letters/{id}",
    roles=STAFF,
    returns=schemas.DeadLetterView,
    summary="Get a dead letter with its whole payload",
    raises=(NotFound,),
)
def get_dead_letter(request: Request[None]) -> schemas.DeadLetterView:
    """Also one that was discarded, while its row is kept. A replayed one is an ordinary job again."""
    return schemas.DeadLetterView.of(dead_letters.from_env().show(request.path["id"]), whole=True)


@api.post(
    "/dead-letters/{id}/replay",
    roles=ADMINS,
    body=schemas.ReplayDeadLetter,
    returns=schemas.DeadLetterView,
    limit=2 * 1024 * 1024,
    status=202,
    summary="Replay a dead letter, optionally with another payload",
    raises=(NotFound, Conflict),
    also=(201,),
)
def replay_dead_letter(request: Request[schemas.ReplayDeadLetter]) -> Response:
    """201 when it was done within the request. Money above the limit needs the owner, edited or not."""
    body = request.body
    if job := jobs.from_env().store.get(request.path["id"]):
        owner_check.check(request.caller, job.type, job.payload if body.payload is None else body.payload)
    job = dead_letters.from_env().replay(
        request.path["id"], Actor.behind(request), body.reason, payload=body.payload, time_left=request.time_left
    )
    status = HTTPStatus.CREATED if job.is_terminal else HTTPStatus.ACCEPTED
    return Response(schemas.DeadLetterView.of(job), status)


@api.delete(
    "/dead-letters/{id}",
    roles=ADMINS,
    query=schemas.ReasonQuery,
    returns=schemas.DeadLetterView,
    summary="Discard a dead letter (kept for 90 days)",
    raises=(NotFound, Conflict),
)
def discard_dead_letter(request: Request[None]) -> schemas.DeadLetterView:
    """Discarding twice changes nothing. More than 100 a day need the owner."""
    owner_limit.check_discard(request.caller)
    discarded = dead_letters.from_env().discard(request.path["id"], Actor.behind(request), request.query.reason)
    return schemas.DeadLetterView.of(discarded)


@api.post(
    "/dead-letters/replays",
    roles=ADMINS,
    body=replay_schemas.StartReplay,
    returns=replay_schemas.ReplayView,
    status=202,
    summary="Replay all dead letters that match, at a rate (200: dry run)",
    raises=(Conflict, IdempotencyMismatch),
    also=(200,),
)
def start_replay(request: Request[replay_schemas.StartReplay]) -> Response:
    """More than one dead letter needs the count and the cut-off of a dry run.

    The same Idempotency-Key answers with the first replay.
    """
    body, service = request.body, replays.from_env()
    wanted, rate = body.filter.wanted(), body.rate_per_second
    if body.dry_run:
        return Response(replay_schemas.ReplayView.of(service.preview(wanted, body.cut_off), rate), HTTPStatus.OK)
    started = service.start(
        wanted,
        rate,
        body.reason,
        Actor.behind(request),
        canary=body.canary,
        confirmed=body.confirmed,
        key=request.idempotency_key,
        fingerprint=request.fingerprint,
        time_left=request.time_left,
    )
    view = replay_schemas.ReplayView.of_job(started.job)
    return Response.idempotent(view, HTTPStatus.ACCEPTED, replayed=started.repeated)


@api.get(
    "/dead-letters/replays/{id}",
    roles=STAFF,
    returns=JobView,
    summary="Get the progress of a replay",
    raises=(NotFound,),
)
def get_replay(request: Request[None]) -> JobView:
    """The job that replays; the same as `GET /jobs/{id}`."""
    return JobView.of(replays.from_env().show(request.path["id"]))


@api.delete(
    "/dead-letters/replays/{id}",
    roles=ADMINS,
    query=schemas.ReasonQuery,
    returns=JobView,
    summary="Cancel a replay",
    raises=(NotFound, Conflict),
    also=(202,),
)
def cancel_replay(request: Request[None]) -> Response:
    """202 if it is running: it stops before the next dead letters. `POST /jobs/{id}/retry` resumes it."""
    job = replays.from_env().cancel(request.path["id"], Actor.behind(request), request.query.reason)
    return Response(JobView.of(job), HTTPStatus.OK if job.is_terminal else HTTPStatus.ACCEPTED)


handler = api.handler
