"""What orders, bots, stock and queues look like over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from adbot_queue.adbots.allocation import Header
from adbot_queue.adbots.commands import Command, Done
from adbot_queue.adbots.model import MAX_SESSIONS, Adbot, Order, OrderStatus, QueuedReason, Status
from adbot_queue.adbots.stock import Located, Uploaded
from adbot_queue.core.clock import iso
from adbot_queue.core.http import Request, Response
from adbot_queue.core.settings import settings
from adbot_queue.ledger import Actor

if TYPE_CHECKING:
    from adbot_queue.adbots.reconcile import Report

SessionId = Annotated[str, Field(min_length=1, max_length=64)]
PoolName = Annotated[str, Field(min_length=1, max_length=32)]
Reason = Annotated[str, Field(max_length=500)]


class _Input(BaseModel):
    """Unknown fields are refused, texts are not taken for numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Page(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class AdbotsPage(Page):
    """Which page of the list of bots."""

    status: Status | None = None


class OrdersPage(Page):
    """Which page of the orders that wait for a person."""

    status: Literal[OrderStatus.REVIEW] = OrderStatus.REVIEW


class PoolQuery(BaseModel):
    """Which pool, or all."""

    model_config = ConfigDict(extra="forbid")

    pool: str | None = Field(None, max_length=32)

    @property
    def pool_or_default(self) -> str:
        """The pool named, or the installation's default."""
        return self.pool or settings().default_pool


class CreateAdbot(_Input):
    """A bot made by an operator. `user_id` is who it is for, by default the operator."""

    required_sessions: int = Field(ge=1, le=MAX_SESSIONS)
    user_id: str | None = Field(None, min_length=1, max_length=128)
    pool: PoolName | None = None
    order_id: str | None = Field(
        None, min_length=1, max_length=64, description="an order in REVIEW that this bot settles"
    )
    reason: Reason = ""


class Because(_Input):
    """Why something is done."""

    reason: Reason = ""


class Reassign(_Input):
    """Sessions to give to a bot, and sessions to take from it."""

    add: list[SessionId] = Field(default_factory=list, max_length=40)
    remove: list[SessionId] = Field(default_factory=list, max_length=40)
    reason: Reason = ""


class UploadSession(BaseModel):
    """One session. Everything beside `session_id` and `pool` is its secret material."""

    model_config = ConfigDict(extra="allow", strict=True)

    session_id: SessionId
    pool: PoolName | None = None


class Resolve(_Input):
    """Which pool to resolve (all by default), and a parked bot that shall wait again."""

    pool: PoolName | None = None
    unpark: str | None = Field(None, max_length=64, description="id of a parked bot")
    reason: Reason = ""


class AdbotView(BaseModel):
    """A bot. `sessions` is there for staff where one bot is asked for."""

    id: str
    order_id: str
    user_id: str
    pool: str
    status: Status
    required_sessions: int
    sessions_assigned: int
    missing_sessions_count: int
    queued_at: str | None
    queued_reason: QueuedReason | None
    queue_position: int | None = Field(description="sequence number in the pool's queue")
    creation_source: str
    execution_mode: str
    on_hold: bool
    created_at: str
    version: int
    sessions: list[str] | None = None

    @classmethod
    def of(cls, adbot: Adbot, sessions: list[str] | None = None) -> AdbotView:
        """The view of a bot."""
        return cls(
            id=adbot.id,
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
            sessions=sessions,
        )


class AdbotList(BaseModel):
    """A page of bots, newest first."""

    items: list[AdbotView]
    next: str | None


class OrderView(BaseModel):
    """An order. `amount` is in the currency's smallest unit."""

    id: str
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
        """The view of an order."""
        same = (name for name in cls.model_fields if name not in {"paid_until", "created_at", "source"})
        return cls(
            **{name: getattr(order, name) for name in same},
            source=order.source,
            paid_until=iso(order.paid_until) if order.paid_until else None,
            created_at=iso(order.created_at),
        )


class OrderList(BaseModel):
    """A page of orders, newest first."""

    items: list[OrderView]
    next: str | None


class LineView(BaseModel):
    """What became of one line of an upload."""

    line: int
    session_id: str | None
    status: str
    detail: str | None


class UploadView(BaseModel):
    """What became of an upload: counts, and a verdict for every line."""

    upload_id: str
    pool: str
    accepted: int
    duplicates: int
    invalid: int
    lines: list[LineView]

    @classmethod
    def of(cls, pool: str, uploaded: Uploaded) -> UploadView:
        """The view of an upload."""
        lines = [
            LineView(
                line=line.number,
                session_id=line.session.id if line.session else None,
                status=line.verdict,
                detail=line.detail or None,
            )
            for line in uploaded.lines
        ]
        number = {status: sum(line.status == status for line in lines) for status in {line.status for line in lines}}
        return cls(
            upload_id=uploaded.upload_id,
            pool=pool,
            accepted=number.get("accepted", 0),
            duplicates=number.get("duplicate", 0) + number.get("duplicate_in_upload", 0),
            invalid=number.get("invalid", 0),
            lines=lines,
        )


class SessionView(BaseModel):
    """Where a session is: `free`, `assigned`, `lost`, or `unavailable` (its upload is not published yet)."""

    session_id: str
    pool: str
    state: str
    adbot_id: str | None

    @classmethod
    def of(cls, session_id: str, located: Located) -> SessionView:
        """The view of a session."""
        state = (
            "lost" if located.lost else "assigned" if located.adbot_id else "free" if located.place else "unavailable"
        )
        return cls(session_id=session_id, pool=located.pool, state=state, adbot_id=located.adbot_id)


class PoolStats(BaseModel):
    """A pool's queue and stock, as its header has them."""

    pool: str
    queue_length: int
    missing_total: int
    oldest_queued_at: str | None
    oldest_age_seconds: int
    free_stock: int
    stock_total: int
    parked: int

    @classmethod
    def of(cls, header: Header, now: int) -> PoolStats:
        """The figures of a pool."""
        oldest = header.oldest_queued_at
        return cls(
            pool=header.pool,
            queue_length=header.queue_length,
            missing_total=header.missing_total,
            oldest_queued_at=iso(oldest) if oldest else None,
            oldest_age_seconds=max(0, now - oldest) // 1000 if oldest else 0,
            free_stock=header.free,
            stock_total=header.stock_total,
            parked=header.parked,
        )


class QueueStats(BaseModel):
    """Figures a pool and in sum; the sum's age is that of the oldest bot of all."""

    queue_length: int
    missing_total: int
    oldest_queued_at: str | None
    oldest_age_seconds: int
    free_stock: int
    stock_total: int
    parked: int
    pools: list[PoolStats]

    @classmethod
    def of(cls, pools: list[PoolStats]) -> QueueStats:
        """The sum of pools."""
        return cls(
            queue_length=sum(pool.queue_length for pool in pools),
            missing_total=sum(pool.missing_total for pool in pools),
            oldest_queued_at=min((pool.oldest_queued_at for pool in pools if pool.oldest_queued_at), default=None),
            oldest_age_seconds=max((pool.oldest_age_seconds for pool in pools), default=0),
            free_stock=sum(pool.free_stock for pool in pools),
            stock_total=sum(pool.stock_total for pool in pools),
            parked=sum(pool.parked for pool in pools),
            pools=pools,
        )


class PoolList(BaseModel):
    """All pools."""

    items: list[PoolStats]
    next: str | None = None


class Asked(BaseModel):
    """For which pools a resolver run was asked for.

    `not_sent`: the queue did not take the message; the schedule comes by every 5 minutes.
    """

    pools: list[str]
    not_sent: list[str]


class FindingView(BaseModel):
    """One thing that is not as it should be."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    subject: str
    detail: str


class Reconciled(BaseModel):
    """What the rebuilding of a pool found. `conclusive` is False when the pool kept changing meanwhile."""

    model_config = ConfigDict(from_attributes=True)

    pool: str
    conclusive: bool
    findings: list[FindingView]
    counted: dict[str, int]

    @classmethod
    def of(cls, report: Report) -> Reconciled:
        """The view of a report."""
        return cls.model_validate(report, from_attributes=True)


def actor_of(request: Request[Any]) -> Actor:
    """The person behind a request, as the ledger names them."""
    return Actor(request.caller.id, request.caller.role, request.request_id)


def command_of(request: Request[Any], reason: str = "") -> Command:
    """The command that a request is."""
    return Command(actor_of(request), reason, request.idempotency_key, request.fingerprint)


def done(result: Done, status: int | None = None) -> Response:
    """The answer to a command on a bot."""
    headers = {"idempotent-replayed": "true"} if result.replayed else {}
    return Response(AdbotView.of(result.adbot), status, headers)
