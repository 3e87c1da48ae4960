"""Imports: lines of a file become leads, with a verdict for each.

Lines are written in transactions, each lead with its phone, its trail and checks of what it refers to. What is known to
be refused is read first, 96 lines a call; a line that a transaction refuses all the same is left out and the
others are written again. Under an Idempotency-Key a lead's id follows from the key and the line, so that a repetition
answers the same and an import that ran out of time goes on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from adbot_queue.core import dynamodb
from adbot_queue.core.conflicts import MAX_CONFLICT_RETRIES, retry_on_conflict
from adbot_queue.core.dynamodb import TRANSACTION_LIMIT, ConditionFailed, TransactionRejected
from adbot_queue.core.errors import IdempotencyMismatch, Invalid, Unavailable
from adbot_queue.core.ids import derived_id, derived_time_ordered_id
from adbot_queue.leads import items
from adbot_queue.leads import service as lead_service
from adbot_queue.leads.import_file import Defaults, ImportLine
from adbot_queue.leads.model import ConsentState, Lead
from adbot_queue.leads.references import ReferenceKind
from adbot_queue.leads.service import FIELD_OF, NO_HOLDER, Act, LeadService, LeadSpec
from adbot_queue.leads.settings import LeadSettings
from adbot_queue.leads.store import Holder, LeadStore
from adbot_queue.ledger import LedgerEntry

READ_TOGETHER = 96
"""Lines of one BatchGet: what three transactions take of one client."""

RESERVE_MS = 4_000
"""Time left of a request at which no further transaction begins."""

KEY_TTL_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Imported:
    """An import: its lines with their verdicts. If time ran out, the last lines have none."""

    import_id: str
    lines: Sequence[ImportLine]

    @property
    def is_complete(self) -> bool:
        """Whether every line has a verdict."""
        return all(line.lead_id or line.problem for line in self.lines)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What holds for all lines of an import."""

    import_id: str
    started_at: int
    owner: LeadSettings
    by: Act
    declared: bool

    def lead(self, number: int, spec: LeadSpec, holder: Holder) -> Lead:
        """Return the lead of a line."""
        lead_id = derived_time_ordered_id(self.started_at, self.import_id, str(number))
        return spec.lead(lead_id, self.owner.user_id, self.started_at, holder)


class _New(NamedTuple):
    """A lead to be written, those who have its phone, and its line."""

    lead: Lead
    holder: Holder
    line: ImportLine


