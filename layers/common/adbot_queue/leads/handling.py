"""What people do with a lead that automation may be writing to: take it over, release it, hand it to a colleague.

A message that is queued, or whose job has not asked Twilio yet, is cancelled in the same transaction; the job finds its
entry cancelled and sends nothing. A message that Twilio is asked for cannot be recalled, and the answer says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from adbot_queue.core.clock import iso
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import TransactionRejected
from adbot_queue.core.errors import Conflict
from adbot_queue.leads import service as lead_service
from adbot_queue.leads.model import CANCELLABLE, Cause, Entry, EntryState, Lead
from adbot_queue.leads.references import ReferenceKind
from adbot_queue.leads.service import Act, LeadService, raise_unknown_reference
from adbot_queue.leads.writer import Writer
from adbot_queue.ledger import LedgerEntry


class Message(StrEnum):
    """What became of the message that automation was about to send."""

    NONE = "none"
    CANCELLED = "cancelled"
    HANDED_OVER = "handed_over"


@dataclass(frozen=True, slots=True)
class Handled:
    """A lead after an act, and its message; if Twilio has it, its id (once known) and since when (ms)."""

    lead: Lead
    message: Message = Message.NONE
    sid: str | None = None
    since: int | None = None


class TakenByOther(Conflict):
    """A colleague was faster."""


class Handling:
    """Acts of people on one lead; each may be repeated."""

    def __init__(self, leads: LeadService) -> None:
        self._leads = leads
        self._store = leads.store

    def take(self, lead_id: str, by: Act) -> Handled:
        """Take a lead over from automation: a person writes to the lead from now on.

        Raises:
            NotFound: as `LeadService.get`. TakenByOther: names the colleague and the time.
            NotAllowed: the person opted out.
        """
        return self._act(lead_id, by, self._take)

    def release(self, lead_id: str, by: Act) -> Handled:
        """Give a lead back: no person writes to it. Its status stays, so automation does not begin again.

        Raises:
            NotFound: as `LeadService.get`. TakenByOther: a colleague has it and the caller is not staff.
        """
        return self._act(lead_id, by, self._release)

    def assign(self, lead_id: str, owner_id: str, by: Act) -> Handled:
        """Hand a lead to another user, who keeps it taken if it was.

        Raises:
            NotFound: as `LeadService.get`. Invalid: the user does not exist.
            Conflict: the user has a lead with this phone; a message is being sent.
        """
        return self._act(lead_id, by, lambda lead, act: self._assign(lead, owner_id, act))

    def _act(self, lead_id: str, by: Act, act: Any) -> Handled:
        def attempt() -> Handled:
            handled: Handled = act(self._leads.get(lead_id, by.sees_only), by)
            return handled

        return retry_on_conflict(attempt, CHANGED)

    def _take(self, lead: Lead, by: Act) -> Handled:
        actor = by.actor
        if lead.taken_by == actor.id:
            return Handled(lead)
        if lead.taken_by:
            raise self._lost(lead)
        now = self._store.now()
        writer = self._store.writer()
        after = lead.after(Cause.TAKEN, now, taken_by=actor.id, taken_at=now)
        handled = self._withdraw(writer, lead, after, "taken", by)
        writer.lead(lead, handled.lead)
        if lead.last_entry:
            writer.count(lead.last_entry.owner_id, lead.last_entry.date, {"taken": 1})
        writer.trail(lead.id, "taken", actor, message=handled.message.value)
        self._sign(writer, by, "lead.take", lead, {"status": lead.status}, {"status": after.status})
        writer.commit()
        return handled

    def _lost(self, lead: Lead) -> TakenByOther:
        user = self._store.user(lead.taken_by or "")
        name = (user and user.name) or lead.taken_by
        at = iso(lead.taken_at or lead.updated_at)
        return TakenByOther(f"{name} took this lead at {at}", taken_by=lead.taken_by, taken_by_name=name, taken_at=at)

    def _release(self, lead: Lead, by: Act) -> Handled:
        if lead.taken_by is None:
            return Handled(lead)
        if by.sees_only and lead.taken_by != by.actor.id:
            raise self._lost(lead)
        after = lead.changed(self._store.now(), taken_by=None, taken_at=None)
        writer = self._store.writer()
        writer.lead(lead, after)
        writer.trail(lead.id, "released", by.actor)
        self._sign(writer, by, "lead.release", lead, {"taken_by": lead.taken_by})
        writer.commit()
        return Handled(after)

    def _assign(self, lead: Lead, owner_id: str, by: Act) -> Handled:
        if lead.owner_id == owner_id:
            return Handled(lead)
        after = lead.changed(self._store.now(), owner_id=owner_id, taken_by=lead.taken_by and owner_id)
        writer = self._store.writer()
        handled = self._withdraw(writer, lead, after, "assigned", by)
        if handled.message is Message.HANDED_OVER:
            raise Conflict("a message to this lead is being sent; try again in a minute")
        writer.lead(lead, handled.lead)
        for address, holder in self._store.holders(filter(None, (lead.phone, lead.wa_id))).items():
            if owner_id in holder.owners:
                raise Conflict(f"owner_id: user {owner_id} has a lead with this phone")
            writer.pass_on(lead, address, holder.owners, owner_id)
        writer.reference(ReferenceKind.USER, owner_id)
        writer.trail(lead.id, "assigned", by.actor, owner_id=owner_id, message=handled.message.value)
        self._sign(writer, by, "lead.assign", lead, {"owner_id": lead.owner_id}, {"owner_id": owner_id})
        try:
            writer.commit()
        except TransactionRejected as refused:
            raise_unknown_reference(refused)
            raise
        return handled

    def _withdraw(self, writer: Writer, lead: Lead, after: Lead, reason: str, by: Act) -> Handled:
        """Cancel the message of a lead if it still can be, within the transaction."""
        entry: Entry | None = self._store.entry(lead.open_entry) if lead.open_entry else None
        if entry is None:
            return Handled(after)
        if entry.state not in CANCELLABLE:
            return Handled(after, Message.HANDED_OVER, entry.sid, entry.changed_at)
        writer.entry(entry, entry.moved(EntryState.CANCELLED, self._store.now(), reason=reason))
        writer.trail(lead.id, "cancelled", by.actor, date=entry.key.date, reason=reason)
        return Handled(replace(after, open_entry=None), Message.CANCELLED)

    def _sign(self, writer: Writer, by: Act, action: str, lead: Lead, before: Any, after: Any = None) -> None:
        entry = LedgerEntry(by.actor, action, f"lead:{lead.id}", dict(before), dict(after or {}))
        self._leads.ledger.sign(writer.transaction, entry)


@lru_cache(maxsize=1)
def from_env() -> Handling:
    """The acts on the leads of this installation."""
    return Handling(lead_service.from_env())
