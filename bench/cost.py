"""What a million of each costs on AWS, and a month without customers, from counted calls. `make cost`.

How it is counted, and what is assumed: `bench.billing`. Lambda asks an idle queue `POLLS` times a month. What a
provider takes for a mail, a message or a payment is not in it.

Exit code 1 when a figure is above its limit.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "adbot-queue")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "AdBotQueue")

import pytest

from adbot_queue.jobs import job_queues
from adbot_queue.leads.settings import Step
from adbot_queue.testing import tables
from bench.billing import (
    BASE_MS,
    MEMORY_GB,
    MILLION,
    PRICES,
    PROVIDER_MS,
    QUEUES_OF,
    Account,
    Counting,
    Figures,
    each,
    expect,
)
from local import translate
from local.stand_ins import whatsapp
from tests.builders.outreach import DATE, outreach, outreach_platform
from tests.builders.payments import Event, Purchase, configure, deliver, open_shop
from tests.builders.providers import connect
from tests.builders.world import world
from tests.support import moto_speed

POLLS = 5 * 3 * 60 * 24 * 30
"""Requests of Lambda's pollers a month and queue: five long polls of 20 s at a time."""

MONTH_MINUTES = 30 * 24 * 60

# Limits of what 1,000,000 of each may cost in dollars: DynamoDB, and all.
LIMITS = {
    "orders, served at once": (22, 38),
    "mails, one by one, by a person": (14, 26),
    "mails, a hundred a request": (7, 10),
}
IDLE_LIMITS = (0.30, 12)

NUMBERS = count()
SUBSCRIBED: list[Purchase] = []


@contextmanager
def installation() -> Iterator[Account]:
    """A shop with a pool and plans, and providers that answer."""
    with world() as made, pytest.MonkeyPatch.context() as patched:
        configure()
        connect(patched)
        open_shop(made)
        counting = Counting()
        try:
            yield Account(made, counting)
        finally:
            counting.close()


def sell(account: Account, event: Event, *, batch: int = 1) -> None:
    """Deliver an event of Stripe, and do all that follows from it."""
    account.used["API requests"] += 1
    with account.invocation("webhook"):
        answer = deliver(account.world, event)
    expect(answer.status == 200, answer.text)
    account.work_off(batch=batch)


def orders(account: Account, number: int) -> None:
    """Sell bots while there is stock: webhook, settlement, allocation, events."""
    for _ in range(number):
        sell(account, Purchase(f"c{next(NUMBERS)}").checkout())


def subscriptions(account: Account, number: int) -> None:
    """Sell subscriptions: three events each."""
    for _ in range(number):
        bought = Purchase(f"r{next(NUMBERS)}", subscription=True)
        SUBSCRIBED.append(bought)
        for event in (bought.checkout(), bought.invoice(), bought.link()):
            sell(account, event)


def renewals(account: Account, number: int) -> None:
    """Take the next month of the newest subscriptions: two events each."""
    for bought in SUBSCRIBED[-number:]:
        for event in (bought.invoice(2), bought.link(2)):
            sell(account, event)


def _mail(number: int) -> dict[str, Any]:
    payload = {"to": f"cara{number}@example.com", "subject": "Your bot is ready", "text": "It runs."}
    return {"type": "send-email", "payload": payload}


def mails(account: Account, number: int) -> None:
    """Enqueue mails one by one, as an admin does."""
    for _ in range(number):
        account.api("jobs", "POST /jobs", role="admin", body=_mail(next(NUMBERS)))
        account.work_off(batch=1)
        account.used["Lambda GB-seconds"] += MEMORY_GB * PROVIDER_MS / 1000


def mails_in_hundreds(account: Account, number: int) -> None:
    """Enqueue mails, a hundred a request."""
    for _ in range(0, number, 100):
        jobs = [_mail(next(NUMBERS)) for _ in range(100)]
        account.api("jobs", "POST /jobs/batch", role="admin", body={"jobs": jobs})
        account.work_off()
        account.used["Lambda GB-seconds"] += MEMORY_GB * 100 * PROVIDER_MS / 10 / 1000  # ten at a time


PLAYED = {
    "orders, served at once": (orders, 10),
    "subscriptions, served at once": (subscriptions, 5),
    "renewals": (renewals, 5),
    "mails, one by one, by a person": (mails, 10),
    "mails, a hundred a request": (mails_in_hundreds, 200),
}


