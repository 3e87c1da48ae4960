"""GET /adbots and /orders, POST /admin/adbots/{id}/cancel, PUT /admin/adbots/{id}/sessions."""

from __future__ import annotations

from adbot_queue import owner
from adbot_queue.adbots import requests, schemas, service
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, NotFound
from adbot_queue.core.http import ADMINS, CUSTOMERS, STAFF, Api, Request, Response

api = Api()


@api.get(
    "/adbots",
    roles=STAFF | CUSTOMERS,
    query=schemas.AdbotsPage,
    returns=schemas.AdbotList,
    summary="Own bots; all for staff",
)
def list_adbots(request: Request[None]) -> schemas.AdbotList:
    """Newest first."""
    page, owner = request.query, request.caller.sees_only
    found, following = service.from_env().list_adbots(owner, page.status, page.limit, page.cursor)
    return schemas.AdbotList(items=[schemas.AdbotView.of(adbot) for adbot in found], next=following)


@api.get("/adbots/{id}", roles=STAFF | CUSTOMERS, returns=schemas.AdbotView, summary="One bot", raises=(NotFound,))
def get_adbot(request: Request[None]) -> schemas.AdbotView:
    """Staff also see which sessions it has."""
    adbots = service.from_env()
    adbot = adbots.adbot(request.path["id"], request.caller.sees_only)
    return schemas.AdbotView.of(adbot, adbots.stock.session_ids(adbot.runs) if request.caller.is_staff else None)


@api.get("/orders", roles=STAFF, query=schemas.OrdersPage, returns=schemas.OrderList, summary="Orders in REVIEW")
def list_orders(request: Request[None]) -> schemas.OrderList:
    """Those that wait for a person, newest first."""
    found, following = service.from_env().store.orders_in_review(request.query.limit, request.query.cursor)
    return schemas.OrderList(items=[schemas.OrderView.of(order) for order in found], next=following)


@api.get("/orders/{id}", roles=STAFF | CUSTOMERS, returns=schemas.OrderView, summary="One order", raises=(NotFound,))
def get_order(request: Request[None]) -> schemas.OrderView:
    """Own orders; all for staff."""
    return schemas.OrderView.of(service.from_env().order(request.path["id"], request.caller.sees_only))


@api.post(
    "/admin/adbots/{id}/cancel",
    roles=ADMINS,
    body=requests.Because,
    returns=schemas.AdbotView,
    summary="End a bot; its sessions go back to stock",
    raises=(NotFound, IdempotencyMismatch),
)
def cancel(request: Request[requests.Because]) -> Response:
    """A cancelled bot stays as it is. Above the limit the owner alone ends what was paid for."""
    adbots, adbot_id = service.from_env(), request.path["id"]
    order = adbots.order(adbots.adbot(adbot_id, None).order_id)
    owner.check_end(request.caller, order.amount - order.amount_refunded, order.currency)
    return schemas.done(adbots.cancel(adbot_id, requests.command_of(request, request.body.reason)))


@api.put(
    "/admin/adbots/{id}/sessions",
    roles=ADMINS,
    body=schemas.Reassign,
    returns=schemas.AdbotView,
    summary="Give a bot named free sessions, take named ones back to stock",
    raises=(NotFound, Conflict, IdempotencyMismatch),
)
def reassign(request: Request[schemas.Reassign]) -> Response:
    """All of it or nothing."""
    body = request.body
    command = requests.command_of(request, body.reason)
    return schemas.done(service.from_env().reassign(request.path["id"], body.add, body.remove, command))


handler = api.handler
