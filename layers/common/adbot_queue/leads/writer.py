"""One transaction on leads: what moves is named, the rows are made here.

Each method adds a part and its condition; `fill` puts them into the transaction, each row once however many parts
concern it. Tags of refused parts, as in `TransactionRejected.failed`:

    lead:<id>             it changed since it was read, or (new) it exists
    entry:<lead>          its state is another one, or (new) it exists
    day:<owner>#<date>    it changed since it was read, is in another state, or has no room
    reach:<lead>          the owners of the phone changed since they were read, or another owner's queue has it
    ref:<kind>:<id>       what the lead refers to does not exist
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adbot_queue.core.clock import iso
from adbot_queue.core.dynamodb import Item, Table, Transaction
from adbot_queue.leads import items
from adbot_queue.leads.items import DAYS, ENTRIES, LEADS
from adbot_queue.leads.model import COUNTS, Day, DayState, Entry, Lead, counted

if TYPE_CHECKING:
    from adbot_queue.leads.references import ReferenceKind
    from adbot_queue.ledger import Actor

_NUMBERS = {name: f"n_{name}" for name in COUNTS} | {"load": "load", "first_reply_ms": "first_reply_ms"}
"""Attribute of each figure of a day."""


@dataclass
class _DayPart:
    """What a transaction does to a day."""

    numbers: Counter[str] = field(default_factory=Counter)
    before: Day | None = None
    after: Day | None = None
    states: tuple[DayState, ...] = ()
    capacity: int | None = None


def _sets(lead: Lead) -> dict[str, Any]:
    return {"ids": {lead.id}, "set": {lead.owner_id}}


class Writer:
    """Collects the parts of one transaction.

    Args:
        table: of leads.
        reach_key: key of what is known of a phone or a WhatsApp id.
        transaction: to fill; a new one if None.
    """

    def __init__(self, table: Table, reach_key: Callable[[str], Item], transaction: Transaction | None = None) -> None:
        self._table = table.table
        self._now = table.now
        self._reach_key = reach_key
        self.transaction = Transaction(table.client) if transaction is None else transaction
        self._days: dict[tuple[str, str], _DayPart] = {}
        self._checked: set[tuple[ReferenceKind, str]] = set()

    # Leads

    def create(self, lead: Lead) -> None:
        """Add a new lead."""
        self.transaction.create(f"lead:{lead.id}", self._table, LEADS.item(lead))

    def lead(self, before: Lead, after: Lead) -> None:
        """Change a lead; refused if it is not as it was read."""
        expression, values = LEADS.difference(before, after)
        values["version"] = before.version
        self.transaction.update(
            f"lead:{before.id}",
            self._table,
            items.lead_key(before.id),
            expression,
            condition="#version = :version",
            **values,
        )

    def trail(self, lead_id: str, what: str, actor: Actor, **detail: Any) -> None:
        """Add what happened to a lead: a word, who did it, and details by name; None is left out."""
        now = self._now()
        item: Item = {
            **items.trail_key(lead_id, now, len(self.transaction)),
            "at": iso(now),
            "what": what,
            "actor": actor.id,
            "role": actor.role,
            "detail": {name: value for name, value in detail.items() if value is not None} or None,
        }
        self.transaction.create(f"trail:{lead_id}", self._table, item)

    def reference(self, kind: ReferenceKind, reference_id: str) -> None:
        """Refuse unless the user, client or project exists."""
        if (kind, reference_id) in self._checked:
            return
        self._checked.add((kind, reference_id))
        self.transaction.check(
            f"ref:{kind}:{reference_id}",
            self._table,
            items.reference_key(kind, reference_id),
            condition="attribute_exists(pk)",
        )

    # Who has a phone

    def join(self, lead: Lead, address: str, *, owners: frozenset[str], opted_out: bool) -> None:
        """Name the lead under an address, a phone or a WhatsApp id.

        Refused if its owners are not these any more, and if it opted out, or in, since it was read.
        """
        condition = "owners = :were" if owners else "attribute_not_exists(owners)"
        condition += f" AND attribute_{'exists' if opted_out else 'not_exists'}(opted_out_at)"
        were = {"were": owners} if owners else {}
        self._reach(address, "ADD lead_ids :ids, owners :set", condition, lead=lead, **_sets(lead), **were)

    def leave(self, lead: Lead, address: str) -> None:
        """Take the lead's name from an address."""
        condition = "contains(lead_ids, :id)"
        self._reach(address, "DELETE lead_ids :ids, owners :set", condition, **_sets(lead), id=lead.id)

    def pass_on(self, lead: Lead, address: str, owners: frozenset[str], owner_id: str) -> None:
        """Have an address name another owner for the lead; refused if its owners are not these any more."""
        after = owners - {lead.owner_id} | {owner_id}
        self._reach(address, "SET owners = :owners", "owners = :were", owners=after, were=owners)

    def hold(self, lead: Lead, date: str) -> None:
        """Keep a person for the owner's queue of a date; refused if another owner's queue has the person then."""
        condition = "attribute_not_exists(held_on) OR held_on < :date OR held_by = :owner"
        expression = "SET held_on = :date, held_by = :owner"
        self._reach(lead.phone, expression, condition, lead=lead, date=date, owner=lead.owner_id)

    def learn(self, lead: Lead, wa_id: str) -> None:
        """Name the lead under a WhatsApp id that a report revealed, whatever other leads it names."""
        self._reach(wa_id, "ADD lead_ids :ids, owners :set", None, **_sets(lead))

    def opt_out(self, address: str, at: int) -> None:
        """Mark a person as opted out since then (ms), known or not: a lead that is added later begins so.

        Refused if the person is marked already, or has opted in since.
        """
        condition = "attribute_not_exists(opted_out_at) AND (attribute_not_exists(opted_in_at) OR opted_in_at < :at)"
        self._reach(address, "SET opted_out_at = :at", condition, at=at)

    def _reach(
        self, address: str, expression: str, condition: str | None, lead: Lead | None = None, **values: Any
    ) -> None:
        key = self._reach_key(address)
        tag = f"reach:{lead.id if lead else key['pk']}"
        self.transaction.update(tag, self._table, key, expression, condition=condition, **values)

    # Days

    def entry(self, before: Entry | None, after: Entry) -> None:
        """Add an entry (`before` is None) or move it, and count that in its day; refused in another state."""
        tag = f"entry:{after.key.lead_id}"
        if before is None:
            self.transaction.create(tag, self._table, ENTRIES.item(after))
        else:
            expression, values = ENTRIES.difference(before, after)
            values["was"] = before.state.value
            self.transaction.update(
                tag, self._table, items.entry_key(before.key), expression, condition="#state = :was", **values
            )
        if before is None or before.state is not after.state:
            self.count(after.key.owner_id, after.key.date, counted(before.state if before else None, after.state))

    def count(self, owner_id: str, date: str, numbers: dict[str, int]) -> None:
        """Add to the figures of a day."""
        self._day(owner_id, date).numbers.update(numbers)

    def day(self, before: Day | None, after: Day) -> None:
        """Add a day (`before` is None) or change it; refused if it is not as it was read."""
        part = self._day(after.owner_id, after.date)
        part.before, part.after = before, after

    def day_in(self, owner_id: str, date: str, *states: DayState) -> None:
        """Refuse unless the day is in one of these states."""
        self._day(owner_id, date).states = states

    def room(self, owner_id: str, date: str, capacity: int) -> None:
        """Refuse if the day would have more entries than this."""
        self._day(owner_id, date).capacity = capacity

    def _day(self, owner_id: str, date: str) -> _DayPart:
        return self._days.setdefault((owner_id, date), _DayPart())

    # Together

    def fill(self) -> Transaction:
        """Put the days into the transaction and return it. To be called once."""
        for (owner_id, date), part in self._days.items():
            self._fill_day(owner_id, date, part)
        return self.transaction

    def commit(self) -> None:
        """Write all of it or none.

        Raises:
            TransactionRejected, TransactionConflict: as `Transaction.commit`.
        """
        self.fill().commit()

    def _fill_day(self, owner_id: str, date: str, part: _DayPart) -> None:
        tag, key = f"day:{owner_id}#{date}", items.day_key(owner_id, date)
        numbers = {_NUMBERS[name]: number for name, number in part.numbers.items() if number}
        if part.after and part.before is None:
            self.transaction.create(tag, self._table, DAYS.item(part.after) | numbers)
            return
        expression, values = DAYS.difference(part.before, part.after) if part.before and part.after else ("", {})
        conditions = ["attribute_exists(pk)"]
        if part.before:
            conditions.append("#version = :version")
            values["version"] = part.before.version
        if part.states:
            conditions.append(f"#state IN ({', '.join(f':state{place}' for place in range(len(part.states)))})")
            values |= {f"state{place}": state.value for place, state in enumerate(part.states)}
        if part.capacity is not None:
            conditions.append("#load <= :room")
            values["room"] = part.capacity - part.numbers["load"]
        if numbers:
            expression += f" ADD {', '.join(f'#{name} :add_{name}' for name in numbers)}"
            values |= {f"add_{name}": number for name, number in numbers.items()}
        condition = " AND ".join(conditions)
        if expression:
            self.transaction.update(tag, self._table, key, expression.strip(), condition=condition, **values)
        else:
            self.transaction.check(tag, self._table, key, condition=condition, **values)
