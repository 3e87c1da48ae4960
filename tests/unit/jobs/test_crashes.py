"""The process dies after each of its AWS calls in turn. Nothing is lost, nothing happens twice, it ends the same.

Jobs of a batch run side by side, so that calls come in no fixed order: whichever it is, dying after it does no harm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError
from pydantic import BaseModel

from adbot_queue.core.errors import Conflict
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.service import JobRequest
from adbot_queue.platform.mode import ProcessingMode
from tests.builders.crash import Killed, before_transactions, busy_parents, crash_after, every_call
from tests.builders.effects import Provider, charging, new_provider
from tests.builders.jobs import Jobs, known_types
from tests.builders.payments import rows
from tests.builders.world import ADMIN, AwsHarness, empty

pytestmark = pytest.mark.long

Step = Callable[[Jobs], None]


@dataclass(frozen=True)
class CrashScenario:
    """What was before, and what the process does that dies."""

    act: Step
    before: Step = lambda _: None
    again: bool = False
    """The caller repeats its request; otherwise only workers and the sweeper go on."""


def enqueue(job_type: str = "charge", **options: Any) -> Step:
    def step(jobs: Jobs) -> None:
        name = options.get("key", "a")
        goes = options.get("goes", [])
        wanted = {one: value for one, value in options.items() if one != "goes"}
        jobs.enqueue(job_type, {"name": name, "goes": goes}, ADMIN, **wanted)

    return step


def steps(*several: Step) -> Step:
    def step(jobs: Jobs) -> None:
        for one in several:
            one(jobs)

    return step


def wait(seconds: float) -> Step:
    return lambda jobs: jobs.advance(seconds)


def drain(jobs: Jobs) -> None:
    jobs.drain()


def sweep(jobs: Jobs) -> None:
    jobs.sweep()


def lose_messages(jobs: Jobs) -> None:
    for name in jobs.urls:
        jobs.receive(name)
        jobs.delete(name)


def job_named(jobs: Jobs, name: str) -> str:
    return next(job.id for job in jobs.all() if job.payload.get("name") == name)


def unreported(jobs: Jobs) -> None:
    """The parent has ended, and the worker died before it notified the child."""
    with patch.object(jobs.dependents, "notify", lambda _: None):
        jobs.drain("money")


def child_of_a(**options: Any) -> Step:
    return lambda jobs: enqueue(**({"key": "b"} | options), depends_on=(job_named(jobs, "a"),))(jobs)


def batch_with_callback(jobs: Jobs) -> None:
    """As `POST /jobs/batch` does, with an idempotency key."""
    members = [JobRequest("charge", {"name": f"m{n}"}, key=f"k#{n}", batch="bat") for n in range(2)]
    made = jobs.service.enqueue_many(members, ADMIN, lambda: 60_000)
    ids = tuple(entry.job.id for entry in made if not isinstance(entry, Exception))
    jobs.service.enqueue(JobRequest("charge", {"name": "callback"}, key="k#callback").after(ids), ADMIN)


def batch_at_work(jobs: Jobs) -> None:
    """Workers are at its members while the callback is made."""
    with before_transactions(busy_parents):
        batch_with_callback(jobs)


def several(jobs: Jobs) -> None:
    """A batch of which some complete, some fail in every way, and some have others waiting for them."""
    goes = [[], ["transient"], NO, ["snoozed"], ["late-transient"], []]
    for name, script in zip("abcdef", goes, strict=True):
        jobs.enqueue("charge", {"name": name, "goes": script}, ADMIN)
    for parent in "acf":
        jobs.enqueue(
            "mail", {"name": f"after {parent}"}, depends_on=(job_named(jobs, parent),), run_if_parents_fail=True
        )


def a_worker_dies(jobs: Jobs) -> None:
    jobs.store.claim(job_named(jobs, "a"), "money", "dead", "lease", jobs.clock(), jobs.clock() + 45_000)


def cancel(jobs: Jobs) -> None:
    jobs.lifecycle.cancel(job_named(jobs, "a"), ADMIN, "not wanted")


def retry(jobs: Jobs) -> None:
    with suppress(Conflict):  # it was done, and the answer got lost
        jobs.lifecycle.retry(job_named(jobs, "a"), ADMIN, "again", payload={"name": "a"}, time_left=lambda: 60_000)


def direct(jobs: Jobs) -> None:
    jobs.mode = ProcessingMode.SYNC_DIRECT


def queue_down(step: Step) -> Step:
    class Refusing:
        def send_message(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, "SendMessage")

        send_message_batch = send_message

    def while_down(jobs: Jobs) -> None:
        with patch.object(jobs.dispatcher, "_sqs", Refusing()):
            step(jobs)

    return while_down


A, NO = enqueue(key="a"), ["permanent"] * 9

STORIES = {
    "enqueue": CrashScenario(A, again=True),
    "enqueue with a result webhook": CrashScenario(
        enqueue(key="a", webhook_url="https://shop.example.com/hook"), again=True
    ),
    "enqueue for later": CrashScenario(lambda jobs: enqueue(key="a", run_at=jobs.clock() + 60_000)(jobs), again=True),
    "enqueue what waits for another": CrashScenario(child_of_a(), A, again=True),
    "enqueue what waits for an ended job": CrashScenario(child_of_a(), steps(A, drain), again=True),
    "enqueue what waits for a failing job": CrashScenario(
        steps(child_of_a(), drain), enqueue(key="a", goes=NO), again=True
    ),
    "enqueue a batch with a callback": CrashScenario(batch_with_callback, again=True),
    "enqueue a batch with a callback while workers are at it": CrashScenario(batch_at_work, again=True),
    "enqueue directly": CrashScenario(A, direct, again=True),
    "enqueue a batch directly": CrashScenario(batch_with_callback, direct, again=True),
    "enqueue while the queue is down": CrashScenario(queue_down(A), again=True),
    "run": CrashScenario(drain, A),
    "run a batch": CrashScenario(drain, batch_with_callback),
    "run several that end in every way": CrashScenario(drain, several),
    "run several while the queue is down": CrashScenario(queue_down(drain), several),
    "run several of which one was taken by a worker that died": CrashScenario(drain, steps(several, a_worker_dies)),
    "run, with a result webhook": CrashScenario(drain, enqueue(key="a", webhook_url="https://shop.example.com/hook")),
    "fail for now": CrashScenario(drain, enqueue(key="a", goes=["transient"])),
    "fail although it happened": CrashScenario(drain, enqueue(key="a", goes=["late-transient"])),
    "fail for now while the queue is down": CrashScenario(queue_down(drain), enqueue(key="a", goes=["transient"])),
    "fail for good": CrashScenario(drain, enqueue(key="a", goes=NO)),
    "be put off": CrashScenario(drain, enqueue(key="a", goes=["snoozed"] * 2)),
    "spend the last attempt": CrashScenario(drain, enqueue("mail", key="a", goes=["transient"] * 9)),
    "end what another waits for": CrashScenario(drain, steps(A, child_of_a())),
    "fail what others wait for": CrashScenario(
        drain,
        steps(enqueue(key="a", goes=NO), child_of_a(), child_of_a(job_type="mail", key="c", run_if_parents_fail=True)),
    ),
    "sweep after a worker's death": CrashScenario(sweep, steps(A, a_worker_dies, wait(46))),
    "sweep what is due": CrashScenario(
        sweep, steps(lambda jobs: enqueue(key="a", run_at=jobs.clock() + 3_600_000)(jobs), wait(3_601))
    ),
    "sweep for a lost message": CrashScenario(sweep, steps(A, lose_messages, wait(90))),
    "sweep for a lost message while the queue is down": CrashScenario(
        queue_down(sweep), steps(A, lose_messages, wait(90))
    ),
    "sweep directly": CrashScenario(sweep, steps(A, direct, wait(90))),
    "sweep for a child that was not notified": CrashScenario(sweep, steps(A, child_of_a(), unreported, wait(301))),
    "cancel": CrashScenario(cancel, steps(A, child_of_a()), again=True),
    "retry": CrashScenario(retry, steps(enqueue(key="a", goes=NO), drain), again=True),
    "retry directly": CrashScenario(retry, steps(enqueue(key="a", goes=NO), drain, direct), again=True),
}


@pytest.fixture(autouse=True)
def few_queues() -> Iterator[None]:
    """Three queues are swept in a third of the time."""
    few = {name: job_queues.QUEUES[name] for name in ("money", "email", "messages")}
    deliver = replace(charging("deliver-webhook", "messages", internal=True), payload=Delivery)
    types = known_types(charging(), charging("mail", "email"), deliver)
    with patch.dict(job_queues.QUEUES, few, clear=True), types:
        yield


class Delivery(BaseModel):
    """The webhook's payload as one of the provider: what is delivered is an effect like others."""

    name: str = "webhook"
    goes: tuple[str, ...] = ()
    big: int = 0


