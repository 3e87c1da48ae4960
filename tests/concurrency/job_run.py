"""Runs of the job platform: workers, sweepers and operators at once, killed anywhere, on an unreliable queue.

A run has a clock of its own, which a thread drives fifty times as fast as real time. At the end the faults stop, the
platform comes to rest, and what callers were answered is compared with the rows.
"""

from __future__ import annotations

import json
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError

from adbot_queue.core import telemetry
from adbot_queue.core.attribute_values import decode
from adbot_queue.core.dynamodb import TransactionConflict
from adbot_queue.core.errors import AppError, Conflict, Invalid, NotFound, Unavailable
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.lifecycle import Lifecycle
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.service import JobRequest, JobService
from adbot_queue.jobs.store.items import job_of
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.sweeper import Sweeper
from adbot_queue.jobs.worker.dependents import Dependents
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.jobs.worker.worker import Worker
from adbot_queue.ledger import SYSTEM, Actor, Ledger
from adbot_queue.platform.rate import Rate
from adbot_queue.platform.rate_limits import RateLimiter
from adbot_queue.testing.tables import create_tables
from tests.builders.sqs import FakeSqs, Troubles
from tests.concurrency.faults import Faults, Killed, Rates
from tests.concurrency.job_provider import PROVIDERS, Order, Provider, process
from tests.support.dynamodb_local import client

QUEUES = ("money", "email")
START = 1_790_000_000_000
SPEED = 50
WORKERS, SWEEPERS, OPERATORS = 4, 1, 3
STUCK_SECONDS = 60
TYPES = {f"order-{queue}": JobType(queue, Order, process, name=f"order-{queue}") for queue in QUEUES}
RATES = Rates(kill=0.02, conflict=0.02, throttle=0.01, resend=0.03)
TROUBLES = Troubles(lose=0.1, double=0.15, delay=0.2, refuse=0.02, lie=0.02)


class RunClock:
    """Goes `SPEED` times as fast as the world's, from the same moment in every run; can be put forward."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._ahead = 0

    def __call__(self) -> int:
        return START + self._ahead + int((time.monotonic() - self._began) * 1000 * SPEED)

    def advance(self, seconds: int) -> None:
        self._ahead += seconds * 1000


class NoLambda:
    """A Lambda that refuses every call, so that the sweeper is needed after the queue refused."""

    def invoke(self, **_: Any) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "injected"}}, "Invoke")  # type: ignore[arg-type]


@dataclass
class Report:
    """What callers were answered."""

    ids: dict[str, set[str]] = field(default_factory=dict)  # name -> ids that its key was answered with
    callbacks: dict[str, list[str]] = field(default_factory=dict)  # name of a callback -> ids that it waits for
    cancelled: set[str] = field(default_factory=set)
    retried: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def one(self, chance: random.Random) -> str | None:
        """Return a reported job that is no part of a batch."""
        with self.lock:
            single = [min(ids) for name, ids in self.ids.items() if name.startswith("single")]
        return chance.choice(single) if single else None


class Platform:
    """Everything of the platform, on one client."""

    def __init__(self, run: Run, on: Any) -> None:
        now = run.clock
        self.store = JobStore(on, run.tables["JobsTable"])
        dispatcher = Dispatcher(run.sqs, {queue: queue for queue in job_queues.QUEUES}, NoLambda, "w-%s", now)  # type: ignore[arg-type]
        dependents = Dependents(self.store, dispatcher, now)
        limits = RateLimiter(on, run.tables["SystemTable"], now)
        self.service = JobService(
            self.store,
            dispatcher,
            Ledger(on, run.tables["LedgerTable"], now),
            limits,
            Rate(1000, 1000),
            frozenset,
            now,
        )
        self.lifecycle = Lifecycle(self.service)
        self.worker = Worker(self.store, dispatcher, dependents, limits, "worker", now)
        self.sweeper = Sweeper(self.store, dispatcher, dependents, self.worker, frozenset, now)

    def serve(self, sqs: FakeSqs, queue: str, *, forget: bool = False) -> int:
        """A batch, as Lambda's poller and `functions/work` do it; how many messages it had."""
        batch = sqs.receive(queue, mixed=True)
        if batch:
            messages = [JobMessage.from_message(body) for _, body in batch]
            self.worker.work(messages, lambda: 60_000, full=len(batch) == 10)
            if not forget:
                sqs.delete(queue, [receipt for receipt, _ in batch])
        return len(batch)


