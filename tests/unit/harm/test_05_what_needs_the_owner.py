"""Acts of the owner alone, at every door: the kill switch, clean, and money above the limit."""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.core.attribute_values import decode, encode
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs import service
from adbot_queue.jobs.enqueue.owner_check import needs_owner
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.store.items import item_of
from adbot_queue.ledger import Actor
from adbot_queue.platform.owner_limit import OwnerLimit
from adbot_queue.testing.tables import template
from local.openapi import all_routes
from tests.builders.dead_letters import DeadLetterHarness
from tests.builders.job_stream import claimed, died
from tests.builders.jobs import Jobs
from tests.builders.payments import configure, empty
from tests.builders.world import Answer, AwsHarness, world

LIMIT = OwnerLimit(100_000, "eur")
numbers = itertools.count(1)


def refund(**payload: Any) -> dict[str, Any]:
    return {"type": "refund-process", "payload": {"transaction_id": f"pi_{next(numbers)}", **payload}}


def payout(**payload: Any) -> dict[str, Any]:
    asked = {"kind": "payout", "amount": 100, "currency": "eur", "metadata": {"n": str(next(numbers))}}
    return {"type": "payout-process", "payload": {**asked, **payload}}


def flow(step: dict[str, Any], **given: Any) -> dict[str, Any]:
    """A workflow: another step, whose result may be referred to, and the one in question."""
    ask = {"id": "ask", "type": "analytics-track", "payload": {"event": "e", "user_id": "u"}}
    payload = {"name": f"n{next(numbers)}", "input": given, "steps": [ask, {"id": "pay", **step}]}
    return {"type": "run-workflow", "payload": payload}


WITHIN: dict[str, dict[str, Any]] = {
    "a refund of the limit": refund(amount=100_000, currency="eur"),
    "a refund of a cent": refund(amount=1, currency="eur"),
    "a payout of the limit": payout(amount=100_000),
    "a payment": {
        "type": "payment-process",
        "payload": {"amount": 999_999, "currency": "usd", "payment_method": "pm_card_visa"},
    },
    "a workflow that refunds the limit": flow(refund(amount=100_000, currency="eur")),
    "a workflow whose input is the limit": flow(
        refund(amount="${input.amount}", currency="${input.money}"), amount=100_000, money="eur"
    ),
}
ABOVE: dict[str, dict[str, Any]] = {
    "a refund of more": refund(amount=100_001, currency="eur"),
    "a refund of everything": refund(),
    "a refund of everything in the currency": refund(currency="eur"),
    "a refund of an amount that is null": refund(amount=None, currency="eur"),
    "a refund in dollars": refund(amount=1, currency="usd"),
    "a refund in yen": refund(amount=1, currency="jpy"),
    "a payout of more": payout(amount=100_001),
    "a payout in dollars": payout(currency="usd"),
    "a transfer of more": payout(kind="transfer", account="acct_1x", amount=1_000_000),
    "a workflow that refunds more": flow(refund(amount=100_001, currency="eur")),
    "a workflow that refunds everything": flow(refund()),
    "a workflow that pays out in dollars": flow(payout(currency="usd")),
    "a workflow whose input is more": flow(refund(amount="${input.a}", currency="eur"), a=100_001),
    "a workflow whose input is another currency": flow(refund(amount=1, currency="${input.c}"), c="usd"),
    "a workflow whose amount is deep in its input": flow(
        refund(amount="${input.a.b.0}", currency="eur"), a={"b": [100_001]}
    ),
    "a workflow whose amount is an answer": flow(refund(amount="${steps.ask.result.amount}", currency="eur")),
    "a workflow whose currency is an answer": flow(refund(amount=1, currency="${steps.ask.result.currency}")),
    "a workflow whose refund fails softly": flow({**refund(amount=100_001, currency="eur"), "on_failure": "continue"}),
    "a workflow whose refund has a condition": flow(
        {**payout(amount=100_001), "when": {"left": "${input.go}", "is": "equals", "right": True}}, go=False
    ),
}
OPEN: dict[str, dict[str, Any]] = {
    "an amount of text": refund(amount="5", currency="eur"),
    "an amount with a fraction": refund(amount=5.0, currency="eur"),
    "an amount that is true": refund(amount=True, currency="eur"),
    "a list": refund(amount=[1], currency="eur"),
    "a currency in capitals": refund(amount=1, currency="EUR"),
    "a currency with a space": refund(amount=1, currency="eur "),
    "no currency": refund(amount=1),
    "a currency that is null": payout(currency=None),
    "a reference to nothing": flow(refund(amount="${input.nothing}", currency="eur")),
    "no reference": flow(refund(amount="${nonsense}", currency="eur")),
    "a text around a reference": flow(refund(amount="1${input.a}", currency="eur"), a="00001"),
    "an escaped reference": flow(refund(amount="$${input.a}", currency="eur"), a=1),
    "an input that refers on": flow(refund(amount="${input.a}", currency="eur"), a="${input.b}", b=1),
}