@pytest.mark.parametrize("name", STORIES)
def test_a_crash_after_any_call_loses_nothing_and_repeats_nothing(on_aws: AwsHarness, name: str) -> None:
    story = STORIES[name]
    jobs, provider = fresh(on_aws)
    story.before(jobs)
    with crash_after(None) as calls:
        story.act(jobs)
    jobs.mode = ProcessingMode.ASYNC_QUEUE
    settle(jobs)
    expected = outcome(jobs, provider)
    assert calls.names

    for call in every_call(len(calls.names)):
        jobs, provider = fresh(on_aws)
        story.before(jobs)
        with suppress(Killed), crash_after(call):
            story.act(jobs)
        if story.again:
            story.act(jobs)
        jobs.mode = ProcessingMode.ASYNC_QUEUE
        settle(jobs)
        assert outcome(jobs, provider) == expected, f"died after call {call}, {calls.names[call - 1]}"


def fresh(world: AwsHarness) -> tuple[Jobs, Provider]:
    """An empty platform."""
    empty()
    jobs = Jobs(world)
    jobs.urls = {name: jobs.urls[name] for name in job_queues.QUEUES}
    return jobs, new_provider()


def settle(jobs: Jobs) -> None:
    """Workers and sweeper go on until no job is open; in long strides, because there are many crashes to survive."""
    for _ in range(40):
        jobs.drain()
        if not jobs.open():
            return
        jobs.advance(180)
        jobs.sweep()
    raise AssertionError(f"still open: {jobs.open()}")


def outcome(jobs: Jobs, provider: Provider) -> tuple[Any, ...]:
    """Jobs and how they ended, effects, and what was signed for."""
    ended = Counter((job.type, job.payload.get("name"), job.state.value) for job in jobs.all())
    signed = Counter((entry["action"], entry["reason"]) for entry in rows(jobs.world.env["LEDGER_TABLE"]))
    return ended, provider.effects, signed
