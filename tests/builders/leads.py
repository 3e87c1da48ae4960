"""Leads for tests: a team with clients, and its API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from adbot_queue.core import aws
from adbot_queue.core.attribute_values import decode, encode
from adbot_queue.leads.items import CLIENTS, DAYS, ENTRIES, LEADS, PROJECTS, USERS
from adbot_queue.leads.model import OPEN, Consent, ConsentState, Day, Entry, EntryState, Lead
from adbot_queue.leads.prepare import Prepared, Preparer
from adbot_queue.leads.references import Client, Project
from adbot_queue.leads.service import NO_HOLDER, Act, LeadService, LeadSpec
from adbot_queue.leads.settings import LeadSettings, Step
from adbot_queue.leads.store import LeadStore
from adbot_queue.ledger import Actor, Ledger
from tests.builders.clocks import FakeClock
from tests.builders.world import Answer, AwsHarness

ADDRESS_KEY = b"an address key"
TEMPLATE = f"HX{1:032x}"
GRANTED = Consent(ConsentState.GRANTED, "form", "Yes, write to me", 1, "https://proof.example.com/1")
TOMORROW = "2025-11-23"
"""Of the clock that a team begins with."""
ALWAYS = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "00:00-24:00")


def phone(number: int) -> str:
    """Return a valid mobile number of Germany, another for each number."""
    return f"+4915112{number:06d}"


@dataclass
class Team:
    """Users with leads on an AWS in the process, by a clock of their own."""

    clock: FakeClock = field(default_factory=FakeClock)
    client: Any = field(default_factory=aws.dynamodb)
    table: str = "LeadsTable"
    ledger_table: str = "LedgerTable"

    def __post_init__(self) -> None:
        self.store = LeadStore(self.client, self.table, lambda: ADDRESS_KEY, self.clock)
        self.ledger = Ledger(self.client, self.ledger_table, self.clock)
        self.leads = LeadService(self.store, self.ledger)
        self.put(Client("acme", "Acme"), Project("roof", "Roofs", "acme"))

    def put(self, *references: Any) -> None:
        """Write references without a signature."""
        rows: dict[type, Any] = {Client: CLIENTS, Project: PROJECTS, LeadSettings: USERS}
        for one in references:
            self.client.put_item(TableName=self.table, Item=encode(rows[type(one)].item(one)))

    def user(self, user_id: str = "sam", **settings: Any) -> LeadSettings:
        """Make a user who may always send, with a template of one variable."""
        steps = {"first": Step(TEMPLATE, variables={"1": "name"})}
        found = LeadSettings(user_id, **({"week": ALWAYS, "steps": steps} | settings))
        self.put(found)
        return found

    def by(self, user_id: str = "sam", *, sees_all: bool = False, key: str | None = None) -> Act:
        """Return who acts."""
        role = "admin" if sees_all else "sales"
        return Act(Actor(user_id, role, "req-1"), None if sees_all else user_id, key, "fingerprint")

    def lead(self, number: int, owner_id: str = "sam", **spec: Any) -> Lead:
        """Add a lead with a granted consent, a millisecond after the one before."""
        self.clock.advance(1)
        known = {"client_id": "acme", "name": f"Lead {number}", "phone": phone(number), "consent": GRANTED} | spec
        return self.leads.add(owner_id, LeadSpec(**known), self.by(owner_id)).lead

    def fill(self, numbers: Iterable[int], owner_id: str = "sam", **spec: Any) -> list[Lead]:
        """Write leads as `lead` does, without its requests: a hundred times quicker."""
        made: list[Lead] = []
        rows: list[dict[str, Any]] = []
        for number in numbers:
            known = {"client_id": "acme", "name": f"Lead {number}", "phone": phone(number), "consent": GRANTED} | spec
            lead = LeadSpec(**known).lead(f"{number:026x}", owner_id, self.clock(), NO_HOLDER)
            holder = self.store.reach_key(lead.phone) | {"lead_ids": {lead.id}, "owners": {owner_id}}
            rows += [LEADS.item(lead), holder]
            made.append(lead)
        for start in range(0, len(rows), 25):
            puts: Any = [{"PutRequest": {"Item": encode(row)}} for row in rows[start : start + 25]]
            assert not self.client.batch_write_item(RequestItems={self.table: puts})["UnprocessedItems"]
        return made

    def prepare(self, owner_id: str = "sam", date: str | None = None) -> Prepared:
        """Prepare a user's next day."""
        return Preparer(self.leads).prepare(owner_id, date, self.by(owner_id), lambda: 60_000)

    def entries(self, owner_id: str = "sam", date: str = TOMORROW) -> list[Entry]:
        """Return the entries of a day, in the order of sending."""
        return self.store.entries_after(owner_id, date, 0, 3_000)

    def day(self, owner_id: str = "sam", date: str = TOMORROW) -> Day:
        """Return a day that was prepared."""
        found = self.store.day(owner_id, date)
        assert found
        return found

    def audit(self) -> None:
        """Check that days, entries and leads say the same."""
        days = {(day.owner_id, day.date): day for day in map(DAYS.read, self._of("DAY#", "HDR"))}
        entries = list(map(ENTRIES.read, self._of("DAY#", "E#")))
        leads = {lead.id: lead for lead in map(LEADS.read, self._of("LEAD#", "L"))}
        for key, day in days.items():
            mine = Counter(entry.state for entry in entries if entry.key[:2] == key)
            gauges = (*OPEN, EntryState.UNSURE, EntryState.FAILED, EntryState.CANCELLED, EntryState.CARRIED_OVER)
            assert {state: day.counts.get(state, 0) for state in gauges} == {state: mine[state] for state in gauges}
            assert day.counts["prepared"] == mine.total()
            given_back = mine[EntryState.CANCELLED] + mine[EntryState.CARRIED_OVER]
            assert day.load == mine.total() - given_back
        assert {entry.key for entry in entries if entry.state in OPEN} == {
            lead.open_entry for lead in leads.values() if lead.open_entry
        }
        twice = Counter((entry.key.date, entry.key.lead_id) for entry in entries)
        assert set(twice.values()) <= {1}
        people = Counter((entry.key.date, leads[entry.key.lead_id].phone) for entry in entries if entry.state in OPEN)
        assert set(people.values()) <= {1}

    def _of(self, prefix: str, sort: str) -> list[dict[str, Any]]:
        return [row for row in self.rows(prefix) if row["sk"].startswith(sort)]

    def rows(self, prefix: str) -> list[dict[str, Any]]:
        """Return all rows whose partition begins so."""
        pages = self.client.get_paginator("scan").paginate(TableName=self.table)
        found = [decode(item) for page in pages for item in page["Items"]]
        return [item for item in found if item["pk"].startswith(prefix)]


@dataclass
class LeadsApi:
    """The API of leads, as its callers see it."""

    world: AwsHarness

    def __call__(self, route: str, *, role: str = "sales", user: str = "sam", **options: Any) -> Answer:
        """Call a route; a path parameter is an option: `id="..."`."""
        path = route.split("/", 2)[-1].split("/", maxsplit=1)[0]
        function = "lead_queue" if path in {"queue", "figures", "settings", "clients", "projects"} else "leads"
        return self.world.http(function, route, role=role, user=user, **options)

    def client(self, client_id: str = "acme") -> Answer:
        """Put a client."""
        return self("PUT /leads/clients/{id}", role="admin", user="ada", body={"name": "Acme"}, id=client_id)

    def add(self, number: int = 1, **changes: Any) -> Answer:
        """Add a lead."""
        options = {name: changes.pop(name) for name in ("role", "user", "headers") if name in changes}
        consent = {"state": "granted", "source": "form", "proof": "https://proof.example.com/1"}
        body = {"client_id": "acme", "name": f"Lead {number}", "phone": phone(number), "consent": consent}
        return self("POST /leads", body=body | changes, **options)
