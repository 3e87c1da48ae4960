"""Automation over WhatsApp for tests: leads with a queue, jobs by a clock, and Twilio's stand-in that answers."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from adbot_queue import ledger as ledgers
from adbot_queue.core import settings
from adbot_queue.jobs import job_queues
from adbot_queue.leads import automation, conversation, inbound, messages, sending, templates
from adbot_queue.leads import service as lead_service
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.handling import Handled, Handling
from adbot_queue.leads.messages import LeadMessage
from adbot_queue.leads.model import Cause, Day, DayState, Entry, EntryKey, EntryState, Lead
from adbot_queue.leads.service import LeadService
from adbot_queue.leads.settings import Spread
from adbot_queue.ledger import Actor
from adbot_queue.providers import registry
from adbot_queue.testing.harness import START_MS, Jobs
from adbot_queue.testing.in_process_aws import BASE_ENV
from adbot_queue.testing.job_platform import job_platform
from local.stand_ins import whatsapp
from tests.builders.leads import Team
from tests.builders.payments import configure, empty
from tests.builders.providers import Peers, connect
from tests.builders.world import Answer, AwsHarness

DATE = "2026-09-21"
"""The date of the harness's clock, in UTC."""
SAM = Actor("sam", "sales", "req-1")
HOUR_MS = 3_600_000
KEYWORD_ANSWERS = {BASE_ENV["OPT_OUT_REPLY"], BASE_ENV["HELP_REPLY"]}
FUNCTIONS = {
    "/webhooks/twilio/inbound": "inbound",
    "/webhooks/twilio/leads": "inbound",
    "/webhooks/twilio": "delivery",
}