@pytest.mark.parametrize("job", WITHIN.values(), ids=WITHIN.keys())
def test_a_job_within_the_limit_needs_no_owner(job: dict[str, Any]) -> None:
    assert needs_owner(job["type"], job["payload"], LIMIT) is None


@pytest.mark.parametrize("job", [*ABOVE.values(), *OPEN.values()], ids=[*ABOVE, *OPEN])
def test_a_job_above_the_limit_or_of_an_unknown_amount_needs_the_owner_and_says_why(job: dict[str, Any]) -> None:
    reason = needs_owner(job["type"], job["payload"], LIMIT)
    assert reason
    assert reason.startswith(("a refund ", "a payout "))
    assert reason.endswith("needs the role owner; without it the limit is 1000.00 EUR (parameter OwnerAmount)")


@pytest.mark.parametrize("payload", [{}, {"steps": None}, {"steps": 7}, {"steps": [None, 7, {"type": None}]}])
def test_a_workflow_that_is_none_is_left_to_its_own_check(payload: dict[str, Any]) -> None:
    assert needs_owner("run-workflow", payload, LIMIT) is None


def test_the_limit_is_the_installations() -> None:
    yen = OwnerLimit(0, "jpy")
    assert needs_owner("payout-process", {"amount": 1, "currency": "jpy"}, OwnerLimit(1, "jpy")) is None
    reason = needs_owner("payout-process", {"amount": 1, "currency": "jpy"}, yen)
    assert reason
    assert reason.startswith("a payout of 1 JPY needs the role owner; without it the limit is 0 JPY")
    assert needs_owner("payout-process", {"amount": 1, "currency": "eur"}, yen)


# At the doors


@pytest.fixture(scope="module")
def on() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def jobs(on: AwsHarness) -> Jobs:
    return Jobs(on)


def dead(on: AwsHarness, job: dict[str, Any]) -> str:
    """The job of an owner, dead."""
    made = Job(time_ordered_id(1_763_769_600_000 + next(numbers)), job["type"], "money", job["payload"], 1)
    last = died(claimed(made.waiting(1), 1).changed(attempt=10), 1)
    aws.dynamodb().put_item(TableName=on.env["JOBS_TABLE"], Item=encode(item_of(last)))
    return made.id


def replace_payload(job: dict[str, Any]) -> dict[str, Any]:
    small = payout() if job["type"] != "run-workflow" else flow(payout())
    return (
        {**small, "type": job["type"], "payload": small["payload"]}
        if job["type"] != "refund-process"
        else refund(amount=1, currency="eur")
    )


