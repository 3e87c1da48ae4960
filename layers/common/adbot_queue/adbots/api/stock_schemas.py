"""HTTP models of pools, uploads and the queue of bots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from adbot_queue.adbots.api.fields import PoolName, Reason
from adbot_queue.adbots.model import QueuedReason
from adbot_queue.adbots.pool_state import PoolState
from adbot_queue.adbots.session_locator import SessionLocation
from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Moment, Query, View
from adbot_queue.core.settings import settings

if TYPE_CHECKING:
    from adbot_queue.adbots.queue_page import WaitingBot


class PoolQuery(Query):
    """One pool, or all."""

    pool: str | None = Field(None, min_length=1, max_length=32)

    @property
    def pool_or_default(self) -> str:
        """Return the pool, or the default pool of the installation."""
        return self.pool or settings().default_pool


class QueueQuery(PoolQuery):
    """A page of one pool's queue (default: the default pool)."""

    parked: bool = Field(default=False, description="The bots that are set aside, instead of those that wait")
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class ExpectedTime(View):
    """Between which moments a bot is expected to be complete."""

    since: Moment = Field(serialization_alias="from")
    until: Moment = Field(serialization_alias="to")


class WaitingBotView(View):
    """A bot that waits for sessions, or is parked.

    `place` 1 is served next; a bot in the inbox (SEQUENCING) and a parked one have none. `ahead_sessions` and `eta` are
    null where they are not known.
    """

    place: int | None
    adbot_id: str
    order_id: str
    user_id: str
    required_sessions: int
    missing_sessions_count: int
    queued_at: Moment | None
    waited_seconds: int
    queued_reason: QueuedReason | None
    ahead_sessions: int | None = None
    eta: ExpectedTime | None = None

    @classmethod
    def of(cls, waiting: WaitingBot, now: int) -> WaitingBotView:
        """Return the view of a bot."""
        adbot = waiting.adbot
        return cls(
            place=waiting.place,
            adbot_id=adbot.id,
            order_id=adbot.order_id,
            user_id=adbot.user_id,
            required_sessions=adbot.required,
            missing_sessions_count=adbot.missing,
            queued_at=adbot.queued_at,
            waited_seconds=max(0, now - waiting.since) // 1000,
            queued_reason=adbot.queued_reason,
        )


class WaitingBotPage(View):
    """The first in line first. A page may be short, or empty, while more follow."""

    items: list[WaitingBotView]
    next: str | None


class ResolveQueue(Input):
    """One pool (default: all), and a parked bot to put back into the queue."""

    pool: PoolName | None = None
    unpark_adbot_id: str | None = Field(None, max_length=64, description="A parked bot")
    reason: Reason = ""


class SessionView(View):
    """State of a session: `free`, `assigned`, `lost`, or `unavailable` (its upload is not yet published)."""

    session_id: str
    pool: str
    state: str
    adbot_id: str | None

    @classmethod
    def of(cls, session_id: str, located: SessionLocation) -> SessionView:
        """Return the view of a session."""
        return cls(session_id=session_id, pool=located.pool, state=located.state, adbot_id=located.adbot_id)


class PoolStats(View):
    """Queue and stock of a pool.

    `set_aside`: sessions in segments that this version cannot read. `stock_total` counts them, `free_stock` does not.
    """

    pool: str
    queue_length: int
    missing_total: int
    oldest_queued_at: str | None
    oldest_age_seconds: int
    free_stock: int
    stock_total: int
    set_aside: int = 0
    parked: int

    @classmethod
    def of(cls, header: PoolState, now: int) -> PoolStats:
        """Return the figures of a pool."""
        oldest = header.oldest_queued_at
        return cls(
            pool=header.pool,
            queue_length=header.queue_length,
            missing_total=header.missing_total,
            oldest_queued_at=iso(oldest) if oldest else None,
            oldest_age_seconds=max(0, now - oldest) // 1000 if oldest else 0,
            free_stock=header.free,
            stock_total=header.stock_total,
            set_aside=header.set_aside,
            parked=header.parked,
        )


class BotQueueStats(View):
    """Figures by pool and in total; the total age is that of the oldest bot.

    `unreadable`: pools whose header this version cannot read; they are not counted.
    """

    queue_length: int
    missing_total: int
    oldest_queued_at: str | None
    oldest_age_seconds: int
    free_stock: int
    stock_total: int
    set_aside: int = 0
    parked: int
    pools: list[PoolStats]
    unreadable: list[str] = Field(default_factory=list)

    @classmethod
    def of(cls, pools: list[PoolStats], unreadable: Sequence[str] = ()) -> BotQueueStats:
        """Return the total of pools."""
        return cls(
            queue_length=sum(pool.queue_length for pool in pools),
            missing_total=sum(pool.missing_total for pool in pools),
            oldest_queued_at=min((pool.oldest_queued_at for pool in pools if pool.oldest_queued_at), default=None),
            oldest_age_seconds=max((pool.oldest_age_seconds for pool in pools), default=0),
            free_stock=sum(pool.free_stock for pool in pools),
            stock_total=sum(pool.stock_total for pool in pools),
            set_aside=sum(pool.set_aside for pool in pools),
            parked=sum(pool.parked for pool in pools),
            pools=pools,
            unreadable=list(unreadable),
        )


class PoolPage(View):
    """All pools. `unreadable`: pools whose header this version cannot read."""

    items: list[PoolStats]
    next: str | None = None
    unreadable: list[str] = Field(default_factory=list)


class AllocationRequested(View):
    """Pools for which an allocation run was requested.

    `not_sent`: SQS refused the message; the schedule runs every 5 minutes.
    """

    pools: list[str]
    not_sent: list[str]


class FindingView(View):
    """One deviation between a pool and its history."""

    code: str
    subject: str
    detail: str


class ReconcileReport(View):
    """Deviations found in a pool. `conclusive` is false if the pool kept changing in the meantime."""

    pool: str
    conclusive: bool
    findings: list[FindingView]
    counted: dict[str, int]