@dataclass
class Outreach:
    """A user with leads, whose messages go to Twilio's stand-in."""

    jobs: Jobs
    world: AwsHarness
    peers: Peers
    team: Team = field(init=False)

    def __post_init__(self) -> None:
        self.store = lead_store.from_env()
        self.team = Team(self.jobs.clock)  # type: ignore[arg-type]
        self.team.store = self.store
        self.team.ledger = ledgers.from_env()
        self.team.leads = LeadService(self.store, self.team.ledger)
        self.user()
        self.twilio = self.peers.stand_ins.twilio
        self.twilio._now = lambda: self.jobs.clock() / 1000
        self.twilio.call = self._posted
        self.twilio.inbound_url = lambda: "https://api.example.com/webhooks/twilio/inbound"
        self.twilio._account = (f"AC{'0' * 32}", "1" * 32)
        self.answers: list[Answer] = []
        templates.from_env().refresh()
        self.peers.requests.clear()

    def user(self, user_id: str = "sam", **changes: Any) -> None:
        """Make a user who sends in bursts at any hour."""
        self.team.user(user_id, **({"spread": Spread.BURST, "zone": "UTC", "exclusive": False} | changes))

    def _posted(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        address = urlsplit(url)
        answer = self.world.http(
            FUNCTIONS[address.path],
            f"POST {address.path}",
            body=base64.b64encode(body).decode(),
            base64=True,
            headers={"x-twilio-signature": headers["x-twilio-signature"]},
            query=[(pair.partition("=")[0], pair.partition("=")[2]) for pair in address.query.split("&") if pair],
        )
        self.answers.append(answer)
        return answer.status

    def api(self, route: str, *, role: str = "sales", user: str = "sam", **options: Any) -> Answer:
        """Call a route of the function `outreach`."""
        return self.world.http("outreach", route, role=role, user=user, **options)

    # A day

    def leads(self, numbers: Sequence[int], owner_id: str = "sam", **spec: Any) -> list[Lead]:
        """Add leads; `phone` in `spec` goes to the first."""
        return [self.team.lead(number, owner_id, **spec) for number in numbers]

    def queue(self, leads: Sequence[Lead], owner_id: str = "sam", **changes: Any) -> Day:
        """Prepare the queue of today."""
        now = self.jobs.clock()
        known = {"capacity": 2000, "window_from": now - HOUR_MS, "window_to": now + 8 * HOUR_MS, "zone": "UTC"}
        day = Day(owner_id, DATE, DayState.PREPARED, **(known | changes))
        for start in range(0, len(leads), 20):
            writer = self.store.writer()
            if not start:
                writer.day(None, day)
            for place, lead in enumerate(leads[start : start + 20], start):
                key = EntryKey(owner_id, DATE, place, lead.id)
                variables = {"1": lead.name, "2": "bots"}
                writer.entry(None, Entry(key, EntryState.QUEUED, whatsapp.FIRST, variables, now))
                writer.lead(lead, lead.changed(now, open_entry=key, last_entry=key))
            writer.commit()
        return day

    def start(self, owner_id: str = "sam") -> automation.Run:
        return automation.from_env().start(owner_id, DATE, Actor(owner_id, "sales", "req-1"))

    def stop(self, owner_id: str = "sam") -> automation.Run:
        return automation.from_env().stop(owner_id, DATE, Actor(owner_id, "sales", "req-1"))

    def run(self, minutes: float = 5, step_s: float = 20) -> None:
        """Let time pass: jobs run, Twilio reports."""
        end = self.jobs.clock() + round(minutes * 60_000)
        while self.jobs.clock() < end:
            self.jobs.drain()
            self.peers.report()
            self.jobs.advance(step_s)
        self.jobs.drain()

    def only(self, which: str | None) -> None:
        """Run one attempt of a job, by its id or its type."""
        self.jobs._attempt([job for job in self.jobs.all() if which in {job.id, job.type}])

    def take(self, lead: Lead, by: str = "sam") -> Handled:
        return Handling(self.team.leads).take(lead.id, self.team.by(by, sees_all=by != lead.owner_id))

    def set_status(self, lead: Lead, status: str) -> None:
        now = self.lead(lead)
        writer = self.store.writer()
        writer.lead(now, now.after(Cause(status), self.jobs.clock()))
        writer.commit()

    def lose_answer(self) -> None:
        """The next request is carried out, and its answer lost."""
        answer = self.peers.answer

        def lost(method: str, url: str, headers: dict[str, str], body: str, timeout: float) -> Any:
            self.peers.answer = answer  # type: ignore[method-assign]
            answer(method, url, headers, body, timeout)
            raise TimeoutError("timed out")

        self.peers.answer = lost  # type: ignore[method-assign]

    def report_at_once(self) -> None:
        """Have reports arrive before the answer to their request."""
        self.twilio.later = lambda report: report()

    # What is then

    def day(self, owner_id: str = "sam") -> Day:
        found = self.store.day(owner_id, DATE)
        assert found
        return found

    def entries(self, owner_id: str = "sam") -> list[Entry]:
        return self.store.entries_after(owner_id, DATE, 0, 3000)

    def states(self, owner_id: str = "sam") -> dict[str, int]:
        """How many entries are in each state; the day's figures must agree."""
        found: dict[str, int] = {}
        for entry in self.entries(owner_id):
            found[entry.state.value] = found.get(entry.state.value, 0) + 1
        counts = self.day(owner_id).counts
        for state in ("queued", "handed", "sending", "unsure", "failed", "cancelled", "carried_over"):
            assert counts.get(state, 0) == found.get(state, 0), (state, counts, found)
        return found

    def lead(self, lead: Lead) -> Lead:
        found = self.store.lead(lead.id)
        assert found
        return found

    def sent_to(self, lead: Lead) -> int:
        """How many messages Twilio took for a lead, the answers to a STOP or a HELP aside."""
        texts = [message for message in self.peers.texts if message["body"] not in KEYWORD_ANSWERS]
        return sum(message["to"] == f"whatsapp:{lead.phone}" for message in texts)

    def messages(self, lead: Lead) -> list[LeadMessage]:
        """The conversation with a lead, newest first."""
        return messages.page(self.store, lead.id, 100, None)[0]

    def trail(self, lead: Lead) -> list[str]:
        """What happened to a lead, oldest first, without that another owner has the person too."""
        whats = [entry["what"] for entry in reversed(self.store.trail(lead.id, 100, None)[0])]
        return [what for what in whats if what != "shared"]

    def write(self, phone: str, text: str = "", **said: Any) -> Answer:
        """Have a person write to us; the answer of our webhook."""
        self.twilio._hear(phone, {"text": text, **said})
        return self.answers[-1]


@contextmanager
def outreach_platform() -> Iterator[Jobs]:
    """The platform, once for the tests of a module."""
    few = {name: job_queues.QUEUES[name] for name in ("messages", "email")}
    with job_platform() as jobs, patch.dict(job_queues.QUEUES, few, clear=True):  # a sweep looks at every queue
        configure()
        yield jobs


@contextmanager
def outreach(jobs: Jobs) -> Iterator[Outreach]:
    """Outreach with empty tables, at the harness's time."""
    empty()
    jobs.clock.now = START_MS
    for cached in (lead_store, lead_service, sending, templates, automation, conversation, inbound):
        cached.from_env.cache_clear()
    with pytest.MonkeyPatch.context() as patched:
        peers = connect(patched)
        settings.settings.cache_clear()
        yield Outreach(jobs, AwsHarness(dict(os.environ), {}, None), peers)  # type: ignore[arg-type]
    settings.settings.cache_clear()
    registry._places.cache_clear()
