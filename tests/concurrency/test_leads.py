"""Eight people and the automation at the same leads on a real engine: no lead twice, none lost, none after a STOP."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from adbot_queue.core.dynamodb import TransactionConflict, TransactionRejected
from adbot_queue.core.errors import AppError
from adbot_queue.leads.handling import Handling
from adbot_queue.leads.items import LEADS
from adbot_queue.leads.model import CANCELLABLE, Cause, DayState, EntryState, Lead, Status
from adbot_queue.testing.tables import create_tables
from tests.builders.leads import TOMORROW, Team, phone
from tests.support.engines import client

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.xdist_group("dynamodb-local"),
    pytest.mark.timeout(300),
]

PEOPLE, ACTS = 8, int(os.environ.get("LEAD_ACTS", "30"))
OWNERS = ("sam", "tom")
LEADS_EACH, SHARED, CAPACITY = 25, 8, 20


@dataclass
class Seen:
    """What happened, as those who did it noted it: (lead, its version then)."""

    sent: list[tuple[str, int]] = field(default_factory=list)
    stopped: list[tuple[str, int]] = field(default_factory=list)
    taken: list[tuple[str, int]] = field(default_factory=list)


@pytest.fixture
def team(engine: str) -> Iterator[Team]:
    on = client(engine)
    tables = create_tables(on, "LeadsTable", "LedgerTable", prefix="leads-")
    made = Team(client=on, table=tables["LeadsTable"], ledger_table=tables["LedgerTable"])
    for owner in OWNERS:
        made.user(owner, capacity=CAPACITY, exclusive=False)
    for number in range(LEADS_EACH):
        made.lead(number)
        made.lead(number if number < SHARED else 100 + number, "tom")
    for owner in OWNERS:
        made.user(owner, capacity=CAPACITY)
    yield made
    for table in tables.values():
        on.delete_table(TableName=table)


class Person:
    """Does one thing after the other, as chance has it."""

    def __init__(self, team: Team, engine: str, seed: int, seen: Seen) -> None:
        self.team = Team(team.clock, client(engine), team.table, team.ledger_table)
        self.chance = random.Random(seed)
        self.seen = seen
        self.ids = [row["pk"].removeprefix("LEAD#") for row in team.rows("LEAD#") if row["sk"] == "L"]

    def work(self) -> None:
        acts = [self.prepare, self.take, self.assign, self.stop, self.dispatch, self.dispatch, self.send, self.send]
        for _ in range(ACTS):
            # The losers: what they read has changed, or the move is not allowed any more.
            with suppress(AppError, TransactionRejected, TransactionConflict):
                self.chance.choice(acts)()

    def lead(self) -> Lead:
        found = self.team.store.lead(self.chance.choice(self.ids))
        assert found
        return found

    def prepare(self) -> None:
        self.team.prepare(self.chance.choice(OWNERS), TOMORROW)

    def take(self) -> None:
        handled = Handling(self.team.leads).take(self.lead().id, self.team.by(self.chance.choice(OWNERS)))
        self.seen.taken.append((handled.lead.id, handled.lead.version))

    def assign(self) -> None:
        Handling(self.team.leads).assign(self.lead().id, self.chance.choice(OWNERS), self.team.by(sees_all=True))

    def stop(self) -> None:
        """Opt the person of a lead out, in every owner's queue."""
        for lead in self.team.store.find([self.lead().phone]):
            after = lead.after(Cause.OPTED_OUT, self.team.clock(), open_entry=None)
            writer = self.team.store.writer()
            entry = self.team.store.entry(lead.open_entry) if lead.open_entry else None
            if entry and entry.state in CANCELLABLE:
                writer.entry(entry, entry.moved(EntryState.CANCELLED, self.team.clock(), reason="opted_out"))
            elif entry:
                after = lead.after(Cause.OPTED_OUT, self.team.clock())
            writer.lead(lead, after)
            writer.commit()
            self.seen.stopped.append((lead.id, after.version))

    def entry(self, state: EntryState) -> Any:
        entries = [one for one in self.team.entries(self.chance.choice(OWNERS)) if one.state is state]
        return self.chance.choice(entries) if entries else None

    def dispatch(self) -> None:
        if entry := self.entry(EntryState.QUEUED):
            writer = self.team.store.writer()
            writer.entry(entry, entry.moved(EntryState.HANDED, self.team.clock()))
            writer.commit()

    def send(self) -> None:
        """Claim a message as its job does right before it asks Twilio."""
        if (entry := self.entry(EntryState.HANDED)) is None:
            return
        lead = self.team.store.lead(entry.key.lead_id)
        assert lead
        if lead.refusal():
            return
        after = lead.changed(self.team.clock(), touches=lead.touches + 1)
        writer = self.team.store.writer()
        writer.entry(entry, entry.moved(EntryState.SENDING, self.team.clock()))
        writer.lead(lead, after)
        writer.day_in(entry.key.owner_id, entry.key.date, DayState.PREPARED, DayState.RUNNING)
        writer.commit()
        self.seen.sent.append((lead.id, after.version))


def test_eight_people_at_once_leave_no_lead_twice_in_a_day_none_lost_and_none_written_to_after_a_stop(
    team: Team, engine: str
) -> None:
    seen = Seen()
    people = [Person(team, engine, seed, seen) for seed in range(PEOPLE)]
    with ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(Person.work, people))
    team.audit()
    assert seen.sent
    assert seen.stopped
    assert seen.taken
    rows = [row for row in team.rows("LEAD#") if row["sk"] == "L"]
    assert len(rows) == 2 * LEADS_EACH
    assert all(row.get("eligible_place") == LEADS.read(row).eligible_place for row in rows)
    assert set(Counter(lead_id for lead_id, _ in seen.sent).values()) <= {1}
    for lead_id, version in seen.sent:
        assert all(version < later for other, later in seen.stopped + seen.taken if other == lead_id)
    for owner in OWNERS:
        assert team.day(owner).load <= CAPACITY
    for number in range(SHARED):
        sent = [
            lead_id for lead_id, _ in seen.sent if lead_id in {lead.id for lead in team.store.find([phone(number)])}
        ]
        assert len(sent) <= 1


def test_eight_people_who_take_one_lead_at_once_are_one_winner_and_seven_who_hear_of_it(
    team: Team, engine: str
) -> None:
    lead = team.store.find([phone(SHARED)])[0]
    for number in range(PEOPLE):
        team.user(f"u{number}", name=f"User {number}")
    teams = [Team(team.clock, client(engine), team.table, team.ledger_table) for _ in range(PEOPLE)]

    def take(number: int) -> str:
        try:
            by = teams[number].by(f"u{number}", sees_all=True)
            return f"won by {Handling(teams[number].leads).take(lead.id, by).lead.taken_by}"
        except AppError as error:
            return str(error.extra["taken_by"])

    with ThreadPoolExecutor(PEOPLE) as pool:
        answers = Counter(pool.map(take, range(PEOPLE)))
    winner = team.store.lead(lead.id)
    assert winner
    assert winner.status is Status.ENGAGED
    assert answers == {f"won by {winner.taken_by}": 1, winner.taken_by: PEOPLE - 1}
