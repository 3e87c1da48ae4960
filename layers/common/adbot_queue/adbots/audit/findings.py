"""What an audit of a pool reads, and what it can find. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from adbot_queue.adbots.allocation import Segment
from adbot_queue.adbots.model import Adbot, Order, Run
from adbot_queue.adbots.pool_state import InboxEntry, PoolState, QueueEntry


class FindingKind(StrEnum):
    """What a finding means for the operator."""

    DOUBLE = "double"  # one session for two
    JUMP = "jump"  # a bot was served before its turn
    DRIFT = "drift"  # items that should agree do not
    LOST = "lost"  # something that was promised is not there


class FindingCode(StrEnum):
    """Every rule, by the name its finding carries. Names are stable: alarms and notes refer to them."""

    SESSION_OWNED_TWICE = "session-owned-twice"
    SESSION_OWNED_AND_FREE = "session-owned-and-free"
    SESSION_FREE_TWICE = "session-free-twice"
    SESSION_LOST_BUT_USED = "session-lost-but-used"
    SESSION_GIVEN_TWICE = "session-given-twice"

    SERVED_OUT_OF_ORDER = "served-out-of-order"
    OVERTAKEN = "overtaken"
    QUEUED_AT_OUT_OF_ORDER = "queued-at-out-of-order"
    PLACE_TAKEN_TWICE = "place-taken-twice"

    RUN_OUTSIDE_STOCK = "run-outside-stock"
    RUN_UNPROVEN = "run-unproven"
    OWNER_INDEX_DISAGREES = "owner-index-disagrees"
    OWNER_INDEX_GAP = "owner-index-gap"
    ADBOT_ASSIGNED = "adbot-assigned"
    ADBOT_MISSING = "adbot-missing"
    ADBOT_STATUS = "adbot-status"
    ADBOT_WITHOUT_PLACE = "adbot-without-place"
    ENTRY_STRAY = "entry-stray"
    ENTRY_MISSING = "entry-missing"
    HEADER_FREE = "header-free"
    HEADER_STOCK_TOTAL = "header-stock-total"
    HEADER_QUEUE_LENGTH = "header-queue-length"
    HEADER_MISSING_TOTAL = "header-missing-total"
    HEADER_HEAD = "header-head"
    HEADER_OLDEST = "header-oldest"
    HEADER_TAIL = "header-tail"
    HEADER_PARKED = "header-parked"
    HEADER_CURSOR = "header-cursor"
    HEADER_SEGMENTS = "header-segments"

    ROW_UNREADABLE = "row-unreadable"

    SESSION_LEAKED = "session-leaked"
    ADBOT_GONE = "adbot-gone"
    ORDER_GONE = "order-gone"
    UPLOAD_GONE = "upload-gone"
    UPLOAD_UNSIGNED = "upload-unsigned"
    CREATE_UNSIGNED = "create-unsigned"
    CANCEL_UNSIGNED = "cancel-unsigned"
    LOSS_UNMARKED = "loss-unmarked"

    @property
    def kind(self) -> FindingKind:
        """Which of the four it is."""
        return _KINDS.get(self, FindingKind.DRIFT)


_KINDS = {
    **dict.fromkeys((code for code in FindingCode if code.startswith("session-")), FindingKind.DOUBLE),
    **dict.fromkeys(
        (
            FindingCode.SERVED_OUT_OF_ORDER,
            FindingCode.OVERTAKEN,
            FindingCode.QUEUED_AT_OUT_OF_ORDER,
            FindingCode.PLACE_TAKEN_TWICE,
        ),
        FindingKind.JUMP,
    ),
    **dict.fromkeys(
        (
            code
            for code in FindingCode
            if code.endswith(("-gone", "-unsigned", "-unmarked")) or code is FindingCode.SESSION_LEAKED
        ),
        FindingKind.LOST,
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. Code and subject together are its identity; the detail is for people."""

    code: FindingCode
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class AssignmentRecord:
    """An entry of the owner index: the pool's change `version` gave the run to the bot.

    `seq` is the place it was served at, None where an operator's hand gave it out of turn.
    """

    run: Run
    version: int
    adbot_id: str
    seq: int | None


@dataclass(frozen=True, slots=True)
class Loss:
    """A ledger entry that says a session was lost, and whether the session's item says so too."""

    session_id: str
    upload: str
    offset: int
    marked: bool


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """All there is about one pool at one version of its header.

    Attributes:
        segments, queue: the whole directory, passed ones too, and all places, served ones too, each in order.
        parked: bots in the park.
        uploads: positions of every upload in the directory.
        accepted: by the ledger, sessions that each published upload brought.
        created, cancelled: by the ledger, how often each bot was.
        unreadable: rows that this version cannot read: bot, order or name of the row -> why.
        bad_places: sort keys of those among them in queue and inbox.
        bad_segments: numbers of those among them in the directory.
    """

    header: PoolState
    segments: Sequence[Segment] = ()
    queue: Sequence[QueueEntry] = ()
    inbox: Sequence[InboxEntry] = ()
    parked: Sequence[str] = ()
    assignments: Sequence[AssignmentRecord] = ()
    uploads: Mapping[str, int] = field(default_factory=dict)
    accepted: Mapping[str, int] = field(default_factory=dict)
    adbots: Mapping[str, Adbot] = field(default_factory=dict)
    orders: Mapping[str, Order] = field(default_factory=dict)
    created: Mapping[str, int] = field(default_factory=dict)
    cancelled: Mapping[str, int] = field(default_factory=dict)
    losses: Sequence[Loss] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    bad_places: frozenset[str] = frozenset()
    bad_segments: frozenset[int] = frozenset()

    @property
    def unknown_segments(self) -> frozenset[int]:
        """Segments that no version here can read and that the header does not list yet: it counts them as before."""
        return self.bad_segments - {number for number, _ in self.header.aside}

    @property
    def waiting(self) -> list[Adbot]:
        """Bots with a place in the queue, in its order."""
        return sorted((bot for bot in self.adbots.values() if bot.waits_in_queue), key=lambda bot: bot.seq or 0)
