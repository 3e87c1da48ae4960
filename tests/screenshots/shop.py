"""A shop that fills every page: the same in each run, made through the services with a frozen clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError

from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Adbot, AdbotStatus
from adbot_queue.core import clock, ids
from adbot_queue.core.errors import NotFound
from adbot_queue.jobs.failure import Failure
from adbot_queue.ledger import Actor
from adbot_queue.payments import plans
from adbot_queue.platform import circuit_breaker
from adbot_queue.queues import pause
from tests.builders.clocks import FakeClock
from tests.builders.console_jobs import MINUTE, ConsoleJobs
from tests.builders.console_world import ConsoleWorld, console_world
from tests.builders.leads import Team

SEED = 7
NOW = 1_795_786_980_000
"""2026-11-27T13:43:00Z, in milliseconds: what clocks show on the pictures."""

HOUR = 3_600_000
OWNER, ADMIN = Actor("sub-owner", "owner", "req-7f3a"), Actor("sub-admin", "admin", "req-91cc")
CUSTOMER = "sub-customer"
TYPES = {"email": "send-email", "messages": "send-sms", "money": "payment-process", "analytics": "analytics-track"}
WENT_WRONG = (
    ("email", "send-email", Failure("permanent", "Refused", "sendgrid: the address does not exist")),
    ("messages", "send-sms", Failure("transient", "ServerError", "twilio answered 503")),
    ("money", "payment-process", Failure("permanent", "CardDeclined", "the card was declined")),
)
PLANS = {
    "starter": ("Starter 5", "standard", 5, 4_900),
    "team": ("Team 20", "team", 20, 17_900),
    "trial": ("Trial 1", "trial", 1, 900),
}
PEOPLE = (
    "Ana Ruiz",
    "Bo Lindqvist",
    "Chiara Conti",
    "Dara Osei",
    "Emre Kaya",
    "Farah Haddad",
    "Greta Vogel",
    "Hugo Petit",
)
SCHEDULES: tuple[dict[str, Any], ...] = (
    {
        "name": "daily-digest",
        "expression": "cron(30 8 * * ? *)",
        "timezone": "Europe/Berlin",
        "type": "process-snapshot",
    },
    {"name": "figures", "expression": "rate(5 minutes)", "type": "process-snapshot"},
    {"name": "month-end", "expression": "cron(0 6 1 * ? *)", "type": "process-snapshot", "enabled": False},
)


class Shop:
    """The data; `at` moves its clock."""

    def __init__(self, console: ConsoleWorld) -> None:
        self.console, self.world = console, console.world
        self.chance = random.Random(SEED)
        self.ms = NOW

    def clock(self) -> Any:
        """Stand in for the module `time` of `core.clock`."""
        return SimpleNamespace(time_ns=lambda: self.ms * 1_000_000)

    def secrets(self) -> Any:
        """Stand in for the module `secrets` of `core.ids`."""
        return SimpleNamespace(token_hex=lambda size: self.chance.randbytes(size).hex())

    def open(self) -> None:
        """Fill it, and set the clock to `NOW`."""
        for role in ("owner", "admin", "viewer", "customer"):
            self.console.person(role)
        self._stock()
        self._bots()
        self._schedules()
        self._leads()
        self._jobs()
        self._trouble()
        self.ms = NOW

    def _stock(self) -> None:
        self.ms = NOW - 50 * HOUR
        for pool, sessions in (("standard", 240), ("team", 31), ("trial", 0)):
            self.world.adbots.pools.create(pool, Command(ADMIN))
            if sessions:
                self.world.upload(*(f"{pool}-{number:04d}" for number in range(sessions)), pool=pool)
        for plan, (name, pool, required, amount) in PLANS.items():
            fields = {"name": name, "pool": pool, "required_sessions": required, "amount": amount, "currency": "eur"}
            plans.from_env().put(plan, {**fields, "mode": "payment", "interval": None, "active": True}, ADMIN)

    def _bots(self) -> None:
        service = self.world.adbots
        for number in range(24):
            self.ms = NOW - (40 - number) * HOUR
            user = CUSTOMER if number % 6 == 0 else f"sub-{self.chance.randrange(10**9):09d}"
            pool = ("standard", "standard", "team", "trial")[number % 4]
            made = self._create(user, pool, self.chance.randrange(3, 14) if pool != "trial" else 1)
            if made.status != AdbotStatus.READY:
                continue
            self.ms = NOW - (24 - number) * 20 * MINUTE
            if number % 3 != 2:
                service.start(made.id, Command(ADMIN), None)
            if number % 9 == 1:
                service.stop(made.id, Command(Actor(made.user_id, "customer", "req-55aa")), None)
            if number % 8 == 5:
                service.cancel(made.id, Command(ADMIN, reason="the customer asked for it"))

    def _create(self, user: str, pool: str, required: int) -> Adbot:
        return self.world.create(required, user=user, pool=pool)

    def _schedules(self) -> None:
        self.ms = NOW - 30 * HOUR
        for schedule in SCHEDULES:
            answer = self.world.http("schedules", "POST /schedules", role="admin", user="sub-admin", body=schedule)
            assert answer.status == 201, answer.text

    def _leads(self) -> None:
        team = Team(FakeClock(NOW - 20 * HOUR))
        team.user(OWNER.id)
        for number, name in enumerate(PEOPLE):
            team.lead(number, OWNER.id, name=name, project_id="roof" if number % 2 else None)
        team.prepare(OWNER.id)

    def _jobs(self) -> None:
        """An hour of jobs; for twelve minutes of it some fail."""
        jobs = ConsoleJobs()
        for minute in range(59, -1, -1):
            jobs.now = self.ms = NOW - minute * MINUTE
            queue = self.chance.choice(list(TYPES))
            for _ in range(self.chance.randrange(2, 5)):
                jobs.completed(queue=queue, job_type=TYPES[queue], ago=20_000)
            if 8 <= minute <= 20 and minute % 2:
                queue, job_type, failure = WENT_WRONG[minute % len(WENT_WRONG)]
                jobs.failed(failure, queue=queue, job_type=job_type, ago=9_000)
        jobs.now = self.ms = NOW
        for number in range(9):
            jobs.waiting(ago=number * 4_000)
            jobs.scheduled(queue="messages", job_type="send-sms", ago=number * MINUTE)
        jobs.active()
        jobs.retrying(ago=MINUTE)
        jobs.dead(ago=3 * MINUTE)
        jobs.cancelled(ago=10 * MINUTE)

    def _trouble(self) -> None:
        self.ms = NOW - 50_000
        for _ in range(5):
            self.ms += 8_000
            circuit_breaker.from_env().failed("sendgrid", probe=False)
        self.ms = NOW - 40 * MINUTE
        # Here is no event source mapping to switch off: the wish is written first, and stays.
        with suppress(KeyError, NotFound, ClientError):
            pause.from_env().pause("plugin", "import runs until 16:00", OWNER)


@contextmanager
def shop() -> Iterator[ConsoleWorld]:
    """The console of a shop with a frozen clock."""
    with ExitStack() as stack:
        console = stack.enter_context(console_world())
        made = Shop(console)
        stack.enter_context(patch.object(clock, "time", made.clock()))
        stack.enter_context(patch.object(ids, "secrets", made.secrets()))
        made.open()
        yield console
