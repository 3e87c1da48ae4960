"""A lead, its entry in a day's queue, and the day: states, moves, figures. Pure.

A lead's status moves by causes (`MOVES`), an entry's state by `ENTRY_MOVES`; both tables are complete, what they do not
name is refused. `sending` is the border of an entry: before it nothing has reached Twilio and a cancel is certain, from
it on only Twilio's reports say what happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from adbot_queue.core.errors import Conflict

MIN_PRIORITY, MAX_PRIORITY, DEFAULT_PRIORITY = 0, 9, 5


class Status(StrEnum):
    """How far a lead is."""

    NEW = "new"
    CONTACTED = "contacted"
    ENGAGED = "engaged"
    QUALIFIED = "qualified"
    BOOKED = "booked"
    LOST = "lost"
    OPTED_OUT = "opted_out"


class Cause(StrEnum):
    """What moves a lead's status."""

    SENT = "sent"  # Twilio reports the first message as sent
    REPLIED = "replied"
    TAKEN = "taken"  # a person takes the lead over
    QUALIFIED = "qualified"
    BOOKED = "booked"
    LOST = "lost"
    REOPENED = "reopened"
    OPTED_OUT = "opted_out"
    OPTED_IN = "opted_in"  # the person's own START


_N, _C, _E, _Q, _B, _L, _O = Status
MOVES: Mapping[Cause, Mapping[Status, Status]] = {
    #                 new      contacted engaged  qualified booked  lost     opted_out
    Cause.SENT: {_N: _C, _C: _C, _E: _E, _Q: _Q, _B: _B, _L: _L, _O: _O},
    Cause.REPLIED: {_N: _E, _C: _E, _E: _E, _Q: _Q, _B: _B, _L: _L, _O: _O},
    Cause.TAKEN: {_N: _E, _C: _E, _E: _E, _Q: _Q, _B: _B, _L: _E},
    Cause.QUALIFIED: {_E: _Q, _Q: _Q},
    Cause.BOOKED: {_Q: _B, _B: _B},
    Cause.LOST: {_N: _L, _C: _L, _E: _L, _Q: _L, _B: _L, _L: _L},
    Cause.REOPENED: {_L: _E},
    Cause.OPTED_OUT: dict.fromkeys(Status, _O),
    Cause.OPTED_IN: {_N: _N, _C: _C, _E: _E, _Q: _Q, _B: _B, _L: _L, _O: _C},
}
"""Cause -> status before -> status after. A cause that does not name the status before is refused."""


class NotAllowed(Conflict):
    """The lead or its entry is not in a state that allows the move."""


class ConsentState(StrEnum):
    """Whether a person agreed to be written to."""

    UNKNOWN = "unknown"
    GRANTED = "granted"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Consent:
    """A person's agreement: where it was given, its words, when (ms), and where the proof is kept."""

    state: ConsentState = ConsentState.UNKNOWN
    source: str = ""
    text: str = ""
    at: int | None = None
    proof: str = ""


UNKNOWN_CONSENT = Consent()


class Reach(StrEnum):
    """Whether the phone has WhatsApp."""

    UNKNOWN = "unknown"
    OK = "ok"
    NONE = "none"


class EntryState(StrEnum):
    """How far the message of an entry is."""

    QUEUED = "queued"
    HANDED = "handed"  # its job is enqueued
    SENDING = "sending"  # Twilio is asked, or has it
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    UNSURE = "unsure"  # whether Twilio has it is unknown
    CANCELLED = "cancelled"
    CARRIED_OVER = "carried_over"  # the window closed first


ENTRY_MOVES: Mapping[EntryState, frozenset[EntryState]] = {
    state: frozenset(map(EntryState, after.split()))
    for state, after in {
        EntryState.QUEUED: "handed cancelled carried_over",
        EntryState.HANDED: "queued sending cancelled carried_over",
        EntryState.SENDING: "handed sent delivered read failed unsure",  # handed: Twilio certainly did not take it
        EntryState.UNSURE: "sent delivered read failed",
        EntryState.SENT: "delivered read failed",
        EntryState.DELIVERED: "read",
        EntryState.READ: "",
        EntryState.FAILED: "",
        EntryState.CANCELLED: "",
        EntryState.CARRIED_OVER: "",
    }.items()
}
"""State -> the states that may follow; `sending` becomes `handed` again if Twilio certainly did not take it.

Twilio's reports come late, twice and out of order: one may skip others.
"""

