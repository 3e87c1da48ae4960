"""GET /admin/queue: the queue in order. GET /admin/queue/stats: the queue in figures, one read a pool."""

from __future__ import annotations

from adbot_queue.adbots import service
from adbot_queue.adbots.api import stock_schemas
from adbot_queue.core.callers import STAFF
from adbot_queue.core.clock import system_clock
from adbot_queue.core.http import Api, Request

api = Api("Bot queue")


@api.get(
    "/admin/queue/stats",
    roles=STAFF,
    query=stock_schemas.PoolQuery,
    returns=stock_schemas.BotQueueStats,
    summary="Get queue length, missing sessions and free stock, by pool and in total",
)
def get_bot_queue_stats(request: Request[None]) -> stock_schemas.BotQueueStats:
    """Reads the headers of the pools only."""
    pools = service.from_env().pools
    headers, unreadable = ([pools.header(request.query.pool)], []) if request.query.pool else pools.readable()
    figures = [stock_schemas.PoolStats.of(header, system_clock()) for header in headers]
    return stock_schemas.BotQueueStats.of(figures, unreadable)


@api.get(
    "/admin/queue",
    roles=STAFF,
    query=stock_schemas.QueueQuery,
    returns=stock_schemas.WaitingBotPage,
    summary="List the bots that wait in a pool, in the order in which they are served",
)
def list_waiting_bots(request: Request[None]) -> stock_schemas.WaitingBotPage:
    """Those without a place yet come last; parked ones on request."""
    pools, query, now = service.from_env().pools, request.query, system_clock()
    read = pools.parked if query.parked else pools.waiting
    found, following = read(query.pool_or_default, query.limit, query.cursor)
    views = [stock_schemas.WaitingBotView.of(waiting, now) for waiting in found]
    return stock_schemas.WaitingBotPage(items=views, next=following)


handler = api.handler
