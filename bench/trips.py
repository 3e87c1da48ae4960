"""Four trips through the code: the files that each enters, and their lines. `make trips`.

A payment becomes a bot; a job runs; a job fails, dies and is replayed in bulk; a schedule's tick becomes a job. Each
trip goes through the functions' handlers on an AWS in the process, as API Gateway, SQS and EventBridge would call them,
once to warm up and once recorded. A file counts with all its lines when any function of it was called, so nothing is
gained by moving code within it; `core/` is counted apart. `testing/`, which serves the AWS in the process, is not.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Any
from unittest.mock import patch

from moto.core import utils as moto_clock

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "adbot-queue")
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")
os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")

from tests.builders.effects import charging, new_provider
from tests.builders.jobs import known_types
from tests.builders.payments import Purchase, configure, consume, deliver, open_shop, rows
from tests.builders.world import ROOT, AwsHarness, FakeContext, world

LAYER = f"{ROOT / 'layers' / 'common' / 'adbot_queue'}/"
HARNESS = f"{LAYER}testing/"
FUNCTIONS = f"{ROOT / 'functions'}/"
QUEUE = "email"
PATIENCE = 40
"""Rounds, of a minute or a quarter of an hour, until what must happen has happened."""


def must(fact: bool, what: str) -> None:  # noqa: FBT001
    """Stop when a trip goes another way than it is meant to."""
    if not fact:
        raise AssertionError(what)


@dataclass
class Recorder:
    """Notes which of our files are entered, on every thread, while a trip is recorded."""

    files: set[str] | None = None

    def __post_init__(self) -> None:
        """Follow every thread, those of pools too."""
        threading.setprofile(self._enter)
        sys.setprofile(self._enter)

    def _enter(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        # Imports and comprehensions have no name of their own.
        if self.files is None or event != "call" or code.co_name.startswith("<"):
            return
        if code.co_filename.startswith((LAYER, FUNCTIONS)) and not code.co_filename.startswith(HARNESS):
            self.files.add(code.co_filename)

    @contextmanager
    def recorded(self) -> Iterator[set[str]]:
        """Collect the files that the block enters."""
        self.files = files = set()
        try:
            yield files
        finally:
            self.files = None

    @contextmanager
    def off(self) -> Iterator[None]:
        """Collect nothing while the block looks whether the trip is over."""
        files, self.files = self.files, None
        try:
            yield
        finally:
            self.files = files


@dataclass
class Machine:
    """Queues, clocks and API Gateway, as far as the functions notice."""

    world: AwsHarness
    recorder: Recorder
    ahead_s: float = 0.0
    _real: tuple[Callable[[], float], Callable[[], int]] = field(default_factory=lambda: (time.time, time.time_ns))

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Have the whole process live `ahead_s` in the future."""
        now, now_ns = self._real
        with (
            patch.object(time, "time", lambda: now() + self.ahead_s),
            patch.object(time, "time_ns", lambda: now_ns() + int(self.ahead_s * 1e9)),
            patch.object(moto_clock, "utcnow", lambda: datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None)),
        ):
            yield

    def call(self, function: str, route: str, body: Any = None, **path: str) -> dict[str, Any]:
        """Call the API as an admin."""
        answer = self.world.http(function, route, role="admin", body=body, **path)
        must(answer.status < 300, f"{route} answered {answer.status}: {answer.text}")
        found: dict[str, Any] = answer.json
        return found

    def deliver(self, queue: str, function: str) -> int:
        """Give what waits in a queue to its function; return the number of messages."""
        messages = self.world.messages(queue)
        for first in range(0, len(messages), 10):
            records = [
                {
                    "messageId": f"m{number}",
                    "body": json.dumps(body),
                    "eventSource": "aws:sqs",
                    "receiptHandle": "r",
                    "attributes": {"MessageGroupId": "g", "ApproximateReceiveCount": "1", "SentTimestamp": "0"},
                }
                for number, body in enumerate(messages[first : first + 10])
            ]
            with patch.dict(os.environ, {"JOB_QUEUE": queue, "JOB_BATCH": "10"}):
                answer = self.world.app(function).handler({"Records": records}, FakeContext())
            must(answer == {"batchItemFailures": []}, f"{function} left messages of {queue}: {answer}")
        return len(messages)

    def work(self) -> int:
        """Give every job queue's messages to its worker; return their number."""
        others = ("payments", "allocation", "notices")
        return sum(self.deliver(queue, "work") for queue in self.world.queues if queue not in others)

    def work_until(self, done: Callable[[], bool]) -> None:
        """Let time pass with workers at work; with the sweeper too when no message is left."""
        for _ in range(PATIENCE):
            while self.work():
                pass
            if done():
                return
            self.ahead_s += 900
            if not self.work():
                self.sweep()
        must(fact=False, what="the trip does not end")

    def sweep(self) -> None:
        """Do what EventBridge starts each minute."""
        event = json.loads((ROOT / "events" / "lambda" / "sweep_jobs.json").read_text())
        self.world.app("sweep_jobs").handler(event, FakeContext())

    def state(self, job_id: str) -> str:
        """Return a job's state, unrecorded."""
        with self.recorder.off():
            return str(self.call("jobs", "GET /jobs/{id}", id=job_id)["state"])


