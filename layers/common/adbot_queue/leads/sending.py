"""The message of an entry between our queue and Twilio: claimed, given back, taken, lost, refused, reported.

A claim (`handed` -> `sending`) is one transaction, right before Twilio is called, under the conditions that entry, lead
and day are as they were read. From then on the person cannot be spared the message, and no attempt sends it a second
time: what becomes of it is only learned from the answer or from reports, which come late, twice and in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import TransactionRejected
from adbot_queue.core.telemetry import count
from adbot_queue.leads import messages, templates
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.inbound_messages import WHATSAPP
from adbot_queue.leads.messages import ASKED, UNKNOWN, LeadMessage, MessageKey
from adbot_queue.leads.model import (
    ENTRY_MOVES,
    Cause,
    DayState,
    Entry,
    EntryKey,
    EntryState,
    Lead,
    Reach,
)
from adbot_queue.leads.store import Case, LeadStore
from adbot_queue.leads.templates import Templates
from adbot_queue.leads.writer import Writer
from adbot_queue.ledger import SYSTEM
from adbot_queue.messaging import opt_outs
from adbot_queue.providers.twilio_codes import Concern, concern

SUPERSEDED, STOPPED, WINDOW_OVER, NO_LEAD, OPTED_OUT = "superseded", "stopped", "window_over", "no_lead", "opted_out"
"""Why a message is not sent; `Lead.refusal` has others."""

LOST_ANSWER = "lost_answer"
MESSAGING_LIMIT = "messaging_limit"
"""Why a run stops when the business has used up its recipients."""

STATES = {
    "sent": EntryState.SENT,
    "delivered": EntryState.DELIVERED,
    "partially_delivered": EntryState.DELIVERED,
    "read": EntryState.READ,
    "undelivered": EntryState.FAILED,
    "failed": EntryState.FAILED,
    "canceled": EntryState.FAILED,
}
"""Twilio's states of a message that move an entry."""


