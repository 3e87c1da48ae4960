"""GET /adbots and /orders, POST /admin/adbots/{id}/cancel, PUT /admin/adbots/{id}/sessions."""

from __future__ import annotations

from adbot_queue.adbots import service
from adbot_queue.adbots.api import commands as requests
from adbot_queue.adbots.api import schemas
from adbot_queue.core.callers import ADMINS, CUSTOMERS, STAFF
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotFound
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.platform import owner_limit

api = Api("Bots")


@api.get(
    "/adbots",
    roles=STAFF | CUSTOMERS,
    query=schemas.AdbotsQuery,
    returns=schemas.AdbotPage,
    summary="List bots (customers see their own)",
)
def list_adbots(request: Request[None]) -> schemas.AdbotPage:
    """Newest first."""
    page, owner = request.query, request.caller.sees_only
    found, following = service.from_env().list_adbots(owner, page.status, page.limit, page.cursor)
    return schemas.AdbotPage(items=[schemas.AdbotView.model_validate(adbot) for adbot in found], next=following)


@api.get("/adbots/{id}", roles=STAFF | CUSTOMERS, returns=schemas.AdbotView, summary="Get a bot", raises=(NotFound,))
def get_adbot(request: Request[None]) -> schemas.AdbotView:
    """Staff also see its sessions."""
    adbots = service.from_env()
    adbot = adbots.adbot(request.path["id"], request.caller.sees_only)
    view = schemas.AdbotView.model_validate(adbot)
    if request.caller.is_staff:
        view.session_ids = adbots.sessions.session_ids(adbot.runs)
    return view


@api.get(
    "/orders",
    roles=STAFF,
    query=schemas.OrdersQuery,
    returns=schemas.OrderPage,
    summary="List orders in REVIEW",
    tag="Orders",
)
def list_orders(request: Request[None]) -> schemas.OrderPage:
    """Newest first."""
    found, following = service.from_env().store.orders_in_review(request.query.limit, request.query.cursor)
    return schemas.OrderPage(items=[schemas.OrderView.model_validate(order) for order in found], next=following)


@api.get(
    "/orders/{id}",
    roles=STAFF | CUSTOMERS,
    returns=schemas.OrderView,
    summary="Get an order",
    tag="Orders",
    raises=(NotFound,),
)
def get_order(request: Request[None]) -> schemas.OrderView:
    """Customers see their own, staff all."""
    return schemas.OrderView.model_validate(service.from_env().order(request.path["id"], request.caller.sees_only))


@api.post(
    "/admin/adbots/{id}/cancel",
    roles=ADMINS,
    body=requests.ReasonBody,
    returns=schemas.AdbotView,
    summary="Cancel a bot and return its sessions to stock",
    raises=(NotFound, IdempotencyMismatch),
)
def cancel_adbot(request: Request[requests.ReasonBody]) -> Response:
    """Cancelling twice changes nothing. Above the money limit a paid bot needs the owner."""
    adbots, adbot_id = service.from_env(), request.path["id"]
    order = adbots.order(adbots.adbot(adbot_id, None).order_id)
    owner_limit.check_end(request.caller, order.amount - order.amount_refunded, order.currency)
    return schemas.done(adbots.cancel(adbot_id, requests.command_of(request, request.body.reason)))


@api.put(
    "/admin/adbots/{id}/sessions",
    roles=ADMINS,
    body=schemas.ReassignSessions,
    returns=schemas.AdbotView,
    summary="Assign free sessions to a bot by name, or take sessions back",
    raises=(NotFound, Conflict, IdempotencyMismatch),
)
def reassign_sessions(request: Request[schemas.ReassignSessions]) -> Response:
    """All changes apply, or none."""
    body = request.body
    command = requests.command_of(request, body.reason)
    return schemas.done(service.from_env().reassign(request.path["id"], body.add, body.remove, command))


handler = api.handler