class Importer:
    """Imports leads."""

    def __init__(self, leads: LeadService) -> None:
        self._leads = leads
        self._store: LeadStore = leads.store

    def run(
        self, owner_id: str, lines: list[ImportLine], defaults: Defaults, by: Act, time_left: Callable[[], int]
    ) -> Imported:
        """Add the leads of an import to a user's.

        Args:
            owner_id: whose they become.
            lines: as read; their verdicts are completed here.
            defaults: what the caller declared.
            by: who imports, under which key.
            time_left: milliseconds of the request.

        Raises:
            Invalid: the owner does not exist. IdempotencyMismatch: the key was used for another import.
        """
        owner = self._store.ensure_user(owner_id) if owner_id == by.actor.id else self._store.user(owner_id)
        if owner is None:
            raise Invalid.field("owner_id", f"user {owner_id} does not exist")
        declared = defaults.consent.state is ConsentState.GRANTED
        batch = _Batch(*self._begin(by), owner, by, declared)
        known: dict[tuple[ReferenceKind, str], bool] = {(ReferenceKind.USER, owner_id): True}
        pending = (line for line in lines if line.spec)
        while together := list(islice(pending, READ_TOGETHER)):
            if time_left() < RESERVE_MS:
                break
            self._check_references(together, known)
            holders = self._store.holders(line.spec.phone for line in together if line.spec)
            leads = [new for line in together if (new := self._lead(batch, line, holders))]
            for chunk in _chunks(leads):
                if time_left() < RESERVE_MS:
                    for new in chunk:
                        new.line.lead_id = None
                else:
                    self._write(batch, chunk)
        return Imported(batch.import_id, lines)

    def _begin(self, by: Act) -> tuple[str, int]:
        """Return the id of the import and when it began (ms), as an earlier request under its key left them."""
        now = self._store.now()
        if by.key is None:
            return f"imp_{secrets.token_hex(13)}", now
        import_id = derived_id("imp_", by.actor.id, by.key)
        row = {**items.import_key(import_id), "started_at": now, "fingerprint": by.fingerprint}
        row["expires_at"] = now // 1000 + KEY_TTL_S
        try:
            dynamodb.put_if(self._store.client, self._store.table, row, condition="attribute_not_exists(pk)")
        except ConditionFailed as failed:
            known = failed.item or {}
            if known.get("fingerprint") != by.fingerprint:
                raise IdempotencyMismatch("this Idempotency-Key was used with another import") from failed
            return import_id, known["started_at"]
        return import_id, now

    def _check_references(self, lines: Sequence[ImportLine], known: dict[tuple[ReferenceKind, str], bool]) -> None:
        """Refuse lines that refer to what does not exist; each reference is read once an import."""
        for kind in (ReferenceKind.CLIENT, ReferenceKind.PROJECT):
            named = {one for line in lines for other, one in _references(line) if other is kind}
            new = {one for one in named if (kind, one) not in known}
            found = self._store.names(kind, new) if new else {}
            known |= {(kind, one): one in found for one in new}
        for line in lines:
            missing = next((one for one in _references(line) if not known[one]), None)
            if missing:
                line.refuse(_does_not_exist(*missing))

    def _lead(self, batch: _Batch, line: ImportLine, holders: dict[str, Holder]) -> _New | None:
        """Return the lead that a line becomes; None if it is refused, or was added by an earlier request."""
        if line.spec is None:
            return None
        holder = holders.get(line.spec.phone, NO_HOLDER)
        lead = batch.lead(line.number, line.spec, holder)
        if lead.id in holder.lead_ids:
            line.lead_id = lead.id
            return None
        if holder.refuses(batch.owner.user_id, exclusive=batch.owner.exclusive):
            whose = "this" if batch.owner.user_id in holder.owners else "another"
            line.refuse(f"phone: a lead of {whose} owner has it")
            return None
        line.lead_id = lead.id
        return _New(lead, holder, line)

    def _write(self, batch: _Batch, chunk: list[_New]) -> None:
        """Write leads in one transaction, without those that it refuses."""
        for _ in range(MAX_CONFLICT_RETRIES):
            if not chunk:
                return
            writer, actor = self._store.writer(), batch.by.actor
            for new in chunk:
                self._leads.put(writer, new.lead, new.holder, actor, "imported", import_id=batch.import_id)
            after = {"created": len(chunk), "owner_id": batch.owner.user_id, "consent_declared": batch.declared}
            entry = LedgerEntry(actor, "lead.import", f"lead-import:{batch.import_id}", after=after)
            self._leads.ledger.sign(writer.transaction, entry)
            try:
                retry_on_conflict(writer.fill().commit)
            except TransactionRejected as refused:
                chunk = self._after(batch, chunk, refused)
                continue
            return
        raise Unavailable("too many changes at once; send the import again")

    def _after(self, batch: _Batch, chunk: list[_New], refused: TransactionRejected) -> list[_New]:
        """Return what is to be written again after a transaction was refused; the other lines have their verdicts."""
        lines = [new.line for new in chunk]
        for line in lines:
            missing = next((one for one in _references(line) if "ref:{}:{}".format(*one) in refused.failed), None)
            if missing:
                line.refuse(_does_not_exist(*missing))
        holders = self._store.holders(line.spec.phone for line in lines if line.spec)
        return [new for line in lines if (new := self._lead(batch, line, holders))]


def _references(line: ImportLine) -> Iterator[tuple[ReferenceKind, str]]:
    if line.spec:
        yield ReferenceKind.CLIENT, line.spec.client_id
        if line.spec.project_id:
            yield ReferenceKind.PROJECT, line.spec.project_id


def _does_not_exist(kind: ReferenceKind, reference_id: str) -> str:
    return f"{FIELD_OF[kind]}: {kind} {reference_id} does not exist"


def _chunks(new: Sequence[_New]) -> Iterator[list[_New]]:
    """Yield leads as many as fit into a transaction.

    Three items each, one for each thing that they refer to, two for each lead of another owner with the phone.
    """
    chunk: list[_New] = []
    size, referred = 0, set[tuple[ReferenceKind, str]]()
    for one in new:
        needs, refers = 3 + 2 * len(one.holder.lead_ids), set(_references(one.line))
        if chunk and size + needs + len(referred | refers) + 2 > TRANSACTION_LIMIT:
            yield chunk
            chunk, size, referred = [], 0, set()
        chunk.append(one)
        size, referred = size + needs, referred | refers
    if chunk:
        yield chunk


@lru_cache(maxsize=1)
def from_env() -> Importer:
    """The importer of this installation."""
    return Importer(lead_service.from_env())
