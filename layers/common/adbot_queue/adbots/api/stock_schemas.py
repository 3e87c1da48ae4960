"""HTTP models of pools, uploads and the queue of bots."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from adbot_queue.adbots.allocation import PoolState
from adbot_queue.adbots.api.fields import PoolName, Reason
from adbot_queue.adbots.session_locator import SessionLocation
from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Query, View
from adbot_queue.core.settings import settings


class PoolQuery(Query):
    """One pool, or all."""

    pool: str | None = Field(None, min_length=1, max_length=32)

    @property
    def pool_or_default(self) -> str:
        """Return the pool, or the default pool of the installation."""
        return self.pool or settings().default_pool


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
