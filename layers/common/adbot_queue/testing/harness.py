"""The job platform in a test's hands: its jobs run here, by its clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

from pydantic import BaseModel

from adbot_queue import ledger
from adbot_queue.core.attribute_values import decode
from adbot_queue.core.clock import DAY_MS
from adbot_queue.core.errors import AppError
from adbot_queue.jobs import job_queues, job_types
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.service import JobRequest, JobService
from adbot_queue.jobs.store.items import job_of
from adbot_queue.jobs.sweeper import Sweeper
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.jobs.worker.worker import PARALLEL, Worker
from adbot_queue.ledger import Actor
from adbot_queue.testing.expectations import Expected, millis, unknown_fields

START_MS = 1_790_000_000_000
"""When a test begins: 2026-09-21T14:13:20Z."""

INVOCATION_MS = 900_000
"""Lambda's longest run. A worker claims no job whose queue allows longer runs than the time that is left."""

MAX_ATTEMPTS = 10_000
"""A drain that runs more attempts than this would never end."""

MAX_LOOKS = 60
"""How often `settle` looks at jobs of which none changes."""


class Clock:
    """Does not move by itself. Returns milliseconds."""

    def __init__(self, now: int = START_MS) -> None:
        self.now = now

    def __call__(self) -> int:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += round(seconds * 1000)


