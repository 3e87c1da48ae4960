"""Eight people start, stop and take one day while it is sent and its persons write, on a real engine.

Every change of a lead is recorded with its version as it is committed, so that the order is the engine's own.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws
from adbot_queue.core import settings as core_settings
from adbot_queue.core.dynamodb import Transaction, TransactionConflict, TransactionRejected
from adbot_queue.core.errors import AppError
from adbot_queue.jobs import service as job_service
from adbot_queue.jobs.long_running import Progress
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.leads.automation import Automation
from adbot_queue.leads.handling import Handling
from adbot_queue.leads.inbound import InboundService
from adbot_queue.leads.inbound_messages import WHATSAPP, Inbound
from adbot_queue.leads.jobs.run_lead_queue import LeadRun, RunLeadQueue
from adbot_queue.leads.model import CANCELLABLE, DayState, EntryState, Lead, Status
from adbot_queue.leads.sending import NotSent, Report, Sending
from adbot_queue.leads.settings import Spread
from adbot_queue.leads.store import LeadStore
from adbot_queue.leads.templates import Templates
from adbot_queue.leads.writer import Writer
from adbot_queue.messaging import suppressions
from adbot_queue.messaging.opt_outs import Wish
from adbot_queue.platform import mode
from adbot_queue.providers.twilio_content import Template
from adbot_queue.testing.in_process_aws import BASE_ENV
from adbot_queue.testing.tables import create_tables
from tests.builders.leads import ADDRESS_KEY, TEMPLATE, Team, phone
from tests.support.engines import client

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.xdist_group("dynamodb-local"),
    pytest.mark.timeout(300),
]

PEOPLE, ACTS = 8, int(os.environ.get("LEAD_ACTS", "25"))
LEADS, SHARED = 30, 8
OWNERS = ("sam", "tom")
APPROVED = Template(TEMPLATE, "first", "en", "MARKETING", "approved", "", ("1",), "Hello {{1}}")


class History:
    """What was committed to each lead, by version."""

    def __init__(self) -> None:
        self.leads: dict[str, dict[int, Lead]] = defaultdict(dict)
        self.twice: list[tuple[str, int]] = []
        self._lock = threading.Lock()

    def add(self, leads: list[Lead]) -> None:
        with self._lock:
            for lead in leads:
                if lead.version in self.leads[lead.id]:
                    self.twice.append((lead.id, lead.version))
                self.leads[lead.id][lead.version] = lead


class RecordingWriter(Writer):
    """Records the leads of a transaction once it is committed."""

    history: History

    def lead(self, before: Lead, after: Lead) -> None:
        super().lead(before, after)
        self.changed = [*getattr(self, "changed", []), after]

    def commit(self) -> None:
        super().commit()
        self.history.add(getattr(self, "changed", []))


class RecordingStore(LeadStore):
    """A store whose writers record."""

    history: History

    def writer(self, transaction: Transaction | None = None) -> Writer:
        made = RecordingWriter(self, self.reach_key, transaction)
        made.history = self.history
        return made


@pytest.fixture
def team(engine: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    on = client(engine)
    names = ("LeadsTable", "LedgerTable", "JobsTable", "SystemTable")
    tables = create_tables(on, *names, prefix="outreach-")
    others = {f"{name}_TABLE": "none" for name in ("ADBOTS", "PAYMENTS")}
    ours = {f"{name.removesuffix('Table').upper()}_TABLE": table for name, table in tables.items()}
    for name, value in (BASE_ENV | others | ours | {"QUEUE_URL": "http://127.0.0.1:9/%s"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "dynamodb", lambda: on)
    monkeypatch.setattr(suppressions, "address_key", lambda: ADDRESS_KEY)
    monkeypatch.setattr(Dispatcher, "send", lambda _self, _jobs: [])  # jobs are run by the test
    cached = (core_settings.settings, job_service.from_env, suppressions.from_env, ledgers.from_env, mode.from_env)
    for one in cached:
        one.cache_clear()
    made = Team(client=on, table=tables["LeadsTable"], ledger_table=tables["LedgerTable"])
    for owner in OWNERS:
        made.user(owner, capacity=LEADS, exclusive=False, spread=Spread.BURST, batch=LEADS)
    for number in range(LEADS):
        made.lead(number)
        made.lead(number if number < SHARED else 100 + number, "tom")
    for owner in OWNERS:
        made.prepare(owner, DATE)
    yield made
    for table in tables.values():
        on.delete_table(TableName=table)
    for one in cached:
        one.cache_clear()


DATE = "2025-11-22"
"""The day of the team's clock."""