OPEN = frozenset({EntryState.QUEUED, EntryState.HANDED, EntryState.SENDING})
"""A lead with an entry in one of these is in no other queue."""

CANCELLABLE = frozenset({EntryState.QUEUED, EntryState.HANDED})


class EntryKey(NamedTuple):
    """Which entry: of a lead, in its owner's queue of a date, at a place in the order."""

    owner_id: str
    date: str
    place: int
    lead_id: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A lead in the queue of a day, with the message as it was rendered when the day was prepared.

    Attributes:
        content_sid: the template. variables: its variables with their texts.
        changed_at: in ms.
        job_id: the job that sends it, once handed over.
        sid: Twilio's id of the message, once known.
        code: Twilio's error code.
        reason: why it ended as it did, in a word.
    """

    key: EntryKey
    state: EntryState
    content_sid: str
    variables: Mapping[str, str]
    changed_at: int
    job_id: str | None = None
    sid: str | None = None
    code: int | None = None
    reason: str = ""

    def moved(self, state: EntryState, now: int, **changes: Any) -> Entry:
        """Return the entry in another state.

        Raises:
            NotAllowed: `ENTRY_MOVES` has no such move.
        """
        if state not in ENTRY_MOVES[self.state]:
            raise NotAllowed(f"the message of this lead is {self.state}; it cannot become {state}", state=self.state)
        return replace(self, state=state, changed_at=now, **changes)


_GAUGES = (EntryState.QUEUED, EntryState.HANDED, EntryState.SENDING, EntryState.UNSURE)
_STAGES = (EntryState.SENT, EntryState.DELIVERED, EntryState.READ)
_GIVEN_BACK = (EntryState.CANCELLED, EntryState.CARRIED_OVER)
_ENDS = (*_GIVEN_BACK, EntryState.FAILED)

COUNTS = ("prepared", *_GAUGES, *_STAGES, *_ENDS, "replied", "taken")
"""Figures of a day. Entries that are queued, handed, sending or unsure now; all others count up and never down."""


def counted(before: EntryState | None, after: EntryState) -> dict[str, int]:
    """Return what a move adds to the figures of its day; `before` is None for a new entry.

    A stage that a report skips is counted with it: what was read was delivered. `load`, which the capacity limits, is
    the number of entries that have used a place of the day, or may still.
    """
    added: dict[str, int] = {}

    def add(name: str, number: int) -> None:
        added[name] = added.get(name, 0) + number

    if before is None:
        add("prepared", 1)
        add("load", 1)
    if before in _GAUGES:
        add(before, -1)
    if after in (*_GAUGES, *_ENDS):
        add(after, 1)
    if after in _GIVEN_BACK:
        add("load", -1)
    if after in _STAGES:
        passed = _STAGES.index(before) + 1 if before in _STAGES else 0
        for stage in _STAGES[passed : _STAGES.index(after) + 1]:
            add(stage, 1)
    return added


@dataclass(frozen=True, slots=True)
class Lead:
    """A person to be won, in the hands of one user.

    Attributes:
        phone: E.164. wa_id: WhatsApp's own id of the person, for those who write without a phone.
        priority: 0 to 9, higher first.
        fields: whatever else is known, by name; templates use it.
        tz: IANA name of the person's zone.
        window_until: until when (ms) WhatsApp allows free text; last_in, last_out: last message of each direction.
        read_at: the last message that the user who works it has read. It changes without the version.
        touches: messages that were handed to Twilio by the automation.
        open_entry: its entry that is queued, handed or sending. last_entry: its latest entry, open or not.
        taken_by: the user who writes to the person himself, since taken_at.
        shared: another owner has, or had, the person as a lead too.
        request: the Idempotency-Key that added it, hashed, and the fingerprint of its request.
    """

    id: str
    owner_id: str
    client_id: str
    name: str
    phone: str
    created_at: int
    updated_at: int
    project_id: str | None = None
    wa_id: str | None = None
    status: Status = Status.NEW
    priority: int = DEFAULT_PRIORITY
    source: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    consent: Consent = UNKNOWN_CONSENT
    tz: str | None = None
    reach: Reach = Reach.UNKNOWN
    window_until: int | None = None
    last_in: int | None = None
    last_out: int | None = None
    read_at: int | None = None
    touches: int = 0
    open_entry: EntryKey | None = None
    last_entry: EntryKey | None = None
    taken_by: str | None = None
    taken_at: int | None = None
    shared: bool = False
    request: str | None = None
    version: int = 1

    def changed(self, now: int, **changes: Any) -> Lead:
        """Return the next version."""
        return replace(self, version=self.version + 1, updated_at=now, **changes)

    def after(self, cause: Cause, now: int, **changes: Any) -> Lead:
        """Return the lead with the status that a cause leads to.

        Raises:
            NotAllowed: `MOVES` has no such move.
        """
        status = MOVES[cause].get(self.status)
        if status is None:
            raise NotAllowed(f"this lead is {self.status}; it cannot become {cause}", status=self.status)
        return self.changed(now, status=status, **changes)

    def refusal(self) -> str | None:
        """Return why automation must not write to the person now, in a word; None when it may."""
        return next((reason for reason, holds in self._refusals() if holds), None)

    def _refusals(self) -> tuple[tuple[str, bool], ...]:
        return (
            ("opted_out", self.status is Status.OPTED_OUT),
            ("taken", self.taken_by is not None),
            ("replied", self.status is not Status.NEW and self.last_in is not None),
            ("closed", self.status in {Status.ENGAGED, Status.QUALIFIED, Status.BOOKED, Status.LOST}),
            ("consent_denied", self.consent.state is ConsentState.DENIED),
            ("no_whatsapp", self.reach is Reach.NONE),
            ("consent_unknown", self.consent.state is ConsentState.UNKNOWN),
        )

    @property
    def not_sendable(self) -> str | None:
        """Why automation does not write to the person, as `refusal`."""
        return self.refusal()

    @property
    def worked_by(self) -> str:
        """The user who reads and answers: who took the lead, else its owner."""
        return self.taken_by or self.owner_id

    @property
    def unread(self) -> bool:
        """Whether that user has not read the person's last message."""
        return (self.last_in or 0) > (self.read_at or 0)

    @property
    def queued_for(self) -> str | None:
        """The date of the queue that has a message for the lead."""
        return self.open_entry and self.open_entry.date

    @property
    def eligible_place(self) -> str | None:
        """The lead's place among those of its owner that may be queued; None when it may not.

        Leads without a known consent come last: they are counted as skipped, never written to.
        """
        refusal = self.refusal()
        if self.open_entry or self.touches or self.status is not Status.NEW or refusal not in {None, "consent_unknown"}:
            return None
        return f"{SENDABLE if refusal is None else UNSENDABLE}#{MAX_PRIORITY - self.priority}#{self.id}"


SENDABLE, UNSENDABLE = "0", "1"
"""How places of eligible leads begin."""


class DayState(StrEnum):
    """How far the queue of a day is."""

    PREPARED = "prepared"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Day:
    """The queue of a user on a date in the user's zone, as it was prepared.

    Attributes:
        capacity: entries that the day takes. load: entries that use a place.
        window_from, window_to: when messages may go out (ms, the end excluded).
        counts: the figures (`COUNTS`).
        first_reply_ms: sum of the times to the first reply of those who replied.
        job_id: the run. reason: why it stopped.
    """

    owner_id: str
    date: str
    state: DayState
    capacity: int
    window_from: int
    window_to: int
    zone: str
    load: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    first_reply_ms: int = 0
    job_id: str | None = None
    reason: str = ""
    version: int = 1

    def changed(self, **changes: Any) -> Day:
        """Return the next version."""
        return replace(self, version=self.version + 1, **changes)