def payment(machine: Machine, name: str) -> None:
    """Stripe's event is received, settled and served from the stock."""
    must(deliver(machine.world, Purchase(name=name).checkout()).status == 200, "the event was not taken")
    must(consume(machine.world) == [], "the event was not settled")
    machine.deliver("allocation", "allocate")
    with machine.recorder.off():
        must(machine.world.bot(Purchase(name=name).bot_id).status == "READY", "the bot has no sessions")


def job(machine: Machine, name: str) -> None:
    """A job is enqueued over HTTP and runs."""
    made = machine.call("jobs", "POST /jobs", {"type": "mail", "payload": {"name": name}})
    machine.work()
    must(machine.state(made["job_id"]) == "completed", "the job did not run")


def death(machine: Machine, name: str) -> None:
    """A job fails until it is dead; a bulk replay brings it back; it runs."""
    payload = {"name": name, "goes": ["transient"] * 3}
    made = machine.call("jobs", "POST /jobs", {"type": "mail", "payload": payload})
    machine.work_until(lambda: machine.state(made["job_id"]) == "dead")
    order = {"filter": {"queue": QUEUE}, "rate_per_second": 100, "reason": "the provider is back"}
    dry = machine.call("dead_letters", "POST /dead-letters/replays", order | {"dry_run": True})
    confirmed = {"confirm": dry["count"], "cut_off": dry["cut_off"]}
    machine.call("dead_letters", "POST /dead-letters/replays", order | confirmed)
    machine.work_until(lambda: machine.state(made["job_id"]) == "completed")


def schedule(machine: Machine, name: str) -> None:
    """A schedule is made; its tick becomes a job."""
    body = {"name": name, "expression": "rate(10 minutes)", "type": "mail", "payload": {"name": name}}
    machine.call("schedules", "POST /schedules", body)
    before = len(rows(machine.world.env["JOBS_TABLE"], "JOB#"))
    for _minute in range(PATIENCE):
        machine.ahead_s += 60
        machine.sweep()
        if len(rows(machine.world.env["JOBS_TABLE"], "JOB#")) > before:
            return
    must(fact=False, what="no tick made a job")


TRIPS: dict[str, Callable[[Machine, str], None]] = {
    "Stripe event to bot": payment,
    "POST /jobs to completed": job,
    "failure to dead to bulk replay": death,
    "schedule's tick to job": schedule,
}


def lines(files: set[str]) -> dict[str, int]:
    """Return each file, as a person names it, with its number of lines."""
    found = {}
    for file in sorted(files):
        with open(file) as text:  # noqa: PTH123
            found[file.removeprefix(LAYER).replace(FUNCTIONS, "functions/")] = sum(1 for _ in text)
    return found


def main() -> None:
    """Make each trip on an AWS of its own and print what it entered."""
    recorder = Recorder()
    for title, trip in TRIPS.items():
        with world() as made, known_types(charging("mail", QUEUE)):
            configure()
            open_shop(made)
            made.upload(*(f"s{number}" for number in range(20)))
            new_provider()
            machine = Machine(made, recorder)
            with machine.clock():
                trip(machine, "warm")
                with recorder.recorded() as files:
                    trip(machine, "seen")
        report(title, lines(files))


def report(title: str, found: dict[str, int]) -> None:
    """Print one trip: the two sums, then the files, longest first."""
    inside = {file: number for file, number in found.items() if file.startswith("core/")}
    outside = {file: number for file, number in found.items() if file not in inside}
    print(f"\n{title}: {sum(outside.values()):,} lines of {len(outside)} files outside core/, ", end="")
    print(f"{sum(inside.values()):,} of {len(inside)} inside")
    for part in (outside, inside):
        print("  " + ", ".join(f"{file} {number}" for file, number in sorted(part.items(), key=lambda one: -one[1])))


if __name__ == "__main__":
    main()
