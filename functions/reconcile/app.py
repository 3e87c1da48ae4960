"""POST /admin/queue/reconcile, and the daily schedule: compares pools with their history, never corrects."""

from __future__ import annotations

from typing import Any

from adbot_queue.adbots import service
from adbot_queue.adbots.api import stock_schemas
from adbot_queue.adbots.audit import reconcile
from adbot_queue.core import events, telemetry
from adbot_queue.core.callers import ADMINS
from adbot_queue.core.http import Api, Request

RESERVE_SECONDS = 10

api = Api("Bot queue")


@api.post(
    "/admin/queue/reconcile",
    roles=ADMINS,
    query=stock_schemas.PoolQuery,
    returns=stock_schemas.ReconcileReport,
    summary="Rebuild a pool from its history and compare",
)
def reconcile_pool(request: Request[None]) -> stock_schemas.ReconcileReport:
    """Reports drift and corrects nothing. A pool too large for one request is left to the schedule."""
    return stock_schemas.ReconcileReport.model_validate(reconcile.from_env().pool(request.query.pool_or_default))


def handler(event: Any, context: Any) -> Any:
    """An HTTP request, or the schedule's tick: every pool, one after the other, each in its share of the time left."""
    if not events.is_tick(event):
        return api.handler(event, context)
    try:
        reports = reconcile.from_env().all(
            service.from_env().pools.names(),
            lambda: context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS,
        )
        return {
            "findings": sum(len(report.findings) for report in reports),
            "pools": len(reports),
            "without_verdict": sum(not report.conclusive for report in reports),
        }
    finally:
        telemetry.flush()