class Person:
    """Does one thing after the other, as chance has it: a colleague, a run, a worker, or a person who writes."""

    def __init__(self, team: Team, engine: str, seed: int, history: History, start: threading.Barrier) -> None:
        self.chance, self.barrier, self.history = random.Random(seed), start, history
        self.team = Team(team.clock, client(engine), team.table, team.ledger_table)
        self.store = RecordingStore(self.team.client, team.table, lambda: ADDRESS_KEY, team.clock)
        self.store.history = history
        self.team.store = self.team.leads.store = self.store
        jobs = job_service.from_env()
        known = Templates(self.team.client, team.table, team.clock, lambda: [APPROVED])
        self.automation = Automation(self.store, jobs, known, self.team.ledger)
        self.sending = Sending(self.store, known, team.clock)
        self.inbound = InboundService(self.store, jobs)
        self.known, self.jobs = known, jobs
        self.ids = sorted(row["pk"].removeprefix("LEAD#") for row in team.rows("LEAD#") if row["sk"] == "L")
        self.messages: list[Any] = []

    def work(self) -> None:
        self.barrier.wait()
        self.begin("sam")
        acts = [self.begin, self.stop, self.take, self.hear, self.hear, *[self.dispatch] * 3, *[self.send] * 6]
        for _ in range(ACTS):
            # The losers: what they read has changed, or the move is not allowed any more.
            with suppress(AppError, TransactionRejected, TransactionConflict, NotSent):
                self.chance.choice(acts)()

    def begin(self, owner: str | None = None) -> None:
        owner = owner or self.chance.choice(OWNERS)
        self.automation.start(owner, DATE, self.team.by(owner).actor)

    def stop(self) -> None:
        if self.chance.random() < 0.3:
            owner = self.chance.choice(OWNERS)
            self.automation.stop(owner, DATE, self.team.by(owner).actor)

    def take(self) -> None:
        Handling(self.team.leads).take(self.chance.choice(self.ids), self.team.by("ada", sees_all=True))

    def hear(self) -> None:
        """A person writes; Twilio may post it twice."""
        wish = self.chance.choice([Wish.STOP, None, None])
        sid = f"SM{self.chance.randrange(400):032x}"
        number = phone(self.chance.randrange(LEADS))
        for _ in range(self.chance.choice([1, 2])):
            self.inbound.receive(Inbound(sid, WHATSAPP, number, None, "text", wish, "", 0))

    def dispatch(self) -> None:
        """One slice of the run, as the platform would commit it; the lease that keeps it alone is left out."""
        owner = self.chance.choice(OWNERS)
        day = self.store.day(owner, DATE)
        if day is None or day.job_id is None:
            return
        context: Any = SimpleNamespace(job_id=day.job_id, now=self.team.clock)
        run = LeadRun(RunLeadQueue(owner_id=owner, date=DATE), context, self.sending, self.jobs, self.known)
        piece = run.next_slice(Progress())
        if piece.effects:
            transaction = Transaction(self.team.client)
            piece.effects(transaction)
            transaction.commit()

    def send(self) -> None:
        """A message as its job sends it, Twilio's answer and its reports included."""
        handed = [one for one in self.team.entries(self.chance.choice(OWNERS), DATE) if one.state is EntryState.HANDED]
        if not handed:
            return
        entry = self.chance.choice(handed)
        case = self.sending.look(entry.key, entry.job_id or "")
        claimed = self.sending.claim(case, entry.job_id or "")
        ends = self.chance.choice(["taken", "taken", "lost", "given back", "refused"])
        if ends == "given back":
            self.sending.give_back(claimed)
        elif ends == "lost":
            self.sending.lost(claimed)
        elif ends == "refused":
            self.sending.refused(claimed, 63024)
        else:
            sid = f"SM{self.chance.getrandbits(128):032x}"
            self.sending.taken(claimed, sid, "queued")
            for state in self.chance.sample(["sent", "delivered", "delivered", "read"], 3):
                self.sending.report(Report(claimed.message, entry.key, state, sid))


