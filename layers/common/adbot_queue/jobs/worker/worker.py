"""The one way to execute a job: claim, run, finish. Used for messages and for direct calls."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.core.queues import QueueRefused
from adbot_queue.core.settings import settings
from adbot_queue.core.task_group import DaemonThreadPool, TaskGroup, TaskResult
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import job_queues, job_types
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import Cancelled, Snooze, Suspend, TransientError
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.long_running import Effects, NextRun, commit
from adbot_queue.jobs.model import Job, JobMode
from adbot_queue.jobs.retry import decide, failure_of
from adbot_queue.jobs.store.claims import TooEarly
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.unreadable import Unreadable, Unsupported
from adbot_queue.jobs.worker import dispatch, outcomes
from adbot_queue.jobs.worker.candidates import ClaimCandidates, ReadyWindow
from adbot_queue.jobs.worker.dependents import Dependents
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.platform.rate_limits import RateLimiter

TimeLeft = Callable[[], int]

_THREADS = DaemonThreadPool()

LEASE_MARGIN_MS = 15_000
"""How much longer a lease lasts than its job may run: time to write the result, with retries."""

RESERVE_MS = 5_000
"""Milliseconds of an invocation reserved for writing results."""

PARALLEL = 10
"""Jobs of a batch that are claimed together and run at once."""


class Worker:
    """Runs jobs of one queue."""

    def __init__(
        self,
        store: JobStore,
        dispatcher: Dispatcher,
        dependents: Dependents,
        limits: RateLimiter,
        name: str,
        now: Clock = system_clock,
        chance: random.Random | None = None,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._dependents = dependents
        self._limits = limits
        self._name = name
        self._now = now
        self._chance = chance or random.SystemRandom()
        self._window = ReadyWindow(store, now)

    def work(
        self,
        messages: Sequence[JobMessage],
        time_left: TimeLeft,
        *,
        full: bool = False,
        mode: JobMode = JobMode.ASYNC_QUEUE,
    ) -> None:
        """Run one job for each message, in parallel. When it returns, every message may be deleted.

        The sweeper finds a job that dies with this process when its lease expires.

        Args:
            messages: all of one queue.
            time_left: milliseconds until the process is stopped.
            full: there is a backlog, so the order among waiting jobs counts.
            mode: recorded in the jobs.

        Raises:
            ClientError, BotoCoreError, QueueRefused: a write or a send failed; deliver the messages again.
        """
        queue = messages[0].queue
        allowed = self._within_rate(queue, messages)
        line = ClaimCandidates(
            self._store, queue, [(message.rank, message.job_id) for message in allowed], self._chance
        )
        if full:
            line.rerank(self._window.of(queue, len(allowed)))
        run = _Run(queue, time_left, mode, self._now() + time_left() - RESERVE_MS)
        for start in range(0, len(allowed), PARALLEL):
            self._run(self._claim(allowed[start : start + PARALLEL], line, run), run)
        self._send_passed_over(allowed, line, run)
        if run.failures:
            raise run.failures[0]

    def _send_passed_over(self, messages: Sequence[JobMessage], line: ClaimCandidates, run: _Run) -> None:
        """Resend the messages of delayed jobs that were passed over: no index lists these jobs."""
        try:
            for message in messages:
                if message.delayed and message.job_id in line:
                    self._again(message, 0)
        except QueueRefused as error:
            run.failures.append(error)

    def _within_rate(self, queue: str, messages: Sequence[JobMessage]) -> Sequence[JobMessage]:
        """Return the messages that the queue's rate allows now; send the others again for later, no attempt spent."""
        rate = job_queues.QUEUES[queue].rate
        if rate is None:
            return messages
        allowed: list[JobMessage] = []
        for message in messages:
            taken = self._limits.acquire(f"queue:{queue}", rate)
            if taken.allowed:
                allowed.append(message)
                continue
            count("JobsRateLimited")
            self._again(message, taken.retry_after_s)
        return allowed

    def _again(self, message: JobMessage, seconds: float) -> None:
        self._dispatcher.send_again(message.queue, message.to_message(), seconds)

    def _claim(self, messages: Sequence[JobMessage], line: ClaimCandidates, run: _Run) -> list[Job]:
        """Claim a job for each message while any wait. An error does not stop the jobs that are claimed already."""
        taken: list[Job] = []
        free = len(messages)
        longest = 1000 * job_queues.QUEUES[run.queue].max_run_s
        try:
            while free and (ids := line.next(free)):
                if run.time_left() < longest + RESERVE_MS:
                    for message in messages[-free:]:
                        self._again(message, 0)
                    break
                now = self._now()
                claimed = self._store.claim_many(
                    ids,
                    run.queue,
                    self._name,
                    time_ordered_id(now),
                    now,
                    now + longest + LEASE_MARGIN_MS,
                    run.mode,
                )
                taken += [one for one in claimed if isinstance(one, Job)]
                run.failures.extend(
                    one for one in claimed if isinstance(one, Exception) and not isinstance(one, TooEarly)
                )
                self._dispatcher.send([one.job for one in claimed if isinstance(one, TooEarly)])
                refused = claimed.count(None)
                count("ClaimsRefused", refused)
                free -= len(claimed) - refused
                self._window.claimed(ids, fresh=not refused)
        except (ClientError, BotoCoreError, QueueRefused) as error:
            run.failures.append(error)
        return taken

    def _run(self, jobs: Sequence[Job], run: _Run) -> None:
        """Run the handlers, and write all that have ended in one call each time."""
        crew: TaskGroup[str] = TaskGroup(_THREADS)
        by_id = {job.id: job for job in jobs}
        ended = [end for job in jobs if (end := self._start(job, crew, run))]
        while ended or crew:
            ended = ended or crew.wait()
            try:
                ends = [(run.current(by_id[end.name]), end) for end in ended]
                self._finish([(job, self._verdict_on(job, end)) for job, end in ends])
            except Exception as error:  # noqa: BLE001  the others have to be finished first
                run.failures.append(error)
            ended = []

    def _verdict_on(self, job: Job, end: TaskResult[str]) -> Job:
        """Return the job after its attempt; an attempt without a verdict is a failed one."""
        try:
            return self._after(job, end)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  the others that ended with it have to be written down
            logger.exception("attempt has no verdict", job_id=job.id, job_type=job.type)
            return self._after(job, TaskResult(job.id, None, error))

    def _after(self, job: Job, end: TaskResult[str]) -> Job:
        if end.error is None:
            return job.completed(outcomes.storable(end.result), self._now())
        if isinstance(end.error, KeyboardInterrupt):
            raise end.error
        if isinstance(end.error, NextRun):
            now = self._now()
            return job.between_slices(now + round((end.error.retry_after or 0) * 1000), now)
        if isinstance(end.error, Suspend):
            return job.suspended(end.error.jobs, self._now())
        if isinstance(end.error, Unsupported | Unreadable):
            return outcomes.put_back(job, end.error, self._now())
        failure, retry_after = failure_of(end.error)
        now = self._now()
        policy = job_types.policy_of(job.type, job.queue)
        after = job.apply_verdict(
            decide(policy, job.attempt, failure, retry_after, self._chance.random(), job.age_ms(now)), failure, now
        )
        logger.info(
            "attempt failed",
            job_id=job.id,
            job_type=job.type,
            queue=job.queue,
            kind=failure.kind,
            error=failure.error,
            state=after.state.value,
        )
        return after

    def finish(self, job: Job, after: Job) -> None:
        """Write how an attempt ended, and what follows from it; nothing if the lease was lost."""
        self._finish([(job, after)])

    def _finish(self, ends: Sequence[tuple[Job, Job]]) -> None:
        """Finish several jobs in as few calls as possible.

        Raises:
            Exception: the first error, after the other jobs are finished.
        """
        on_cancel = partial(outcomes.on_cancel, now=self._now())
        ends = [(before, on_cancel(after) if before.cancel_requested else after) for before, after in ends]
        released = self._store.release_many(ends, on_cancel)
        failures = [one for one in released if isinstance(one, Exception)]
        written = [one for one in released if isinstance(one, Job)]
        if lost := released.count(None):
            count("LeasesLost", lost)
            logger.warning("leases lost; the results of these attempts are not written", attempts=lost)
        for state, number in Counter(map(outcomes.metric_of, written)).items():
            count(f"Jobs{state}", number)
        self._dispatcher.send([job for job in written if not job.is_terminal])
        stopping = {before.id for before, _ in ends if before.cancel_requested}
        for job in written:
            try:
                if job.is_terminal and job.children:
                    self._dependents.notify(job)
                elif job.blocked_by:
                    self._suspend(job, stopping=job.id in stopping)
            except Exception as error:  # noqa: BLE001  the others must be notified too
                failures.append(error)
        if failures:
            raise failures[0]

    def _suspend(self, job: Job, *, stopping: bool) -> None:
        """Block a job until jobs of its own end; if cancellation was requested, run it at once, to stop them."""
        if not job.cancel_requested or stopping:
            self._dependents.register(job)
        elif woken := self._store.change(job, job.waiting(self._now())):
            self._dispatcher.send([woken])

    def _start(self, job: Job, crew: TaskGroup[str], run: _Run) -> TaskResult[str] | None:
        """Start the handler; return the result if it cannot be started."""
        try:
            known, payload = _prepared(job)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  a verdict on this job like what a processor raises
            return TaskResult(job.id, None, error)
        deadline = min(self._now() + known.timeout_s * 1000, run.deadline)
        context = Context(
            job.id,
            job.attempt,
            job.provider_key,
            deadline,
            self._now,
            lambda: self._is_cancelled(job),
            partial(self._set_progress, job),
            tenant=job.tenant,
            job=job,
            save_checkpoint=partial(self._save_checkpoint, job),
            created_at=job.created_at,
        )
        context.commit_slice = partial(self._commit_slice, context)
        run.contexts[job.id] = context

        def call() -> Any:
            logger.thread_safe_append_keys(job_id=job.id, job_type=job.type, queue=job.queue)
            if not known.parallel and run.time_left() < known.timeout_s * 1000:
                raise Snooze("others of its type were running here", 1)
            return known.run(payload, context)

        seconds = context.seconds_left() if known.parallel else known.timeout_s
        crew.start(job.id, call, seconds, exclusive=not known.parallel)
        return None

    def _is_cancelled(self, job: Job) -> bool:
        found = self._store.get(job.id)
        return found is None or found.lease != job.lease or found.cancel_requested

    def _save_checkpoint(self, job: Job, checkpoint: dict[str, Any]) -> None:
        if not self._store.save_checkpoint(job, checkpoint):
            raise TransientError("the lease ran out")

    def _commit_slice(self, context: Context, checkpoint: dict[str, Any], effects: Effects | None) -> None:
        assert context.job  # noqa: S101  the worker gave it
        context.job = commit(self._store, context.job, checkpoint, effects)

    def _set_progress(self, job: Job, percent: int, note: str) -> None:
        self._store.set_progress(job, {"percent": percent, "note": note})


