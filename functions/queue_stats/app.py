"""GET /admin/queue/stats: the queue in figures, one read a pool."""

from __future__ import annotations

from adbot_queue.adbots import service, stock_schemas
from adbot_queue.core.clock import system_clock
from adbot_queue.core.http import STAFF, Api, Request

api = Api()


@api.get(
    "/admin/queue/stats",
    roles=STAFF,
    query=stock_schemas.PoolQuery,
    returns=stock_schemas.BotQueueStats,
    summary="Queue length, missing sessions, oldest age and free stock, per pool and in sum",
)
def stats(request: Request[None]) -> stock_schemas.BotQueueStats:
    """The headers of the pools hold all of it."""
    pools = service.from_env().pools
    headers, unreadable = ([pools.header(request.query.pool)], []) if request.query.pool else pools.readable()
    figures = [stock_schemas.PoolStats.of(header, system_clock()) for header in headers]
    return stock_schemas.BotQueueStats.of(figures, unreadable)


handler = api.handler
