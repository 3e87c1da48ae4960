"""The job platform with what its own tests look at: messages, modes, several workers, batches.

Tests of a job type need only the plugin's `Jobs` (`adbot_queue.testing`).
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
from adbot_queue.jobs.lifecycle import Lifecycle
from adbot_queue.jobs.model import Job, JobMode, JobState
from adbot_queue.jobs.service import Enqueued, JobRequest, JobService
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.sweeper import Sweeper
from adbot_queue.jobs.worker.dependents import Dependents
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.jobs.worker.worker import Worker
from adbot_queue.ledger import Actor
from adbot_queue.platform import mode as modes
from adbot_queue.platform.joint_rate_limits import JointRateLimiter
from adbot_queue.platform.rate import Rate
from adbot_queue.testing import harness
from adbot_queue.testing.harness import Clock
from tests.builders.world import AwsHarness


class FakeLambda:
    """Lambda's client, as far as jobs use it: calls the worker in this process."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.calls: list[tuple[str, str]] = []

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        self.calls.append((FunctionName, InvocationType))
        event = json.loads(Payload)
        self._jobs.worker.work([JobMessage(event["job"], event["queue"])], lambda: 60_000, mode=JobMode(event["mode"]))
        return {"StatusCode": 200}


class Jobs(harness.Jobs):
    """The job platform on an AWS in the process, with a clock that the test owns."""

    def __init__(self, world: AwsHarness, seed: int = 1) -> None:
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
            aws.sqs(), self.urls, lambda: self.functions, "test_%sWorker", self.clock, lambda: self.mode
        )
        self.dependents = Dependents(self.store, self.dispatcher, self.clock)
        self.limits = JointRateLimiter(aws.dynamodb(), env["SYSTEM_TABLE"], self.clock)
        service = JobService(
            self.store,
            self.dispatcher,
            ledger.from_env(),
            self.limits,
            Rate(20, 2000),
            lambda: self.paused,
            self.clock,
        )
        self.lifecycle = Lifecycle(service)
        worker = self.new_worker()
        sweeper = Sweeper(
            self.store,
            self.dispatcher,
            self.dependents,
            worker,
            lambda: self.paused,
            self.clock,
        )
        super().__init__(service, worker, sweeper, self.clock)

    def new_worker(self, name: str = "worker-1") -> Worker:
        return Worker(self.store, self.dispatcher, self.dependents, self.limits, name, self.clock, self.chance)

    def new(self, job_type: str, payload: dict[str, Any], **options: Any) -> JobRequest:
        return JobRequest(job_type, payload, **options)

    def enqueue(
        self, job_type: str, payload: dict[str, Any] | None = None, actor: Actor = ledger.SYSTEM, **options: Any
    ) -> Job:
        return self.enqueued(job_type, payload, actor, **options).job

    def enqueued(
        self, job_type: str, payload: dict[str, Any] | None = None, actor: Actor = ledger.SYSTEM, **options: Any
    ) -> Enqueued:
        return self.service.enqueue(self.new(job_type, payload or {}, **options), actor, lambda: 60_000)

    def enqueue_many(self, news: list[JobRequest]) -> list[Job]:
        made = self.service.enqueue_many(news, ledger.SYSTEM, lambda: 60_000)
        failed = [entry for entry in made if isinstance(entry, AppError)]
        assert failed == []
        return [entry.job for entry in made if isinstance(entry, Enqueued)]

    def work(self, job: Job, worker: Worker | None = None) -> None:
        """Execute one attempt of a job that may run now."""
        (worker or self.worker).work([JobMessage(job.id, job.queue, job.rank)], lambda: 60_000)

    def drain(self, queue: str | None = None, *, full: int = 10) -> int:
        """Run what the messages permit that are visible now; how many there were."""
        number = 0
        for name in [queue] if queue else list(self.urls):
            while batch := self.receive(name):
                self.worker.work(
                    [JobMessage.from_message(body) for body in batch],
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


@contextmanager
def known_types(*declared: JobType) -> Iterator[None]:
    """These types exist as well, for as long as the block runs."""
    with patch.dict(job_types.LOADED, {one.name: one for one in declared}):
        yield


def states(jobs: list[Job]) -> dict[JobState, int]:
    """How many jobs are in each state."""
    return {state: number for state in JobState if (number := sum(job.state is state for job in jobs))}