class NotSent(Exception):
    """A message is not sent: `reason` says why, in a word. `entry` is as it was read."""

    def __init__(self, reason: str, entry: Entry | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.entry = entry


class Claimed(NamedTuple):
    """An entry that is being sent, as it was written, with its lead and its message."""

    entry: Entry
    lead: Lead
    message: MessageKey


@dataclass(frozen=True, slots=True)
class Report:
    """What Twilio says of a message.

    Attributes:
        message: which. entry: whose entry it is; None: free text.
        state: Twilio's.
        wa_id: WhatsApp's id of the person, if it was sent along.
    """

    message: MessageKey
    entry: EntryKey | None
    state: str
    sid: str
    code: int | None = None
    wa_id: str | None = None


def refusal(case: Case, job_id: str, now: int) -> str | None:
    """Return why the message of an entry is not sent by this job now, in a word; None: it may be."""
    entry, lead, day = case
    if entry is None or entry.job_id != job_id:
        return SUPERSEDED
    if entry.state is EntryState.SENDING and entry.sid is None:
        return UNKNOWN
    if entry.state is not EntryState.HANDED:
        return entry.state.value
    if day is None or now >= day.window_to:
        return WINDOW_OVER
    if day.state is not DayState.RUNNING:
        return STOPPED
    return lead.refusal() if lead else NO_LEAD


class Sending:
    """Moves entries that are being sent."""

    def __init__(self, store: LeadStore, known: Templates, now: Clock = system_clock) -> None:
        self.store = store
        self.templates = known
        self._now = now

    # Before Twilio is called

    def look(self, key: EntryKey, job_id: str) -> Case:
        """Read an entry that is to be sent by a job.

        Raises:
            NotSent: it is not to be sent. It is cancelled or carried over, or goes back to where the next run finds it.
        """

        def attempt() -> Case:
            case = self.store.case(key)
            reason = refusal(case, job_id, self._now())
            if reason is None:
                return case
            self._withdraw(case, reason)
            raise NotSent(reason, case.entry)

        return retry_on_conflict(attempt, CHANGED)

    def opted_out(self, case: Case) -> NoReturn:
        """Write that the person of an entry opted out, of which the lead knows nothing yet.

        Raises:
            NotSent: always.
        """

        def attempt() -> None:
            entry, lead, _ = self.store.case(case.entry.key) if case.entry else case
            if entry is None or lead is None or entry.state is not EntryState.HANDED:
                return
            writer = self.store.writer()
            writer.entry(entry, entry.moved(EntryState.CANCELLED, self._now(), reason=OPTED_OUT))
            writer.lead(lead, lead.after(Cause.OPTED_OUT, self._now(), open_entry=None))
            writer.trail(lead.id, OPTED_OUT, SYSTEM, date=entry.key.date)
            writer.commit()

        retry_on_conflict(attempt, CHANGED)
        raise NotSent(OPTED_OUT)

    def claim(self, case: Case, job_id: str) -> Claimed:
        """Begin to send: the entry is `sending` from now on.

        Items: the lead and the day (refuse if they changed), the entry (refuses if it is not `handed`), the message,
        the trail.

        Raises:
            TransactionRejected, TransactionConflict: something changed since it was read.
        """
        entry, lead, _ = case
        if entry is None or lead is None:
            raise NotSent(SUPERSEDED)
        now = self._now()
        claimed = entry.moved(EntryState.SENDING, now)
        after = lead.changed(now, touches=lead.touches + 1, last_entry=entry.key, last_out=now)
        key = MessageKey(lead.id, now, job_id)
        writer = self.store.writer()
        writer.lead(lead, after)
        writer.entry(entry, claimed)
        writer.day_in(entry.key.owner_id, entry.key.date, DayState.RUNNING)
        writer.trail(lead.id, "sending", SYSTEM, date=entry.key.date, job_id=job_id)
        message = LeadMessage(key, "out", WHATSAPP, ASKED, content_sid=entry.content_sid, variables=entry.variables)
        messages.add(writer, self.store, message)
        writer.commit()
        return Claimed(claimed, after, key)

    def _withdraw(self, case: Case, reason: str) -> None:
        entry, lead, _ = case
        if entry is None or reason == SUPERSEDED:
            return
        writer = self.store.writer()
        if reason == UNKNOWN:  # an attempt died after its claim
            self._end(writer, entry, lead, EntryState.UNSURE, LOST_ANSWER)
            message = MessageKey(entry.key.lead_id, entry.changed_at, entry.job_id or "")
            messages.move(writer, self.store, message, UNKNOWN)
            count("LeadMessagesUnsure")
        elif entry.state is not EntryState.HANDED:
            return
        elif reason == STOPPED:
            writer.entry(entry, entry.moved(EntryState.QUEUED, self._now(), job_id=None))
            writer.trail(entry.key.lead_id, "queued", SYSTEM, date=entry.key.date, reason=reason)
        else:
            state = EntryState.CARRIED_OVER if reason == WINDOW_OVER else EntryState.CANCELLED
            self._end(writer, entry, lead, state, reason)
        writer.commit()

    # After Twilio was called

    def not_taken(self, claimed: Claimed, code: int | None) -> None:
        """Twilio takes no more for the moment: as `give_back`, and the run stops if the business may reach no more."""
        self.give_back(claimed)
        if concern(code) is Concern.MESSAGING_LIMIT:
            self.halt(claimed.entry.key.owner_id, claimed.entry.key.date, MESSAGING_LIMIT)

    def give_back(self, claimed: Claimed) -> None:
        """Twilio certainly did not take the message: the same job may try again."""

        def write(writer: Writer, case: Case) -> None:
            entry, lead, _ = case
            if entry is None or lead is None or entry.state is not EntryState.SENDING:
                return
            writer.entry(entry, entry.moved(EntryState.HANDED, self._now()))
            writer.lead(lead, lead.changed(self._now(), touches=max(0, lead.touches - 1)))
            writer.trail(lead.id, "handed", SYSTEM, date=entry.key.date, reason="not_taken")
            messages.drop(writer, self.store, claimed.message)

        self._again(claimed.entry.key, write)

    def taken(self, claimed: Claimed, sid: str, state: str) -> None:
        """Twilio took the message."""
        report = Report(claimed.message, claimed.entry.key, state, sid)
        self.report(report)

    def lost(self, claimed: Claimed) -> None:
        """The answer got lost: whether Twilio has the message is unknown, unless a report says so."""

        def write(writer: Writer, case: Case) -> None:
            entry, lead, _ = case
            if entry and entry.state is EntryState.SENDING and entry.sid is None:
                self._end(writer, entry, lead, EntryState.UNSURE, LOST_ANSWER)
                messages.move(writer, self.store, claimed.message, UNKNOWN)

        self._again(claimed.entry.key, write)
        count("LeadMessagesUnsure")

    def forgotten(self, key: EntryKey) -> None:
        """Call the message of an entry unknown whose attempt died after its claim and never came again."""

        def write(writer: Writer, case: Case) -> None:
            entry, lead, _ = case
            if entry and entry.state is EntryState.SENDING and entry.sid is None:
                self._end(writer, entry, lead, EntryState.UNSURE, LOST_ANSWER)

        self._again(key, write)
        count("LeadMessagesUnsure")

    def refused(self, claimed: Claimed, code: int | None) -> None:
        """Twilio refused the message for good."""
        self.report(Report(claimed.message, claimed.entry.key, "failed", "", code))

    def withhold(self, message: MessageKey, state: str) -> None:
        """Write that a text is not sent; one that Twilio has stays as it is."""
        writer = self.store.writer()
        messages.move(writer, self.store, message, state)
        with suppress(TransactionRejected):
            writer.commit()

    # What Twilio reports

    def report(self, report: Report) -> bool:
        """Write what Twilio says of a message, and what follows for lead, template and run.

        Returns:
            Whether it is news: what is no further than what is known changes nothing.
        """

        def attempt() -> bool:
            case = self.store.case(report.entry) if report.entry else Case(None, self._lead(report), None)
            writer = self.store.writer()
            messages.move(writer, self.store, report.message, report.state, report.sid or None, report.code)
            self._report_entry(writer, case, report)
            self._report_lead(writer, case, report)
            try:
                writer.commit()
            except TransactionRejected as refused:
                if set(refused.failed) == {"message"}:
                    return False
                raise
            return True

        news = retry_on_conflict(attempt, CHANGED)
        if news:
            self._conclude(report)
        return news

    def halt(self, owner_id: str, date: str, reason: str) -> None:
        """Stop the run of a day; its next step gives back what was handed over."""

        def attempt() -> None:
            day = self.store.day(owner_id, date)
            if day is None or day.state is not DayState.RUNNING:
                return
            writer = self.store.writer()
            writer.day(day, day.changed(state=DayState.STOPPING, reason=reason))
            writer.commit()
            count("LeadRunsStopped")

        retry_on_conflict(attempt, CHANGED)

    def _report_entry(self, writer: Writer, case: Case, report: Report) -> None:
        entry = case.entry
        if entry is None:
            return
        state = STATES.get(report.state)
        sid = entry.sid or report.sid or None
        if state and state in ENTRY_MOVES[entry.state]:
            reason = (concern(report.code) or "refused") if state is EntryState.FAILED else ""
            after = entry.moved(state, self._now(), sid=sid, code=report.code, reason=str(reason))
            writer.entry(entry, after)
            writer.trail(entry.key.lead_id, state.value, SYSTEM, date=entry.key.date, sid=sid, code=report.code)
        elif sid != entry.sid and entry.state in {EntryState.SENDING, EntryState.UNSURE}:
            writer.entry(entry, replace(entry, sid=sid))

    def _report_lead(self, writer: Writer, case: Case, report: Report) -> None:
        lead, state = case.lead, STATES.get(report.state)
        if lead is None:
            return
        changes: dict[str, Any] = {}
        what = concern(report.code)
        if state and case.entry and lead.open_entry == case.entry.key:
            changes["open_entry"] = None
        if report.entry is None and not state:
            changes["last_out"] = self._now()
        if state in {EntryState.DELIVERED, EntryState.READ} and lead.reach is not Reach.OK:
            changes["reach"] = Reach.OK
        if what is Concern.UNREACHABLE:
            changes["reach"] = Reach.NONE
        if report.wa_id and lead.wa_id is None:
            changes["wa_id"] = report.wa_id
            writer.learn(lead, report.wa_id)
        cause = None
        if what is Concern.OPTED_OUT:
            cause = Cause.OPTED_OUT
            writer.trail(lead.id, "opted_out", SYSTEM, code=report.code)
        elif state in {EntryState.SENT, EntryState.DELIVERED, EntryState.READ}:
            cause = Cause.SENT
        after = lead.after(cause, self._now(), **changes) if cause else lead.changed(self._now(), **changes)
        if changes or after.status is not lead.status:
            writer.lead(lead, after)

    def _conclude(self, report: Report) -> None:
        """What concerns more than the one message; each bears repetition."""
        if STATES.get(report.state) is not EntryState.FAILED:
            return
        what = concern(report.code)
        count("LeadMessagesFailed")
        if what is Concern.OPTED_OUT and (lead := self._lead(report)):
            opt_outs.stop(lead.phone, self._now(), report.message.ref)
        if report.entry is None:
            return
        if what is Concern.TEMPLATE and (entry := self.store.entry(report.entry)):
            self.templates.failed(entry.content_sid, report.code)
        if what is Concern.MESSAGING_LIMIT:
            self.halt(report.entry.owner_id, report.entry.date, MESSAGING_LIMIT)

    # Shared

    def _lead(self, report: Report) -> Lead | None:
        return self.store.lead(report.message.lead_id)

    def _end(self, writer: Writer, entry: Entry, lead: Lead | None, state: EntryState, reason: str) -> None:
        """Move an entry to where nothing is sent any more; its lead is in no queue then."""
        writer.entry(entry, entry.moved(state, self._now(), reason=reason))
        if lead:
            if lead.open_entry == entry.key:
                writer.lead(lead, lead.changed(self._now(), open_entry=None))
            writer.trail(lead.id, state.value, SYSTEM, date=entry.key.date, reason=reason)

    def _again(self, key: EntryKey, write: Callable[[Writer, Case], None]) -> None:
        def attempt() -> None:
            writer = self.store.writer()
            write(writer, self.store.case(key))
            if len(writer.transaction):
                writer.commit()

        retry_on_conflict(attempt, CHANGED)


@lru_cache(maxsize=1)
def from_env() -> Sending:
    """The messages that are being sent by this installation."""
    return Sending(lead_store.from_env(), templates.from_env())