class Jobs:
    """Enqueues jobs, runs them, and asserts what was enqueued.

    Attributes:
        clock: the time in milliseconds, when called.
        service: what handlers enqueue jobs with (`jobs.service.from_env`).
    """

    def __init__(self, service: JobService, worker: Worker, sweeper: Sweeper, clock: Clock) -> None:
        self.service = service
        self.worker = worker
        self.sweeper = sweeper
        self.clock = clock

    # Running

    def declare(self, name: str, declared: JobType) -> None:
        """Add a job type until the test ends."""
        job_types.LOADED[name] = replace(declared, name=name)

    def enqueue(
        self, job_type: str, payload: dict[str, Any] | None = None, actor: Actor = ledger.SYSTEM, **options: Any
    ) -> Job:
        """Enqueue a job and return it; `options` are fields of `JobRequest`: tenant, key, priority, run_at, tags ...

        Raises:
            Invalid: names the fields that break a rule.
        """
        options |= {"run_at": millis(options["run_at"])} if "run_at" in options else {}
        return self.service.enqueue(JobRequest(job_type, payload or {}, **options), actor).job

    def run(self, job_type: str, payload: dict[str, Any] | None = None, **options: Any) -> Job:
        """Enqueue a job, run one attempt of it, and return the job as it is then."""
        job = self.enqueue(job_type, payload, **options)
        self._attempt([job])
        return self.get(job)

    def get(self, job: Job | str) -> Job:
        """Return a job as it is now.

        Raises:
            NotFound: it does not exist.
        """
        return self.service.job(job if isinstance(job, str) else job.id)

    def advance(self, seconds: float) -> None:
        """Move the clock. `drain` runs what is due then."""
        self.clock.advance(seconds)

    def drain(self, queue: str | None = None) -> int:
        """Run the jobs of a queue, or of all, until none is due, and return the number of attempts.

        A job that the worker does not take now (its queue is over its rate) stays for a later time.

        Raises:
            NotFound: the queue does not exist.
            AssertionError: it does not end.
        """
        if queue is not None:
            job_queues.queue(queue)
        tried: dict[str, int] = {}
        attempts = 0
        while due := [job for job in self._due(queue) if tried.get(job.id) != job.version]:
            tried |= {job.id: job.version for job in due}
            self._attempt(due)
            attempts += len(due)
            if attempts > MAX_ATTEMPTS:
                raise AssertionError(f"jobs are due without an end: {_listed(due)}")
        return attempts

    def settle(self, days: int = 8) -> None:
        """Run all jobs to their end: the clock moves on to the next one that is due, with the sweeper at work.

        Raises:
            AssertionError: jobs have not ended after that many days, or no worker takes them (their queue is paused).
        """
        end = self.clock() + days * DAY_MS
        looks: Counter[tuple[tuple[str, int], ...]] = Counter()
        while True:
            self.drain()
            unfinished = [job for job in self.all() if not job.is_terminal]
            if not unfinished:
                return
            same = tuple((job.id, job.version) for job in unfinished)
            looks[same] += 1
            if looks[same] > MAX_LOOKS:
                raise AssertionError(f"no worker takes these jobs: {_listed(unfinished)}")
            following = min(job.run_at or job.lease_until or job.due_at or 0 for job in unfinished)
            self.clock.now = max(following, self.clock() + 1000)
            if self.clock() > end:
                raise AssertionError(f"not ended after {days} days: {_listed(unfinished)}")
            self.sweeper.sweep(lambda: INVOCATION_MS)

    def _due(self, queue: str | None) -> list[Job]:
        now, paused = self.clock(), self.service.paused()
        return [
            job
            for job in self.all()
            if queue in {None, job.queue}
            and job.queue not in paused
            and (job.state is JobState.WAITING or (job.state is JobState.DELAYED and job.run_at and job.run_at <= now))
        ]

    def _attempt(self, jobs: list[Job]) -> None:
        """Run one attempt of each, a batch after the other as their queues' workers take them."""
        in_order = sorted(jobs, key=lambda job: (job.queue, job.effective_rank or ""))
        for _, members in groupby(in_order, key=lambda job: job.queue):
            messages = [JobMessage.for_job(job) for job in members]
            for start in range(0, len(messages), PARALLEL):
                self.worker.work(messages[start : start + PARALLEL], lambda: INVOCATION_MS)

    # Looking

    def all(self) -> list[Job]:
        """Return every job, oldest first."""
        store = self.service.store
        pages = store.client.get_paginator("scan").paginate(TableName=store.table)
        items = [decode(item) for page in pages for item in page["Items"]]
        return sorted((job_of(item) for item in items if item["sk"] == "J"), key=lambda job: job.id)

    def assert_enqueued(
        self,
        job_type: str,
        *,
        payload: Mapping[str, Any] | None = None,
        queue: str | None = None,
        priority: int | None = None,
        tags: Collection[str] = (),
        run_at: datetime | int | None = None,
        count: int = 1,
    ) -> list[Job]:
        """Return the jobs that were enqueued like this, in whatever state they are now.

        Args:
            job_type: its name.
            payload: values that the payload has, among others.
            queue: where it runs.
            priority: -100 to 100.
            tags: tags that it has, among others.
            run_at: when it may run, compared to the second; of a job that waits for its time (a datetime, or ms).
            count: exactly how many there are.

        Raises:
            AssertionError: another number was enqueued; says what was.
        """
        __tracebackhide__ = True
        expected = _expected(job_type, payload, queue, priority, tags, run_at)
        jobs = self.all()
        found = [job for job in jobs if expected.matches(job)]
        if len(found) != count:
            raise AssertionError(expected.failure(count, jobs))
        return found

    def refute_enqueued(
        self,
        job_type: str,
        *,
        payload: Mapping[str, Any] | None = None,
        queue: str | None = None,
        priority: int | None = None,
        tags: Collection[str] = (),
        run_at: datetime | int | None = None,
    ) -> None:
        """Check that no job was enqueued like this; arguments as for `assert_enqueued`.

        Raises:
            AssertionError: one was, or none can be: a misspelt type, queue or field would always pass.
        """
        __tracebackhide__ = True
        self.assert_enqueued(
            job_type, payload=payload, queue=queue, priority=priority, tags=tags, run_at=run_at, count=0
        )


def _expected(
    job_type: str,
    payload: Mapping[str, Any] | None,
    queue: str | None,
    priority: int | None,
    tags: Collection[str],
    run_at: datetime | int | None,
) -> Expected:
    """Return an expectation that a job can meet.

    Raises:
        AssertionError: the type, the queue or a field of the payload does not exist.
    """
    __tracebackhide__ = True
    try:
        known = job_types.find(job_type)
        if queue is not None:
            job_queues.queue(queue)
    except AppError as error:
        raise AssertionError(f"{job_type}: {error}") from None
    wrong = unknown_fields(payload or {}, _field_names(known.payload))
    if wrong and known.payload.model_config.get("extra") == "forbid":
        raise AssertionError(wrong)
    if isinstance(tags, str):
        raise TypeError("tags: must be a collection of texts")
    return Expected(job_type, payload, queue, priority, frozenset(tags), millis(run_at))


def _field_names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _listed(jobs: list[Job]) -> str:
    return ", ".join(sorted({f"{job.type} on {job.queue} ({job.state})" for job in jobs}))
