"""Orders and bots: their states, and what may follow what. Pure: no AWS, no clock, no chance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

MAX_SESSIONS = 500
"""The most sessions one bot may have. Bounds the owner index's look-back and the size of a bot's item."""


class AdbotStatus(StrEnum):
    """A bot's state. QUEUED if and only if sessions are missing."""

    QUEUED = "QUEUED"
    READY = "READY"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    CANCELLED = "CANCELLED"


class QueuedReason(StrEnum):
    """Why a bot waits."""

    SEQUENCING = "SEQUENCING"  # bought, has no place in the queue yet
    INSUFFICIENT_STOCK = "INSUFFICIENT_STOCK"
    SESSION_LOST = "SESSION_LOST"
    REASSIGNED = "REASSIGNED"
    PARKED = "PARKED"  # failed three times to be served; an operator must look


class OrderStatus(StrEnum):
    """An order's state: where its money is."""

    PENDING = "PENDING"  # the payment is still being made
    PAID = "PAID"
    FAILED = "FAILED"  # the payment was not made
    REVIEW = "REVIEW"  # money came, or went, and does not fit what is known: a person decides
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"
    DISPUTED = "DISPUTED"
    ENDED = "ENDED"  # the subscription is over


class CreationSource(StrEnum):
    """Who made a bot."""

    PAYMENT = "PAYMENT"
    ADMIN = "ADMIN"


class ExecutionMode(StrEnum):
    """How the making of a bot was carried out: by a consumer of the queue, or inside the request."""

    ASYNC_QUEUE = "async_queue"
    SYNC_DIRECT = "sync_direct"


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """`count` sessions of an upload that stand next to each other, from position `offset` on."""

    upload: str
    offset: int
    count: int

    @property
    def end(self) -> int:
        """The first position behind the run."""
        return self.offset + self.count

    def covers(self, upload: str, offset: int) -> bool:
        """Whether that position is in this run."""
        return self.upload == upload and self.offset <= offset < self.end


def joined(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The same positions in as few runs as possible, in order of upload and offset."""
    result: list[Run] = []
    for run in sorted(runs):
        last = result[-1] if result else None
        if last and last.upload == run.upload and last.end == run.offset:
            result[-1] = replace(last, count=last.count + run.count)
        else:
            result.append(run)
    return tuple(result)


def without(runs: Iterable[Run], upload: str, offset: int) -> tuple[Run, ...]:
    """The runs less one position, which splits the run it is in."""
    result: list[Run] = []
    for run in runs:
        if not run.covers(upload, offset):
            result.append(run)
            continue
        if before := offset - run.offset:
            result.append(replace(run, count=before))
        if after := run.end - offset - 1:
            result.append(Run(upload, offset + 1, after))
    return tuple(result)


@dataclass(frozen=True, slots=True)
class Adbot:
    """A paid bot.

    `missing == required - assigned` for every bot that is not cancelled, and `status is QUEUED` exactly when sessions
    are missing. Times are milliseconds.
    """

    id: str
    order_id: str
    user_id: str
    pool: str
    status: AdbotStatus
    required: int
    assigned: int
    missing: int
    creation_source: CreationSource
    execution_mode: ExecutionMode
    created_at: int
    version: int = 1
    queued_at: int | None = None  # the moment it got its place, not the moment it was bought
    queued_reason: QueuedReason | None = None
    seq: int | None = None  # its place in the queue of its pool
    inbox_id: str | None = None  # its entry in the inbox while it has no place
    on_hold: bool = False  # its payment is disputed
    runs: tuple[Run, ...] = ()
    releases: tuple[int, ...] = field(default=())  # segments through which sessions of this bot went back to stock

    @property
    def waits_in_queue(self) -> bool:
        """It has a place in the queue of its pool."""
        return (
            self.status is AdbotStatus.QUEUED and self.seq is not None and self.queued_reason is not QueuedReason.PARKED
        )

    @property
    def queue_position(self) -> int | None:
        """Its sequence number in the queue of its pool, None unless it waits there."""
        return self.seq if self.waits_in_queue else None

    @property
    def is_parked(self) -> bool:
        """It is set aside until an operator looks."""
        return self.queued_reason is QueuedReason.PARKED

    def holds(self, upload: str, offset: int) -> bool:
        """Whether that session is this bot's."""
        return any(run.covers(upload, offset) for run in self.runs)


@dataclass(frozen=True, slots=True)
class Order:
    """What was bought and the state of its money.

    `amount` is in the currency's smallest unit. What the provider reported (`amount`, `amount_refunded`, `disputed`,
    `ended`, `paid_until`, `invoices` sorted by id) is copied from the payment's own record, which also keeps what
    preceded the order.
    """

    id: str
    status: OrderStatus
    source: CreationSource
    created_at: int
    user_id: str = ""
    adbot_id: str | None = None
    amount: int = 0
    currency: str = ""
    plan_id: str | None = None
    pool: str | None = None
    required_sessions: int | None = None
    amount_refunded: int = 0
    disputed: bool = False
    ended: bool = False
    paid_until: int | None = None  # subscriptions: end of the period that is paid
    invoices: tuple[str, ...] = ()  # subscriptions: those already counted
    provider_ids: dict[str, str] = field(default_factory=dict)
    review_reason: str | None = None
    problems: dict[str, str] = field(default_factory=dict)  # open ones: what -> why; `review_reason` says them together
    settled: dict[str, str] = field(default_factory=dict)  # those that a person has settled
    dated: bool = False  # its money is in movements, each on its own day
    version: int = 1


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that came in or went out at a time (ms), in the currency's smallest unit."""

    at: int
    currency: str
    received: int
    returned: int


class NotStartable(Exception):
    """A bot cannot be started or stopped in the state it is in; `status` and `on_hold` say why."""

    def __init__(self, adbot: Adbot) -> None:
        super().__init__(adbot.status)
        self.adbot = adbot


def started(adbot: Adbot) -> Adbot:
    """The bot, running.

    Raises:
        NotStartable: QUEUED (asked before anything else), on hold, cancelled or running already.
    """
    if (
        adbot.status is AdbotStatus.QUEUED
        or adbot.on_hold
        or adbot.status not in {AdbotStatus.READY, AdbotStatus.STOPPED}
    ):
        raise NotStartable(adbot)
    return replace(adbot, status=AdbotStatus.RUNNING, version=adbot.version + 1)


def stopped(adbot: Adbot) -> Adbot:
    """The bot, stopped.

    Raises:
        NotStartable: it does not run.
    """
    if adbot.status is not AdbotStatus.RUNNING:
        raise NotStartable(adbot)
    return replace(adbot, status=AdbotStatus.STOPPED, version=adbot.version + 1)
