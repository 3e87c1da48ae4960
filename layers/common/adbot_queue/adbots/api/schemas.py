"""HTTP models of bots and orders.

Those of pools, uploads and the queue are in `stock_schemas`: every imported model costs cold start.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adbot_queue.adbots.api.fields import PoolName, Reason, SessionId
from adbot_queue.adbots.commands import CommandResult
from adbot_queue.adbots.model import MAX_SESSIONS, AdbotStatus, OrderStatus, QueuedReason
from adbot_queue.core.http import Response
from adbot_queue.core.schema import Input, Moment, Query, View


class PageQuery(Query):
    """Page of a list."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class AdbotsQuery(PageQuery):
    """Filter and page of bots."""

    status: AdbotStatus | None = None


class OrdersQuery(PageQuery):
    """Filter and page of orders."""

    status: Literal[OrderStatus.REVIEW] = OrderStatus.REVIEW


class CreateAdbot(Input):
    """A bot created by an operator.

    User and pool default to the operator and the default pool; for an order in REVIEW to those of the order.
    """

    required_sessions: int = Field(ge=1, le=MAX_SESSIONS)
    user_id: str | None = Field(None, min_length=1, max_length=128)
    pool: PoolName | None = None
    order_id: str | None = Field(
        None, min_length=1, max_length=64, description="An order in REVIEW that this bot settles"
    )
    reason: Reason = ""


class ReassignSessions(Input):
    """Free sessions to assign to a bot, and sessions to take back from it."""

    add: list[SessionId] = Field(default_factory=list, max_length=40)
    remove: list[SessionId] = Field(default_factory=list, max_length=40)
    reason: Reason = ""


class AdbotView(View):
    """A bot. Only staff see `session_ids`, and only on a single bot."""

    adbot_id: str = Field(validation_alias="id")
    order_id: str
    user_id: str
    pool: str
    status: AdbotStatus
    required_sessions: int = Field(validation_alias="required")
    sessions_assigned: int = Field(validation_alias="assigned")
    missing_sessions_count: int = Field(validation_alias="missing")
    queued_at: Moment | None
    queued_reason: QueuedReason | None
    queue_position: int | None = Field(description="Sequence number in the queue of the pool")
    creation_source: str
    execution_mode: str
    on_hold: bool
    created_at: Moment
    version: int
    session_ids: list[str] | None = None


class AdbotPage(View):
    """A page of bots, newest first."""

    items: list[AdbotView]
    next: str | None


class OrderView(View):
    """An order. `amount` is in the smallest unit of the currency."""

    order_id: str = Field(validation_alias="id")
    status: OrderStatus
    source: str
    user_id: str
    adbot_id: str | None
    amount: int
    currency: str
    amount_refunded: int
    disputed: bool
    plan_id: str | None
    pool: str | None
    required_sessions: int | None
    paid_until: Moment | None
    provider_ids: dict[str, str]
    review_reason: str | None
    created_at: Moment


class OrderPage(View):
    """A page of orders, newest first."""

    items: list[OrderView]
    next: str | None


def done(result: CommandResult, status: int | None = None) -> Response:
    """Return the answer to a command on a bot."""
    return Response.idempotent(AdbotView.model_validate(result.adbot), status, replayed=result.replayed)
