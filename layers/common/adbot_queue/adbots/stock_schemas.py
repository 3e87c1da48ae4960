"""What pools, uploads and the queue look like over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field

from adbot_queue.adbots.allocation import Header
from adbot_queue.adbots.fields import PoolName, Reason, SessionId
from adbot_queue.adbots.stock import Uploaded
from adbot_queue.adbots.whereabouts import Located
from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Query, View
from adbot_queue.core.settings import settings

if TYPE_CHECKING:
    from adbot_queue.adbots.reconcile import Report


class PoolQuery(Query):
    """Which pool, or all."""

    pool: str | None = Field(None, min_length=1, max_length=32)

    @property
    def pool_or_default(self) -> str:
        """The pool named, or the installation's default."""
        return self.pool or settings().default_pool


class UploadSession(Input):
    """One session. Everything beside `session_id` and `pool` is its secret material."""

    model_config = ConfigDict(extra="allow")

    session_id: SessionId
    pool: PoolName | None = None


class Resolve(Input):
    """Which pool to resolve (all by default), and a parked bot that shall wait again."""

    pool: PoolName | None = None
    unpark: str | None = Field(None, max_length=64, description="id of a parked bot")
    reason: Reason = ""


class LineView(View):
    """What became of one line of an upload: `pool` says where the session is, `state` in which state a duplicate is."""

    line: int
    session_id: str | None
    status: str
    detail: str | None
    state: str | None = None
    pool: str | None = None


class UploadView(View):
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
                state=line.state,
                pool=line.pool,
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


class SessionView(View):
    """Where a session is: `free`, `assigned`, `lost`, or `unavailable` (its upload is not published yet)."""

    session_id: str
    pool: str
    state: str
    adbot_id: str | None

    @classmethod
    def of(cls, session_id: str, located: Located) -> SessionView:
        """The view of a session."""
        return cls(session_id=session_id, pool=located.pool, state=located.state, adbot_id=located.adbot_id)


class PoolStats(View):
    """A pool's queue and stock, as its header has them.

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
            set_aside=header.set_aside,
            parked=header.parked,
        )


class BotQueueStats(View):
    """Figures a pool and in sum; the sum's age is that of the oldest bot of all.

    `unreadable`: pools whose header this version cannot read; no figure counts them.
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
        """The sum of pools."""
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


class PoolList(View):
    """All pools. `unreadable`: those whose header this version cannot read."""

    items: list[PoolStats]
    next: str | None = None
    unreadable: list[str] = Field(default_factory=list)


class Asked(View):
    """For which pools a resolver run was asked for.

    `not_sent`: the queue did not take the message; the schedule comes by every 5 minutes.
    """

    pools: list[str]
    not_sent: list[str]


class FindingView(View):
    """One thing that is not as it should be."""

    code: str
    subject: str
    detail: str


class Reconciled(View):
    """What the rebuilding of a pool found. `conclusive` is False when the pool kept changing meanwhile."""

    pool: str
    conclusive: bool
    findings: list[FindingView]
    counted: dict[str, int]

    @classmethod
    def of(cls, report: Report) -> Reconciled:
        """The view of a report."""
        return cls.model_validate(report, from_attributes=True)
