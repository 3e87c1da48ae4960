"""POST /admin/queue/resolve, and the 5-minute schedule that triggers allocation for pools with work."""

from __future__ import annotations

from typing import Any

from adbot_queue.adbots import service
from adbot_queue.adbots.api import commands as requests
from adbot_queue.adbots.api import stock_schemas
from adbot_queue.core import events
from adbot_queue.core.callers import ADMINS
from adbot_queue.core.errors import Conflict, NotFound
from adbot_queue.core.http import Api, Request

api = Api("Bot queue")


@api.post(
    "/admin/queue/resolve",
    roles=ADMINS,
    body=stock_schemas.ResolveQueue,
    returns=stock_schemas.AllocationRequested,
    status=202,
    summary="Request an allocation run for one pool or all; optionally unpark a bot",
    raises=(NotFound, Conflict),
)
def resolve_queue(request: Request[stock_schemas.ResolveQueue]) -> stock_schemas.AllocationRequested:
    """Returns at once; the allocator does the work."""
    adbots, body = service.from_env(), request.body
    if body.unpark_adbot_id:
        adbots.unpark(body.unpark_adbot_id, requests.command_of(request, body.reason))
    pools = [adbots.pools.header(body.pool).pool] if body.pool else adbots.pools.names()
    sent = adbots.pools.trigger_allocation(pools, request.request_id)
    return stock_schemas.AllocationRequested(pools=sent, not_sent=[pool for pool in pools if pool not in sent])


def handler(event: Any, context: Any) -> Any:
    """An HTTP request, or the schedule's tick."""
    if not events.is_tick(event):
        return api.handler(event, context)
    pools = service.from_env().pools
    return {"triggered": pools.trigger_allocation(pools.with_work(), context.aws_request_id)}