@dataclass
class Run:
    """One run: its tables, queue, clock, provider, and what came of it."""

    seed: int
    endpoint: str
    jobs: int
    slow: int = 6  # weight of answers that take longer than a lease, against 70 good ones
    tables: dict[str, str] = field(default_factory=dict)
    reported: Report = field(default_factory=Report)
    over: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def play(self) -> Platform:
        """All of it; the platform at rest."""
        self.clean = client(self.endpoint)
        self.tables = create_tables(
            self.clean, "JobsTable", "SystemTable", "LedgerTable", prefix=f"jobs{self.seed}-{time.monotonic_ns()}-"
        )
        self.clock = RunClock()
        self.provider = PROVIDERS[str(self.seed)] = Provider(self.seed, slow=self.slow)
        self.sqs = FakeSqs(self.clock, TROUBLES, self.seed)
        with patch.object(telemetry.metrics, "add_metric"):
            operators = [threading.Thread(target=self._operate, args=(n,)) for n in range(OPERATORS)]
            others = [threading.Thread(target=self._work, args=(n,)) for n in range(WORKERS)]
            others += [threading.Thread(target=self._sweep, args=(n,)) for n in range(SWEEPERS)]
            for one in (*operators, *others):
                one.daemon = True
                one.start()
            for one in operators:
                one.join(STUCK_SECONDS)
            self.over.set()
            for one in (*operators, *others):
                one.join(STUCK_SECONDS)
                if one.is_alive():
                    self.failures.append(f"{one.name} hangs")
            platform = Platform(self, self.clean)
            self._rest(platform)
        return platform

    def _faulty(self, name: str) -> tuple[Any, random.Random]:
        on = client(self.endpoint)
        faults = Faults(on)
        for operation in ("UpdateItem", "PutItem", "BatchExecuteStatement"):
            on.meta.events.register_first(f"needs-retry.dynamodb.{operation}", faults._lose_answer)
        faults.arm(RATES, f"{self.seed} {name}")
        faults.counts = self.faults  # of all together
        return on, random.Random(f"{self.seed} {name}")

    def _until_over(self, name: str, step: Callable[[Platform, random.Random], None]) -> None:
        """Again and again; a process that died is started anew."""
        on, chance = self._faulty(name)
        platform = Platform(self, on)
        while not self.over.is_set():
            try:
                step(platform, chance)
            except Killed:
                platform = Platform(self, on)
            except (ClientError, TransactionConflict, Unavailable):
                continue  # the batch is delivered again
            except BaseException:  # noqa: BLE001  reported at the end
                self.failures.append(f"{name}: {traceback.format_exc()}")

    def _work(self, number: int) -> None:
        def step(platform: Platform, chance: random.Random) -> None:
            if not platform.serve(self.sqs, chance.choice(QUEUES), forget=chance.random() < 0.05):
                time.sleep(0.01)

        self._until_over(f"worker {number}", step)

    def _sweep(self, number: int) -> None:
        def step(platform: Platform, _: random.Random) -> None:
            platform.sweeper.sweep(lambda: 60_000)
            self.over.wait(0.3)

        self._until_over(f"sweeper {number}", step)

    # Operators

    def _operate(self, number: int) -> None:
        on, chance = self._faulty(f"operator {number}")
        actor = Actor(f"operator {number}", "admin")
        try:
            for index in range(self.jobs // OPERATORS):
                self._enqueue(on, chance, number, index, actor)
                if chance.random() < 0.5:
                    self._interfere(on, chance, actor)
        except BaseException:  # noqa: BLE001  reported at the end
            self.failures.append(f"operator {number}: {traceback.format_exc()}")

    def _carry_out(self, on: Any, command: Callable[[Platform], Any]) -> Any:
        """Repeat a request until it is answered."""
        deadline = time.monotonic() + STUCK_SECONDS
        while time.monotonic() < deadline:
            try:
                return command(Platform(self, on))
            except (Killed, TransactionConflict, Unavailable):
                continue
            except ClientError as error:
                if "injected" not in str(error):
                    raise
        raise TimeoutError("a command did not come through")

    def _new(self, name: str, chance: random.Random, **options: Any) -> JobRequest:
        kind = f"order-{QUEUES[len(name) % len(QUEUES)]}"
        return JobRequest(
            kind, {"run": str(self.seed), "name": name}, key=name, priority=chance.randint(-2, 2), **options
        )

    def _enqueue(self, on: Any, chance: random.Random, number: int, index: int, actor: Actor) -> None:
        what = chance.choice(["one", "one", "shared", "later", "child", "batch"])
        # A shared name is enqueued by several operators: they must all be answered with the same job.
        name = f"single shared {index}" if what == "shared" else f"single {number} {index}"
        match what:
            case "batch":
                self._batch(on, chance, f"{number} {index}", actor)
                return
            case "later":
                new = self._new(name, chance, run_at=self.clock() + chance.randint(1, 1_500_000))
            case "child" if parent := self.reported.one(chance):
                new = self._new(name, chance, depends_on=(parent,), run_if_parents_fail=chance.random() < 0.5)
            case "shared":
                new = JobRequest("order-money", {"run": str(self.seed), "name": name}, key=name)
            case _:
                new = self._new(name, chance)
        try:
            job = self._carry_out(on, lambda platform: platform.service.enqueue(new, actor)).job
        except Invalid:
            return  # the parent has failed
        self._tell(name, job)

    def _tell(self, name: str, job: Job) -> None:
        with self.reported.lock:
            self.reported.ids.setdefault(name, set()).add(job.id)

    def _batch(self, on: Any, chance: random.Random, name: str, actor: Actor) -> None:
        members = [self._new(f"member {name} {n}", chance) for n in range(3)]
        made = self._carry_out(on, lambda platform: platform.service.enqueue_many(members, actor))
        assert not any(isinstance(entry, AppError) for entry in made), made
        ids = [entry.job.id for entry in made]
        for member, entry in zip(members, made, strict=True):
            self._tell(str(member.key), entry.job)
        callback = self._new(f"callback {name}", chance).after(tuple(ids))
        self._tell(
            str(callback.key), self._carry_out(on, lambda platform: platform.service.enqueue(callback, SYSTEM)).job
        )
        self.reported.callbacks[str(callback.key)] = ids

    def _interfere(self, on: Any, chance: random.Random, actor: Actor) -> None:
        job_id = self.reported.one(chance)
        if job_id is None:
            return
        try:
            if chance.random() < 0.4:
                job = self._carry_out(on, lambda platform: platform.lifecycle.cancel(job_id, actor))
                if job.state is JobState.CANCELLED:
                    self.reported.cancelled.add(job_id)
            else:
                self.reported.retried.add(job_id)
                self._carry_out(on, lambda platform: platform.lifecycle.retry(job_id, actor))
        except (Conflict, NotFound):
            return

    # Rest

    def _rest(self, platform: Platform) -> None:
        """No more faults: workers and sweeper go on until no job is open."""
        self.sqs.troubles = Troubles()
        for _ in range(300):
            while any(platform.serve(self.sqs, queue) for queue in QUEUES):
                pass
            if all(job.is_terminal for job in self.all_jobs()):
                return
            self.clock.advance(120)
            platform.sweeper.sweep(lambda: 60_000)
        self.failures.append(f"not at rest: {[job for job in self.all_jobs() if not job.is_terminal]}")

    def all_jobs(self) -> list[Job]:
        """Every job of the run."""
        pages = self.clean.get_paginator("scan").paginate(TableName=self.tables["JobsTable"])
        items = [decode(item) for page in pages for item in page["Items"]]
        return [job_of(item) for item in items if item["sk"] == "J"]


def broken(run: Run, platform: Platform) -> list[str]:
    """Promises that were not kept."""
    jobs = {job.id: job for job in run.all_jobs()}
    by_name: dict[str, list[Job]] = {}
    for job in jobs.values():
        by_name.setdefault(job.payload["name"], []).append(job)
    problems = list(run.failures)
    for name, ids in run.reported.ids.items():
        if len(ids) != 1:
            problems.append(f"{name}: one key was answered with {ids}")
        problems += [f"{name}: job {one} is lost" for one in ids if one not in jobs]
    problems += [*_effects(run, by_name), *_callbacks(run, jobs, by_name)]
    for job in jobs.values():
        problems += _of_one(job, run)
    for queue in QUEUES:
        if platform.store.ready(queue, 10) or platform.store.due(queue, run.clock() + 10**10, 10)[0]:
            problems.append(f"{queue}: an index still shows jobs that have ended")
    return problems


def _effects(run: Run, by_name: dict[str, list[Job]]) -> Iterator[str]:
    for name, several in by_name.items():
        done = any(job.state is JobState.COMPLETED for job in several)
        if len(several) > 1:
            yield f"{name}: {len(several)} jobs of one key"
        if run.provider.effects[name] > 1 or (done and not run.provider.effects[name]):
            yield f"{name}: {run.provider.effects[name]} effects, {several}"


def _callbacks(run: Run, jobs: dict[str, Job], by_name: dict[str, list[Job]]) -> Iterator[str]:
    for name, members in run.reported.callbacks.items():
        (callback, *_) = by_name.get(name, [None])
        last = max((jobs[one].finished_at or 0 for one in members if one in jobs), default=0)
        if callback and callback.first_started_at is not None and callback.first_started_at < last:
            yield f"{name} ran before the last of its members had ended"
        if callback and callback.state is JobState.CANCELLED:
            yield f"{name} was cancelled without a request"


def _of_one(job: Job, run: Run) -> list[str]:
    problems = []
    if not job.is_terminal:
        problems.append(f"{job.payload['name']} is {job.state}")
    if job.id in run.reported.cancelled - run.reported.retried and job.state is not JobState.CANCELLED:
        problems.append(f"{job.payload['name']} was cancelled and is {job.state}")
    counted = [one.number for one in job.attempts if not (one.failure and one.failure.kind == "snoozed")]
    if job.cycle == 0 and (counted != [*range(1, len(counted) + 1)] or len(counted) != job.attempt):
        problems.append(f"{job.payload['name']}: attempt {job.attempt}, counted {json.dumps(counted)}")
    if job.attempt > job_queues.QUEUES[job.queue].policy.attempts:
        problems.append(f"{job.payload['name']}: {job.attempt} attempts")
    return problems