def test_eight_at_once_start_one_run_and_send_one_message_a_lead_and_none_after_a_take_a_reply_or_a_stop(
    team: Team, engine: str
) -> None:
    history = History()
    barrier = threading.Barrier(PEOPLE)
    people = [Person(team, engine, seed, history, barrier) for seed in range(PEOPLE)]
    history.add(list(team.store.leads(people[0].ids).values()))
    with ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(Person.work, people))

    team.audit()
    assert history.twice == []
    runs = [row for row in _jobs(team) if row["type"] == "run-lead-queue"]
    starts = [row for row in _ledger(team) if row["action"] == "lead-queue.start"]
    assert len(runs) == len(starts) >= 2  # one for each start that was answered, none for the others
    claims: Counter[str] = Counter()
    for lead_id, versions in history.leads.items():
        order = [versions[version] for version in sorted(versions)]
        assert [lead.version for lead in order] == list(range(order[0].version, order[-1].version + 1))
        for earlier, later in pairwise(order):
            if later.touches > earlier.touches:
                assert earlier.refusal() is None, (lead_id, earlier)
                claims[lead_id] += 1
            if earlier.status is Status.OPTED_OUT:
                assert later.status is Status.OPTED_OUT
        assert order[-1].touches <= 1
    assert sum(claims.values()) > LEADS / 2
    assert {lead.status for versions in history.leads.values() for lead in versions.values()} >= {
        *(Status.OPTED_OUT, Status.ENGAGED, Status.CONTACTED)
    }
    for lead in team.store.leads(people[0].ids).values():
        entry = team.store.entry(lead.open_entry) if lead.open_entry else None
        if lead.refusal() and entry:
            assert entry.state not in CANCELLABLE, lead
    for number in range(LEADS):
        _one_confirmation(team, phone(number))


def _one_confirmation(team: Team, number: str) -> None:
    """A person is opted out under the phone in leads and suppressions alike, and a STOP is confirmed once."""
    out = {lead.status is Status.OPTED_OUT for lead in team.store.find([number])}
    holder = team.store.holders([number])[number]
    assert len(out) == 1
    assert {holder.opted_out} == out == {suppressions.from_env().reason("phone", number) is not None}
    answers = [row for row in _jobs(team) if row["type"] == "answer-keyword" and number in json.dumps(row["payload"])]
    assert len(answers) == int(holder.opted_out)


def _rows(team: Team, table: str) -> list[dict[str, Any]]:
    other = Team(team.clock, team.client, table, team.ledger_table)
    return list(other.rows(""))


def _jobs(team: Team) -> list[dict[str, Any]]:
    return [row for row in _rows(team, os.environ["JOBS_TABLE"]) if "type" in row]


def _ledger(team: Team) -> list[dict[str, Any]]:
    return [row for row in _rows(team, team.ledger_table) if "action" in row]


def test_eight_starts_at_once_are_one_run_and_seven_repetitions(team: Team, engine: str) -> None:
    barrier = threading.Barrier(PEOPLE)
    people = [Person(team, engine, seed, History(), barrier) for seed in range(PEOPLE)]

    def start(person: Person) -> tuple[bool, str | None]:
        barrier.wait()
        run = person.automation.start("sam", DATE, person.team.by("sam").actor)
        return run.repeated, run.day.job_id

    with ThreadPoolExecutor(PEOPLE) as pool:
        answers = Counter(pool.map(start, people))
    (job_id,) = {job_id for _, job_id in answers}
    assert answers == {(False, job_id): 1, (True, job_id): PEOPLE - 1}
    assert team.day("sam", DATE).state is DayState.RUNNING