@dataclass(frozen=True, slots=True)
class _Run:
    """What the jobs of one invocation share. `failures` are raised after all jobs have ended.

    `contexts` hold the started jobs as their last slices have left them.
    """

    queue: str
    time_left: TimeLeft
    mode: JobMode
    deadline: int
    failures: list[Exception] = field(default_factory=list)
    contexts: dict[str, Context] = field(default_factory=dict)

    def current(self, job: Job) -> Job:
        """Return a job as its last slice has left it."""
        context = self.contexts.get(job.id)
        return context.job if context and context.job else job


def _prepared(job: Job) -> tuple[JobType, Any]:
    """Return the job's type and its payload.

    A payload that was valid when enqueued and is not readable here belongs to another version, or is damaged; a new
    value of a field cannot be distinguished from damage, so both wait.

    Raises:
        Cancelled: cancellation was requested.
        Unsupported: this version does not know the type or cannot read the payload; the message names the fields.
    """
    if job.cancel_requested and not (job.has_started and job_types.spawns_jobs(job.type)):
        raise Cancelled("cancelled before it ran")
    known = job_types.get(job.type)
    if known is None:
        raise Unsupported("UnknownType", f"this version knows no job type {job.type}")
    try:
        return known, known.read(job.payload)
    except ValidationError as error:
        names = ", ".join(".".join(map(str, entry["loc"])) for entry in error.errors(include_url=False))
        raise Unsupported("UnknownPayload", f"this version cannot read of the payload: {names}") from error


@lru_cache(maxsize=1)
def from_env() -> Worker:
    """The worker of this process."""
    from adbot_queue.platform import rate_limits as limits  # noqa: PLC0415

    store = JobStore(aws.dynamodb(), settings().jobs_table)
    dispatcher = dispatch.from_env()
    name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", f"pid-{os.getpid()}")
    return Worker(store, dispatcher, Dependents(store, dispatcher), limits.from_env(), name)
