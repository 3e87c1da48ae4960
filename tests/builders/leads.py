"""Leads for tests: a team with clients, and its API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from adbot_queue.core import aws
from adbot_queue.core.attribute_values import decode, encode
from adbot_queue.leads.items import CLIENTS, PROJECTS, USERS
from adbot_queue.leads.model import Consent, ConsentState, Lead
from adbot_queue.leads.references import Client, Project
from adbot_queue.leads.service import Act, LeadService, LeadSpec
from adbot_queue.leads.settings import LeadSettings, Step
from adbot_queue.leads.store import LeadStore
from adbot_queue.ledger import Actor, Ledger
from tests.builders.clocks import FakeClock
from tests.builders.world import Answer, World

ADDRESS_KEY = b"an address key"
TEMPLATE = f"HX{1:032x}"
GRANTED = Consent(ConsentState.GRANTED, "form", "Yes, write to me", 1, "https://proof.example.com/1")
ALWAYS = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "00:00-24:00")


def phone(number: int) -> str:
    """Return a valid mobile number of Germany, another for each number."""
    return f"+4915112{number:06d}"


@dataclass
class Team:
    """Users with leads on an AWS in the process, by a clock of their own."""

    clock: FakeClock = field(default_factory=FakeClock)
    table: str = "LeadsTable"
    ledger_table: str = "LedgerTable"

    def __post_init__(self) -> None:
        self.store = LeadStore(aws.dynamodb(), self.table, lambda: ADDRESS_KEY, self.clock)
        self.ledger = Ledger(aws.dynamodb(), self.ledger_table, self.clock)
        self.leads = LeadService(self.store, self.ledger)
        self.put(Client("acme", "Acme"), Project("roof", "Roofs", "acme"))

    def put(self, *references: Any) -> None:
        """Write references without a signature."""
        rows: dict[type, Any] = {Client: CLIENTS, Project: PROJECTS, LeadSettings: USERS}
        for one in references:
            aws.dynamodb().put_item(TableName=self.table, Item=encode(rows[type(one)].item(one)))

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
        """Add a lead with a granted consent."""
        known = {"client_id": "acme", "name": f"Lead {number}", "phone": phone(number), "consent": GRANTED} | spec
        return self.leads.add(owner_id, LeadSpec(**known), self.by(owner_id)).lead

    def rows(self, prefix: str) -> list[dict[str, Any]]:
        """Return all rows whose partition begins so."""
        pages = aws.dynamodb().get_paginator("scan").paginate(TableName=self.table)
        found = [decode(item) for page in pages for item in page["Items"]]
        return [item for item in found if item["pk"].startswith(prefix)]


@dataclass
class LeadsApi:
    """The API of leads, as its callers see it."""

    world: World

    def __call__(self, route: str, *, role: str = "sales", user: str = "sam", **options: Any) -> Answer:
        """Call a route; a path parameter is an option: `id="..."`."""
        return self.world.http("leads", route, role=role, user=user, **options)

    def client(self, client_id: str = "acme") -> Answer:
        """Put a client."""
        return self("PUT /leads/clients/{id}", role="admin", user="ada", body={"name": "Acme"}, id=client_id)

    def add(self, number: int = 1, **changes: Any) -> Answer:
        """Add a lead."""
        options = {name: changes.pop(name) for name in ("role", "user", "headers") if name in changes}
        consent = {"state": "granted", "source": "form", "proof": "https://proof.example.com/1"}
        body = {"client_id": "acme", "name": f"Lead {number}", "phone": phone(number), "consent": consent}
        return self("POST /leads", body=body | changes, **options)
