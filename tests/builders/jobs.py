"""For whoever adds a job type: run jobs in the process, look at what was enqueued, own the clock.

    def test_it_tells_the_customer(jobs: Jobs) -> None:
        job = jobs.run("send-email", {"to": "cara@example.com", ...})
        assert job.state is State.COMPLETED
        jobs.assert_enqueued("analytics-track", event="mail sent")

`run` executes one job by the real worker on an AWS in the process; `advance` moves the clock; `settle` does what
queues, workers and sweeper would do, until nothing is left to do.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from adbot_queue import ledger
from adbot_queue.core import aws
from adbot_queue.core.errors import AppError
from adbot_queue.jobs import job_queues, job_types
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import Job, Mode, State
from adbot_queue.jobs.service import Enqueued, JobService, NewJob
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.sweeper import Sweeper
from adbot_queue.jobs.worker.dependents import Dependents
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.jobs.worker.message import Permit
from adbot_queue.jobs.worker.worker import Worker
from adbot_queue.ledger import Actor
from adbot_queue.platform import mode as modes
from adbot_queue.platform.rate_limits import Limits, Rate
from tests.builders.world import World

SOME_DAY = 1_790_000_000_000


class Clock:
    """Stands still until it is moved. Milliseconds."""

    def __init__(self, now: int = SOME_DAY) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


class FakeLambda:
    """Lambda's client, as far as jobs use it: calls the worker in this process."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.calls: list[tuple[str, str]] = []

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        self.calls.append((FunctionName, InvocationType))
        event = json.loads(Payload)
        self._jobs.worker.work([Permit(event["job"], event["queue"])], lambda: 60_000, mode=Mode(event["mode"]))
        return {"StatusCode": 200}


class Jobs:
    """The job platform on an AWS in the process, with a clock that the test owns."""

    def __init__(self, world: World, seed: int = 1) -> None:
        self.world = world
        self.clock = Clock()
        self.mode = modes.ProcessingMode.ASYNC_QUEUE
        self.paused: set[str] = set()
        self.functions = FakeLambda(self)
        self.chance = random.Random(seed)
        env = world.env
        self.store = JobStore(aws.dynamodb(), env["JOBS_TABLE"])
        self.urls = job_queues.queue_urls(env["QUEUE_URL"])
        self.dispatcher = Dispatcher(
            aws.sqs(), self.urls, lambda: self.functions, "test-%sWorker", self.clock, lambda: self.mode
        )
        self.dependents = Dependents(self.store, self.dispatcher, self.clock)
        self.limits = Limits(aws.dynamodb(), env["SYSTEM_TABLE"], self.clock)
        self.service = JobService(
            self.store,
            self.dispatcher,
            ledger.from_env(),
            self.limits,
            Rate(20, 2000),
            lambda: self.paused,
            self.clock,
        )
        self.worker = self.new_worker()
        self.sweeper = Sweeper(
            self.store,
            self.dispatcher,
            self.dependents,
            self.worker,
            lambda: self.paused,
            self.clock,
        )

    def new_worker(self, name: str = "worker-1") -> Worker:
        return Worker(self.store, self.dispatcher, self.dependents, self.limits, name, self.clock, self.chance)

    def new(self, job_type: str, payload: dict[str, Any], **options: Any) -> NewJob:
        return NewJob(job_type, payload, **options)

    def enqueue(
        self, job_type: str, payload: dict[str, Any] | None = None, actor: Actor = ledger.SYSTEM, **options: Any
    ) -> Job:
        return self.enqueued(job_type, payload, actor, **options).job

    def enqueued(
        self, job_type: str, payload: dict[str, Any] | None = None, actor: Actor = ledger.SYSTEM, **options: Any
    ) -> Enqueued:
        return self.service.enqueue(self.new(job_type, payload or {}, **options), actor, lambda: 60_000)

    def enqueue_many(self, news: list[NewJob]) -> list[Job]:
        made = self.service.enqueue_many(news, ledger.SYSTEM, lambda: 60_000)
        failed = [entry for entry in made if isinstance(entry, AppError)]
        assert failed == []
        return [entry.job for entry in made if isinstance(entry, Enqueued)]

    def get(self, job: Job | str) -> Job:
        return self.service.job(job if isinstance(job, str) else job.id)

    def run(self, job_type: str, payload: dict[str, Any] | None = None, **options: Any) -> Job:
        """Enqueue a job and execute its first attempt here; the job as it is then."""
        job = self.enqueue(job_type, payload, **options)
        self.work(job)
        return self.get(job)

    def work(self, job: Job, worker: Worker | None = None) -> None:
        """Execute one attempt of a job that may run now."""
        (worker or self.worker).work([Permit(job.id, job.queue, job.rank)], lambda: 60_000)

    def drain(self, queue: str | None = None, *, full: int = 10) -> int:
        """Run what the messages permit that are visible now; how many there were."""
        number = 0
        for name in [queue] if queue else list(self.urls):
            while batch := self.receive(name):
                self.worker.work(
                    [Permit.of(body) for body in batch],
                    lambda: 60_000,
                    full=len(batch) >= full,
                )
                self.delete(name)
                number += len(batch)
        return number

    def receive(self, queue: str, most: int = 10) -> list[dict[str, Any]]:
        """A batch of messages; `delete` removes it from the queue."""
        url = self.urls[queue]
        found = aws.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=most).get("Messages", [])
        self._received = [message["ReceiptHandle"] for message in found]
        return [json.loads(message["Body"]) for message in found]

    def delete(self, queue: str) -> None:
        for handle in self._received:
            aws.sqs().delete_message(QueueUrl=self.urls[queue], ReceiptHandle=handle)

    def sweep(self) -> dict[str, int]:
        return self.sweeper.sweep(lambda: 60_000)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def settle(self, minutes: int = 400) -> None:
        """Let time pass, minute by minute, with workers and sweeper at work, until no job is open."""
        for _ in range(minutes):
            self.drain()
            if not self.open():
                return
            self.advance(60)
            self.sweep()
        raise AssertionError(f"still open: {self.open()}")

    def open(self) -> list[Job]:
        """All jobs that have not ended."""
        return [job for job in self.all() if not job.is_terminal]

    def all(self) -> list[Job]:
        """Every job of the table."""
        from adbot_queue.core.attribute_values import decode  # noqa: PLC0415
        from adbot_queue.jobs.store.items import job_of  # noqa: PLC0415

        pages = aws.dynamodb().get_paginator("scan").paginate(TableName=self.store.table)
        items = [decode(item) for page in pages for item in page["Items"]]
        return sorted((job_of(item) for item in items if item["sk"] == "J"), key=lambda job: job.id)

    def assert_enqueued(self, job_type: str, **payload: Any) -> Job:
        """There is exactly one job of this type whose payload has these values."""
        found = [job for job in self.all() if job.type == job_type and payload.items() <= job.payload.items()]
        assert len(found) == 1, f"{len(found)} jobs of type {job_type} with {payload}"
        return found[0]


@contextmanager
def known_types(*declared: JobType) -> Iterator[None]:
    """These types exist as well, for as long as the block runs."""
    with patch.dict(job_types.LOADED, {one.name: one for one in declared}):
        yield


def states(jobs: list[Job]) -> dict[State, int]:
    """How many jobs are in each state."""
    return {state: number for state in State if (number := sum(job.state is state for job in jobs))}
