"""The stock of sessions: uploading, finding, losing them; pools."""

from __future__ import annotations

from adbot_queue.adbots import service
from adbot_queue.adbots.api import commands as requests
from adbot_queue.adbots.api import stock_schemas
from adbot_queue.core.callers import ADMINS, STAFF
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Malformed, NotFound, TooLarge
from adbot_queue.core.http import LARGE_BODY, Api, Request, Response
from adbot_queue.core.settings import settings
from adbot_queue.stock import schemas as upload_schemas
from adbot_queue.stock import service as stock
from adbot_queue.stock import upload, uploads
from adbot_queue.stock.service import Uploaded

api = Api("Stock")


@api.post(
    "/admin/stock/sessions",
    roles=ADMINS,
    body=upload_schemas.UploadSession,
    returns=upload_schemas.UploadView,
    status=201,
    summary="Upload a session",
    raises=(Conflict, IdempotencyMismatch),
    also=(200,),
)
def upload_session(request: Request[upload_schemas.UploadSession]) -> Response:
    """409 with its state if the session was uploaded before; 200 if the Idempotency-Key was used before."""
    body = request.body.model_dump()
    pool = body.pop("pool") or settings().default_pool
    uploaded = stock.from_env().upload(pool, upload.parse_objects([body]), requests.command_of(request))
    return _answer(pool, uploaded.or_refusal(), 201)


@api.post(
    "/admin/stock/sessions/bulk",
    roles=ADMINS,
    raw={
        "application/octet-stream": {"type": "string", "format": "binary"},
        "multipart/form-data": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}},
        },
    },
    limit=LARGE_BODY,
    query=stock_schemas.PoolQuery,
    returns=upload_schemas.UploadView,
    summary="Upload up to 10,000 sessions (CSV, JSON lines, JSON array, ids, form)",
    raises=(IdempotencyMismatch, Malformed, TooLarge),
)
def upload_sessions(request: Request[None]) -> Response:
    """A file may also come as `text/csv`, `application/x-ndjson`, a JSON array and the like: its format is detected.

    Returns a verdict for every record, under its line in the file. A bad record rejects no other.
    """
    lines = upload.parse(request.raw, request.header("content-type") or "")
    pool = request.query.pool_or_default
    return _answer(pool, stock.from_env().upload(pool, lines, requests.command_of(request)), 200)


def _answer(pool: str, uploaded: Uploaded, status: int) -> Response:
    view = upload_schemas.UploadView.of(pool, uploaded)
    return Response.idempotent(view, status, replayed=uploaded.replayed)


@api.get(
    "/admin/stock/uploads",
    roles=STAFF,
    query=upload_schemas.UploadQuery,
    returns=upload_schemas.UploadPage,
    summary="List uploads, newest first",
)
def list_uploads(request: Request[None]) -> upload_schemas.UploadPage:
    """Published ones, or those of requests that are at work or died: a job publishes the latter after 15 minutes."""
    query = request.query
    return upload_schemas.UploadPage.of(*uploads.from_env().page(query.kind, query.limit, query.cursor))


@api.get(
    "/admin/stock/uploads/{id}",
    roles=STAFF,
    returns=upload_schemas.StoredUploadView,
    summary="Get the progress of an upload",
    raises=(NotFound,),
)
def get_upload(request: Request[None]) -> upload_schemas.StoredUploadView:
    """Lines that are settled, and what became of them. Lines that name another pool are an upload of their own."""
    return upload_schemas.StoredUploadView.of(uploads.from_env().get(request.path["id"]))


@api.get("/admin/stock", roles=STAFF, returns=stock_schemas.PoolPage, summary="List pools with their stock")
def list_pools(_request: Request[None]) -> stock_schemas.PoolPage:
    """One read per pool."""
    headers, unreadable = service.from_env().pools.readable()
    figures = [stock_schemas.PoolStats.of(header, system_clock()) for header in headers]
    return stock_schemas.PoolPage(items=figures, unreadable=unreadable)


@api.put(
    "/admin/stock/pools/{pool}", roles=ADMINS, returns=stock_schemas.PoolStats, summary="Create a pool", also=(201,)
)
def create_pool(request: Request[None]) -> Response:
    """201 if the pool is new, 200 if it existed."""
    header, new = service.from_env().pools.create(request.path["pool"], requests.command_of(request))
    return Response(stock_schemas.PoolStats.of(header, system_clock()), 201 if new else 200)


@api.get(
    "/admin/stock/sessions/{id}",
    roles=STAFF,
    returns=stock_schemas.SessionView,
    summary="Get the state of a session",
    raises=(NotFound,),
)
def get_session(request: Request[None]) -> stock_schemas.SessionView:
    """Free, assigned (with its bot) or lost."""
    session_id = request.path["id"]
    return stock_schemas.SessionView.of(session_id, service.from_env().sessions.locate(session_id))


@api.post(
    "/admin/stock/sessions/{id}/lost",
    roles=ADMINS,
    body=requests.ReasonBody,
    returns=stock_schemas.SessionView,
    summary="Mark a session as lost (its bot gets another)",
    raises=(NotFound, Conflict),
)
def mark_session_lost(request: Request[requests.ReasonBody]) -> stock_schemas.SessionView:
    """Marking it twice changes nothing."""
    adbots, session_id = service.from_env(), request.path["id"]
    adbots.lose_session(session_id, requests.command_of(request, request.body.reason))
    return stock_schemas.SessionView.of(session_id, adbots.sessions.locate(session_id))


handler = api.handler
