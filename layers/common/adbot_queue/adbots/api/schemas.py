"""HTTP models of bots and orders.

Those of pools, uploads and the queue are in `stock_schemas`: every imported model costs cold start.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adbot_queue.adbots.api.fields import PoolName, Reason, SessionId
from adbot_queue.adbots.commands import Done
from adbot_queue.adbots.model import MAX_SESSIONS, Adbot, AdbotStatus, Order, OrderStatus, QueuedReason
from adbot_queue.core.clock import iso
from adbot_queue.core.http import Response
from adbot_queue.core.schema import Input, Query, View


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

    adbot_id: str
    order_id: str
    user_id: str
    pool: str
    status: AdbotStatus
    required_sessions: int
    sessions_assigned: int
    missing_sessions_count: int
    queued_at: str | None
    queued_reason: QueuedReason | None
    queue_position: int | None = Field(description="Sequence number in the queue of the pool")
    creation_source: str
    execution_mode: str
    on_hold: bool
    created_at: str
    version: int
    session_ids: list[str] | None = None

    @classmethod
    def of(cls, adbot: Adbot, session_ids: list[str] | None = None) -> AdbotView:
        """Return the view of a bot."""
        return cls(
            adbot_id=adbot.id,
            order_id=adbot.order_id,
            user_id=adbot.user_id,
            pool=adbot.pool,
            status=adbot.status,
            required_sessions=adbot.required,
            sessions_assigned=adbot.assigned,
            missing_sessions_count=adbot.missing,
            queued_at=iso(adbot.queued_at) if adbot.queued_at else None,
            queued_reason=adbot.queued_reason,
            queue_position=adbot.seq if adbot.waits_in_queue else None,
            creation_source=adbot.creation_source,
            execution_mode=adbot.execution_mode,
            on_hold=adbot.on_hold,
            created_at=iso(adbot.created_at),
            version=adbot.version,
            session_ids=session_ids,
        )


class AdbotPage(View):
    """A page of bots, newest first."""

    items: list[AdbotView]
    next: str | None


class OrderView(View):
    """An order. `amount` is in the smallest unit of the currency."""

    order_id: str
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
    paid_until: str | None
    provider_ids: dict[str, str]
    review_reason: str | None
    created_at: str

    @classmethod
    def of(cls, order: Order) -> OrderView:
        """Return the view of an order."""
        same = (name for name in cls.model_fields if name not in {"order_id", "paid_until", "created_at", "source"})
        return cls(
            order_id=order.id,
            **{name: getattr(order, name) for name in same},
            source=order.source,
            paid_until=iso(order.paid_until) if order.paid_until else None,
            created_at=iso(order.created_at),
        )


class OrderPage(View):
    """A page of orders, newest first."""

    items: list[OrderView]
    next: str | None


def done(result: Done, status: int | None = None) -> Response:
    """Return the answer to a command on a bot."""
    headers = {"idempotent-replayed": "true"} if result.replayed else {}
    return Response(AdbotView.of(result.adbot), status, headers)
