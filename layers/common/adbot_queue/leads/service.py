"""The door of the leads: add, show, change. `handling` has what people do with a lead that is in a queue.

Each act is one transaction: the lead under the version that was read, what it refers to, who has the phone, the trail,
and the ledger entry of the person who acts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

from adbot_queue import ledger as ledgers
from adbot_queue.core.conflicts import retry_on_conflict
from adbot_queue.core.dynamodb import Item, TransactionConflict, TransactionRejected
from adbot_queue.core.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from adbot_queue.core.ids import derived_id, time_ordered_id
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.model import DEFAULT_PRIORITY, UNKNOWN_CONSENT, Cause, Consent, ConsentState, Lead, Reach, Status
from adbot_queue.leads.references import ReferenceKind
from adbot_queue.leads.store import Holder, LeadStore
from adbot_queue.leads.writer import Writer
from adbot_queue.ledger import SYSTEM, Actor, Ledger, LedgerEntry

MAX_SEARCHED_PAGES = 10

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}")
ID_IN_WORDS = "1 to 64 of A-Z, a-z, 0-9 and . _ : @ -, a letter or digit first"
MAX_NAME, MAX_PROOF = 200, 500
MAX_FIELDS, MAX_FIELD_NAME, MAX_FIELD = 50, 64, 1_000
MAX_FIELDS_SIZE = 4_000
"""Characters of all fields of a lead."""

FIELD_OF = {ReferenceKind.USER: "owner_id", ReferenceKind.CLIENT: "client_id", ReferenceKind.PROJECT: "project_id"}
NO_HOLDER = Holder(frozenset(), frozenset(), opted_out=False)

PERSONS_CAUSES: Mapping[Status, Cause] = {
    Status.QUALIFIED: Cause.QUALIFIED,
    Status.BOOKED: Cause.BOOKED,
    Status.LOST: Cause.LOST,
    Status.ENGAGED: Cause.REOPENED,
}
"""The statuses that a person sets, and the cause that each is."""


@dataclass(frozen=True, slots=True)
class LeadSpec:
    """What is known of a new lead."""

    client_id: str
    name: str
    phone: str
    project_id: str | None = None
    priority: int = DEFAULT_PRIORITY
    source: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    consent: Consent = UNKNOWN_CONSENT
    tz: str | None = None

    def lead(self, lead_id: str, owner_id: str, now: int, holder: Holder, request: str | None = None) -> Lead:
        """Return the lead that it becomes; a person who opted out before stays opted out."""
        return Lead(
            lead_id,
            owner_id,
            self.client_id,
            self.name,
            self.phone,
            now,
            now,
            project_id=self.project_id,
            status=Status.OPTED_OUT if holder.opted_out else Status.NEW,
            priority=self.priority,
            source=self.source,
            fields=self.fields,
            consent=self.consent,
            tz=self.tz,
            shared=bool(holder.owners),
            request=request,
        )


class Act(NamedTuple):
    """Who acts, and whose leads he sees: only those of this user, or (None) all."""

    actor: Actor
    sees_only: str | None
    key: str | None = None
    fingerprint: str = ""


class Added(NamedTuple):
    """A new lead; `replayed` when an earlier request under its Idempotency-Key added it."""

    lead: Lead
    replayed: bool = False


class LeadService:
    """Leads one by one."""

    def __init__(self, store: LeadStore, ledger: Ledger) -> None:
        self.store = store
        self.ledger = ledger

    # Looking

    def get(self, lead_id: str, sees_only: str | None) -> Lead:
        """Return a lead.

        Raises:
            NotFound: it does not exist, or is another user's and the caller sees only his own.
        """
        lead = self.store.lead(lead_id)
        if lead is None or sees_only not in {None, lead.owner_id}:
            raise NotFound(f"lead {lead_id} does not exist")
        return lead

    def page(
        self, index: str, value: str, wanted: Callable[[Lead], bool], limit: int, cursor: str | None
    ) -> tuple[list[Lead], str | None]:
        """Return the wanted leads of an owner or a client, newest first, and the cursor of the next page.

        A page may be shorter than its limit while more follow: at most 10 pages of the index are searched.
        """
        found: list[Lead] = []
        for _ in range(MAX_SEARCHED_PAGES):
            leads, cursor = self.store.listed(index, value, limit - len(found), cursor)
            found += filter(wanted, leads)
            if len(found) == limit or cursor is None:
                break
        return found, cursor

    def trail(
        self, lead_id: str, sees_only: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Item], str | None]:
        """Return a page of what happened to a lead, newest first.

        Raises:
            NotFound: as `get`.
        """
        self.get(lead_id, sees_only)
        return self.store.trail(lead_id, limit, cursor)

    # Changing

    def add(self, owner_id: str, spec: LeadSpec, by: Act) -> Added:
        """Add a lead to a user's.

        Items: the lead (new), the phone (refuses other owners than were read), leads of other owners with it, the
        references (refuse what does not exist), trail, ledger.

        Raises:
            Invalid: owner, client or project does not exist.
            Conflict: the phone is taken. IdempotencyMismatch: the key was used for another lead.
            Unavailable: as `retry_on_conflict`.
        """
        now = self.store.now()
        settings = self.store.ensure_user(owner_id) if owner_id == by.actor.id else self.store.user(owner_id)
        if settings is None:
            raise _unknown(ReferenceKind.USER, owner_id)
        key = derived_id("", by.actor.id, by.key) if by.key else None
        lead_id = time_ordered_id(now)

        def attempt() -> Added:
            holder = self.store.holders([spec.phone]).get(spec.phone, NO_HOLDER)
            request = f"{key}:{by.fingerprint}" if key else None
            lead = spec.lead(lead_id, owner_id, now, holder, request)
            if holder.refuses(owner_id, exclusive=settings.exclusive):
                return self._taken_phone(spec.phone, lead, key, by)
            writer = self.store.writer()
            self.put(writer, lead, holder, by.actor, "created")
            self._sign(writer, by.actor, "lead.create", lead.id, after={"owner_id": owner_id, **_references(lead)})
            try:
                writer.commit()
            except TransactionRejected as refused:
                raise_unknown_reference(refused)
                raise TransactionConflict("the phone's owners") from refused
            return Added(lead)

        return retry_on_conflict(attempt)

    def put(self, writer: Writer, lead: Lead, holder: Holder, actor: Actor, what: str, **detail: Any) -> None:
        """Add a new lead, its phone, its references and the start of its trail to a transaction."""
        writer.create(lead)
        self._join(writer, lead, holder)
        writer.trail(lead.id, what, actor, source=lead.source or None, consent=lead.consent.state.value, **detail)
        check_references(writer, lead)

    def _join(self, writer: Writer, lead: Lead, holder: Holder) -> None:
        """Name the lead under its phone, and have leads of other owners know that they share the person."""
        writer.join(lead, lead.phone, owners=holder.owners, opted_out=holder.opted_out)
        for other in self.store.leads(holder.lead_ids).values():
            if not other.shared:
                writer.lead(other, other.changed(self.store.now(), shared=True))
                writer.trail(other.id, "shared", SYSTEM)

    def _taken_phone(self, phone: str, lead: Lead, key: str | None, by: Act) -> Added:
        """Say whose phone it is; the lead itself if this request, or an earlier one under its key, has added it."""
        others = self.store.find([phone])
        mine = next((other for other in others if other.owner_id == lead.owner_id), None)
        if mine and mine.id == lead.id:
            return Added(mine)  # the answer got lost, and the client sent it again
        if mine and key and (mine.request or "").startswith(f"{key}:"):
            if mine.request != lead.request:
                raise IdempotencyMismatch("this Idempotency-Key was used with another request")
            return Added(mine, replayed=True)
        if mine:
            raise Conflict(f"phone: lead {mine.id} of this owner has it", lead_id=mine.id)
        if by.sees_only:
            raise Conflict("phone: a lead of another owner has it")
        raise Conflict("phone: a lead of another owner has it", owner_ids=sorted(other.owner_id for other in others))

    def change(self, lead_id: str, wanted: Mapping[str, Any], version: int | None, by: Act) -> Lead:
        """Change what is known of a lead, or its status.

        A consent goes with its phone, and so do WhatsApp's window and id: a new phone has none of them, unless the
        change brings a consent along.

        Args:
            lead_id: which.
            wanted: fields of `Lead` with their new values; `status` only as `PERSONS_CAUSES` allows.
            version: refuse unless the lead has it.
            by: who.

        Raises:
            NotFound: as `get`. Invalid: client or project does not exist, or the status is not a person's to set.
            Conflict: another version; the phone is taken, or in a queue; the status does not follow.
        """

        def attempt() -> Lead:
            before = self.get(lead_id, by.sees_only)
            if version not in {None, before.version}:
                raise Conflict(f"lead {lead_id} has version {before.version}", version=before.version)
            changes = {name: value for name, value in wanted.items() if getattr(before, name) != value}
            if not changes:
                return before
            if "phone" in changes and "consent" not in wanted and before.consent.state is ConsentState.GRANTED:
                changes["consent"] = UNKNOWN_CONSENT
            after = self._changed(before, changes)
            writer = self.store.writer()
            if "phone" in changes:
                after = self._change_phone(writer, before, after)
            writer.lead(before, after)
            check_references(writer, after)
            writer.trail(lead_id, "changed", by.actor, fields=sorted(changes), status=changes.get("status"))
            was = {name: _plain(getattr(before, name)) for name in changes if name not in _PERSONAL}
            became = {name: _plain(value) for name, value in changes.items() if name not in _PERSONAL}
            self._sign(writer, by.actor, "lead.change", lead_id, was, became | {"fields": sorted(changes)})
            try:
                writer.commit()
            except TransactionRejected as refused:
                raise_unknown_reference(refused)
                raise TransactionConflict("lead") from refused
            return after

        return retry_on_conflict(attempt)

    def _changed(self, before: Lead, changes: dict[str, Any]) -> Lead:
        now, others = self.store.now(), dict(changes)
        status = others.pop("status", None)
        if "phone" in others:
            if before.open_entry:
                date = before.open_entry.date
                raise Conflict(f"phone: cannot change while a message is queued for {date}; take the lead first")
            others |= {"reach": Reach.UNKNOWN, "window_until": None, "wa_id": None}
        if status is None:
            return before.changed(now, **others)
        if status not in PERSONS_CAUSES:
            allowed = ", ".join(PERSONS_CAUSES)
            raise Invalid.field("status", f"must be one of {allowed}; others follow from messages and replies")
        return before.after(PERSONS_CAUSES[status], now, **others)

    def _change_phone(self, writer: Writer, before: Lead, after: Lead) -> Lead:
        settings = self.store.user(before.owner_id)
        holder = self.store.holders([after.phone]).get(after.phone, NO_HOLDER)
        if holder.opted_out:
            raise Conflict("phone: this person opted out")
        if holder.refuses(before.owner_id, exclusive=settings is None or settings.exclusive):
            raise Conflict("phone: another lead has it")
        for address in filter(None, (before.phone, before.wa_id)):
            writer.leave(before, address)
        self._join(writer, after, holder)
        return replace(after, shared=bool(holder.owners))

    def _sign(
        self,
        writer: Writer,
        actor: Actor,
        action: str,
        lead_id: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        entry = LedgerEntry(actor, action, f"lead:{lead_id}", dict(before or {}), dict(after or {}))
        self.ledger.sign(writer.transaction, entry)


_PERSONAL = frozenset({"name", "phone", "fields", "consent"})
"""What the ledger does not hold: it is never deleted from."""


def check_references(writer: Writer, lead: Lead) -> None:
    """Refuse the transaction unless what the lead refers to exists."""
    writer.reference(ReferenceKind.USER, lead.owner_id)
    writer.reference(ReferenceKind.CLIENT, lead.client_id)
    if lead.project_id:
        writer.reference(ReferenceKind.PROJECT, lead.project_id)


def raise_unknown_reference(refused: TransactionRejected) -> None:
    """Raise Invalid if a reference was refused; it names the field and the id."""
    for tag in refused.failed:
        kind, _, reference_id = tag.removeprefix("ref:").partition(":")
        if tag.startswith("ref:"):
            raise _unknown(ReferenceKind(kind), reference_id) from refused


def _unknown(kind: ReferenceKind, reference_id: str) -> Invalid:
    return Invalid.field(FIELD_OF[kind], f"{kind} {reference_id} does not exist")


def _references(lead: Lead) -> dict[str, Any]:
    found = {"client_id": lead.client_id, "project_id": lead.project_id}
    return {name: value for name, value in found.items() if value}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


@lru_cache(maxsize=1)
def from_env() -> LeadService:
    """The leads of this installation."""
    return LeadService(lead_store.from_env(), ledgers.from_env())