def enqueue(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    return on.http("jobs", "POST /jobs", role=role, body=job)


def batch(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    return on.http("jobs", "POST /jobs/batch", role=role, body={"jobs": [payout(), job]})


def callback(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    return on.http("jobs", "POST /jobs/batch", role=role, body={"jobs": [payout()], "callback": job})


def schedule(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    body = {"name": f"s{next(numbers)}", "expression": "rate(1 day)", **job}
    return on.http("schedules", "POST /schedules", role=role, body=body)


def reschedule(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    name = schedule(on, "owner", replace_payload(job)).json["name"]
    body = {"expression": "rate(2 days)", **job}
    return on.http("schedules", "PUT /schedules/{name}", role=role, body=body, name=name)


def run_schedule(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    name = schedule(on, "owner", job).json["name"]
    return on.http("schedules", "POST /schedules/{name}/run", role=role, name=name)


def retry(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    return on.http("jobs", "POST /jobs/{id}/retry", role=role, body={}, id=dead(on, job))


def retry_edited(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    job_id = dead(on, replace_payload(job))
    return on.http("jobs", "POST /jobs/{id}/retry", role=role, body={"payload": job["payload"]}, id=job_id)


def replay(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    return on.http("dead_letters", "POST /dead-letters/{id}/replay", role=role, body={}, id=dead(on, job))


def replay_edited(on: AwsHarness, role: str, job: dict[str, Any]) -> Answer:
    job_id = dead(on, replace_payload(job))
    body = {"payload": job["payload"]}
    return on.http("dead_letters", "POST /dead-letters/{id}/replay", role=role, body=body, id=job_id)


DOORS = [
    enqueue,
    batch,
    callback,
    schedule,
    reschedule,
    run_schedule,
    retry,
    retry_edited,
    replay,
    replay_edited,
]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("name", ABOVE)
def test_an_admin_is_refused_at_every_door_and_the_owner_is_not(on: AwsHarness, door: Any, name: str) -> None:
    job = ABOVE[name]
    refused = door(on, "admin", copy.deepcopy(job))
    assert (refused.status, refused.problem) == (403, "forbidden"), refused.text
    assert "needs the role owner; without it the limit is 1000.00 EUR" in refused.json["detail"]
    assert door(on, "owner", copy.deepcopy(job)).status in {200, 201, 202}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_an_admin_may_do_what_is_within_the_limit_at_every_door(on: AwsHarness, door: Any) -> None:
    for job in (payout(amount=100_000), refund(amount=100_000, currency="eur")):
        assert door(on, "admin", job).status in {200, 201, 202}


def test_nothing_of_a_refused_batch_is_enqueued(on: AwsHarness) -> None:
    before = len(aws.dynamodb().scan(TableName=on.env["JOBS_TABLE"])["Items"])
    for door in (batch, callback):
        assert door(on, "admin", refund()).status == 403
    assert len(aws.dynamodb().scan(TableName=on.env["JOBS_TABLE"])["Items"]) == before


def test_an_invalid_payload_is_refused_as_such(on: AwsHarness) -> None:
    for job in (refund(amount="5", currency="eur"), refund(amount=5.0, currency="eur"), payout(currency=None)):
        answer = enqueue(on, "admin", job)
        assert (answer.status, answer.problem) == (422, "validation")


def test_a_part_that_an_admin_refunds_without_a_currency_is_one_of_the_installations(on: AwsHarness) -> None:
    job = refund(amount=100_000)
    taken = enqueue(on, "admin", job)
    assert (taken.status, taken.json["payload"]["currency"]) == (202, "eur")
    assert enqueue(on, "admin", refund(amount=100_001)).status == 403
    assert "currency" not in enqueue(on, "owner", job).json["payload"]


def test_an_admins_replay_of_many_leaves_to_the_owner_what_is_the_owners(
    on: AwsHarness, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty()
    office = DeadLetterHarness(jobs)
    monkeypatch.setattr(service, "from_env", lambda: jobs.service)
    small, large = dead(on, payout(amount=100_000)), dead(on, payout(amount=100_001))
    moved: dict[str, list[JobState]] = {}
    for role in ("admin", "owner"):
        replayed = office.start(actor=Actor("ada", role), type="payout-process")
        office.finish(replayed)
        moved[role] = [jobs.get(one).state for one in (small, large)]
    assert moved == {"admin": [JobState.WAITING, JobState.DEAD], "owner": [JobState.WAITING, JobState.WAITING]}


def test_a_replay_that_the_owner_began_is_resumed_by_the_owner_alone(
    on: AwsHarness, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty()
    office = DeadLetterHarness(jobs)
    monkeypatch.setattr(service, "from_env", lambda: jobs.service)
    for role in ("owner", "admin"):
        begun = office.start(actor=Actor("ada", role), type="payout-process")
        office.replays.cancel(begun.id, Actor("ada", role), "later")

        refused = on.http("jobs", "POST /jobs/{id}/retry", role="admin", body={}, id=begun.id)
        assert refused.status == (403 if role == "owner" else 202), refused.text
    payload = {**begun.payload, "started_by": {"id": "eve", "role": "owner"}}
    jobs.lifecycle.cancel(begun.id, Actor("ada", "admin"))
    forged = on.http("jobs", "POST /jobs/{id}/retry", role="owner", body={"payload": payload}, id=begun.id)
    assert (forged.status, forged.json["errors"][0]["field"]) == (422, "payload")


def bot_that_cost(on: AwsHarness, amount: int, currency: str, refunded: int = 0) -> str:
    bot = on.create(1)
    table = on.env["ADBOTS_TABLE"]
    rows = map(decode, aws.dynamodb().scan(TableName=table)["Items"])
    (order,) = [row for row in rows if row["pk"] == f"ORDER#{bot.order_id}"]
    changed = {**order, "amount": amount, "currency": currency, "amount_refunded": refunded}
    aws.dynamodb().put_item(TableName=table, Item=encode(changed))
    return bot.id


def cancel(on: AwsHarness, role: str, bot: str) -> Answer:
    return on.http("adbots", "POST /admin/adbots/{id}/cancel", role=role, body={"reason": "asked to"}, id=bot)


@pytest.mark.parametrize(
    ("order", "free"),
    [
        ((0, ""), True),
        ((100_000, "eur"), True),
        ((100_001, "eur"), False),
        ((150_000, "eur", 50_000), True),
        ((150_000, "eur", 49_999), False),
        ((1, "usd"), False),
        ((1, "usd", 1), True),
        ((1, ""), False),
    ],
)
def test_the_end_of_an_order_above_the_limit_asks_for_the_owner(on: AwsHarness, order: Any, free: bool) -> None:
    on.pool()
    bot = bot_that_cost(on, *order)
    answer = cancel(on, "admin", bot)
    if free:
        assert (answer.status, answer.json["status"]) == (200, "CANCELLED")
    else:
        assert (answer.status, answer.problem) == (403, "forbidden")
        assert answer.json["detail"].startswith("the end of an order ")
        assert on.bot(bot).status != "CANCELLED"
    assert cancel(on, "owner", bot).json["status"] == "CANCELLED"


def discard(on: AwsHarness, role: str, user: str) -> int:
    letter = dead(on, payout())
    query = {"reason": "looked at"}
    return on.http("dead_letters", "DELETE /dead-letters/{id}", role=role, user=user, query=query, id=letter).status


def test_more_than_a_hundred_discards_ask_for_the_owner(on: AwsHarness) -> None:
    assert [discard(on, "admin", "eve") for _ in range(100)] == [200] * 100
    assert [discard(on, "admin", "eve") for _ in range(3)] == [403] * 3
    assert discard(on, "admin", "ada") == 200
    assert discard(on, "owner", "eve") == 200


OWNERS_ROUTES = {"POST /admin/system/mode", "DELETE /queues/{name}/clean"}


def test_the_kill_switch_and_clean_are_the_owners_alone(on: AwsHarness) -> None:
    routes = all_routes()
    assert {key for key, (_, route) in routes.items() if route.roles == {"owner"}} == OWNERS_ROUTES
    for role in ("admin", "viewer", "customer", "owners", "Owner"):
        assert on.http("operations", "POST /admin/system/mode", role=role, body={"mode": "sync_direct"}).status == 403
        query = {"older_than_seconds": "86400"}
        assert on.http("queues", "DELETE /queues/{name}/clean", role=role, query=query, name="money").status == 403


READERS = {
    "ConsoleFunction",
    "AdBotsFunction",
    "JobsFunction",
    "SchedulesFunction",
    "SweepJobsFunction",
    "DeadLettersFunction",
    "Fn::ForEach::Workers",
}


def test_every_function_with_such_a_door_knows_the_limit_and_no_other_does() -> None:
    resources, parameters = template()["Resources"], template()["Parameters"]
    knowing = {name for name, one in resources.items() if '"OWNER_LIMIT": ' in json.dumps(one)}
    assert knowing == READERS
    assert json.dumps(resources).count("${OwnerAmount} ${Currency}") == len(READERS)
    assert (parameters["OwnerAmount"]["Default"], parameters["Currency"]["Default"]) == (100_000, "eur")
    assert "OWNER_LIMIT" not in os.environ, "these tests are about the default"