def leads() -> tuple[Figures, Figures]:
    """Prepare a queue of 100 leads, start it, send every message and take Twilio's reports, two each."""
    number = 100
    with outreach_platform() as jobs, outreach(jobs) as out:
        counting = Counting()
        account = Account(out.world, counting)
        out.user(steps={"first": Step(whatsapp.FIRST, variables={"1": "name", "2": "client"})})
        made = out.team.fill(range(number))
        try:
            date = {"date": DATE}
            account.api("lead_queue", "POST /leads/queue/prepare", role="sales", user="sam", body=date)
            account.api("outreach", "POST /leads/queue/start", role="sales", user="sam", body=date)
            ended = len(out.answers)
            with account.invocation("work", provider_calls=number):
                out.run(minutes=60)
            states = Counter(entry.state.value for entry in out.entries())
            expect(len(out.peers.texts) == len(made), states)
            reports = len(out.answers) - ended
            account.used["API requests"] += reports
            account.used["Lambda requests"] += reports + number  # each message comes alone: the pace spreads them
            account.used["Lambda GB-seconds"] += MEMORY_GB * BASE_MS / 1000 * (reports + number)
            account.used["SQS requests"] += 2 * number
            account.stream(40)
            return each(account.used, number), each(account.units, number)
        finally:
            counting.close()


TICKS = {"sweep_jobs": 1, "sweep": 5, "resolve": 5, "outreach": 60, "reconcile": 24 * 60}
"""Minutes between two runs of each function that EventBridge invokes (`infra/template.yaml`)."""


def idle() -> list[tuple[str, float]]:
    """Dollars of a month without customers, by what is billed."""
    month: Figures = defaultdict(float)
    with installation() as account:
        for function, minutes in TICKS.items():
            account.invoke(function, {})  # the first one makes what the others find
            account.used.clear()
            account.invoke(function, {})
            for name, value in account.used.items():
                month[name] += value * MONTH_MINUTES / minutes
    month["SQS requests"] += POLLS * (len(job_queues.QUEUES) + len(QUEUES_OF))
    kinds = Counter(
        one["Type"] for one in translate.unroll(translate.load(tables.TEMPLATE.read_text()))["Resources"].values()
    )
    month["secrets"], month["alarms"] = kinds["AWS::SecretsManager::Secret"], kinds["AWS::CloudWatch::Alarm"]
    return _priced(month)


def _priced(used: Figures, number: int = 1) -> list[tuple[str, float]]:
    return sorted(((name, value * number * PRICES[name]) for name, value in used.items()), key=lambda part: -part[1])


def main() -> int:
    """Print the bill; 1 if a limit is exceeded."""
    logging.disable(logging.CRITICAL)
    moto_speed.install()
    missed: list[str] = []
    with installation() as account:
        account.world.upload(*(f"s-{one}" for one in range(500)))
        figures = {}
        for title, (play, number) in PLAYED.items():
            if play is not renewals:
                play(account, 1)  # what a function reads once is read
            account.work_off()
            figures[title] = account.spent(lambda: play(account, number), number)  # noqa: B023  called at once
    figures["leads: prepared, sent, delivered"] = leads()
    for title, (used, units) in figures.items():
        by_function = ", ".join(f"{name} {value:.1f}" for name, value in units.items() if value)
        print(f"\n{title}: {used['DynamoDB write units']:.1f} write units ({by_function}), "
              f"{used['DynamoDB read units']:.1f} read units each")  # fmt: skip
        missed += _report(f"1,000,000 {title}", _priced(used, MILLION), LIMITS.get(title))
    print()
    missed += _report("a month without customers", idle(), IDLE_LIMITS)
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def _report(title: str, parts: list[tuple[str, float]], limits: tuple[float, float] | None) -> list[str]:
    dynamodb, total = sum(one for name, one in parts if name.startswith("DynamoDB")), sum(one for _, one in parts)
    print(f"{title}: ${total:.2f}, of it DynamoDB ${dynamodb:.2f}")
    print("  " + ", ".join(f"{name} ${dollars:.2f}" for name, dollars in parts if dollars >= 0.005))
    if limits is None:
        return []
    return [
        f"{title}: {what} ${value:.2f}, limit ${limit:.2f}"
        for what, value, limit in (("DynamoDB", dynamodb, limits[0]), ("all", total, limits[1]))
        if value > limit
    ]


if __name__ == "__main__":
    sys.exit(main())
