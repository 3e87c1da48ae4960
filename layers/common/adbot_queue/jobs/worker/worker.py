"""The one way to execute a job: claim, run, finish. For messages of a queue and for calls from a request alike."""

from __future__ import annotations

import json
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
from adbot_queue.jobs.model import Failure, Job, JobMode, JobState
from adbot_queue.jobs.retry import decide, failure_of
from adbot_queue.jobs.store.claims import TooEarly
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.unreadable import Unreadable, Unsupported
from adbot_queue.jobs.worker import dispatch
from adbot_queue.jobs.worker.candidates import ClaimCandidates, ReadyWindow
from adbot_queue.jobs.worker.dependents import Dependents
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.platform.rate_limits import RateLimiter

TimeLeft = Callable[[], int]

_THREADS = DaemonThreadPool()

LEASE_MARGIN_MS = 15_000
"""How much longer a claim lasts than its job may run: enough to write down the result, retries included."""

RESERVE_MS = 5_000
"""Time left of an invocation that is kept for writing down results."""

MAX_RESULT = 32 * 1024
"""Bytes of a result that are kept."""

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
        """Run one job for each message, side by side. When it returns, every message is used up.

        A job that dies with this process is found by the sweeper when its lease has run out.

        Args:
            messages: all of one queue.
            time_left: milliseconds until the process is stopped.
            full: there is a backlog, so the order among waiting jobs is looked at.
            mode: noted at the jobs.

        Raises:
            ClientError, BotoCoreError, QueueRefused: something is not written or sent; deliver the messages again.
        """
        queue = messages[0].queue
        allowed = self._within_rate(queue, messages)
        line = ClaimCandidates(
            self._store, queue, [(message.rank, message.job_id) for message in allowed], self._chance
        )
        if full:
            line.look(self._window.of(queue, len(allowed)))
        run = _Run(queue, time_left, mode, self._now() + time_left() - RESERVE_MS)
        for start in range(0, len(allowed), PARALLEL):
            self._run(self._claim(allowed[start : start + PARALLEL], line, run), run)
        self._send_passed_over(allowed, line, run)
        if run.failures:
            raise run.failures[0]

    def _send_passed_over(self, messages: Sequence[JobMessage], line: ClaimCandidates, run: _Run) -> None:
        """Delayed jobs whose messages others have used: they wait in no index, so each needs another message."""
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
        """A job for each message, as long as there are any. What goes wrong does not stop those that are claimed."""
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
        """Run the processors, and write down what has ended whenever something has, all of it in one call."""
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
        """The job as it is after an attempt that ended like this; one that cannot be judged has failed by that."""
        try:
            return self._after(job, end)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  the others that ended with it have to be written down
            logger.exception("an end could not be judged", job_id=job.id, job_type=job.type)
            return self._after(job, TaskResult(job.id, None, error))

    def _after(self, job: Job, end: TaskResult[str]) -> Job:
        if end.error is None:
            return job.completed(_storable(end.result), self._now())
        if isinstance(end.error, KeyboardInterrupt):
            raise end.error
        if isinstance(end.error, NextRun):
            now = self._now()
            return job.between_slices(now + round((end.error.retry_after or 0) * 1000), now)
        if isinstance(end.error, Suspend):
            return job.suspended(end.error.jobs, self._now())
        if isinstance(end.error, Unsupported | Unreadable):
            return _put_back(job, end.error, self._now())
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
        """Write down how an attempt ended and do what follows from it; nothing when the claim was lost meanwhile."""
        self._finish([(job, after)])

    def _finish(self, ends: Sequence[tuple[Job, Job]]) -> None:
        """The same for several, in as few calls as can be.

        Raises:
            Exception: of the first with which something went wrong, when all the others are done.
        """
        on_cancel = partial(_on_cancel, now=self._now())
        ends = [(before, on_cancel(after) if before.cancel_requested else after) for before, after in ends]
        outcomes = self._store.release_many(ends, on_cancel)
        failures = [one for one in outcomes if isinstance(one, Exception)]
        written = [one for one in outcomes if isinstance(one, Job)]
        if lost := outcomes.count(None):
            count("LeasesLost", lost)
            logger.warning("leases ran out; what the attempts did is not written down", attempts=lost)
        for state, number in Counter(map(_counted, written)).items():
            count(f"Jobs{state}", number)
        self._dispatcher.send([job for job in written if not job.is_terminal])
        stopping = {before.id for before, _ in ends if before.cancel_requested}
        for job in written:
            try:
                if job.is_terminal and job.children:
                    self._dependents.notify(job)
                elif job.blocked_by:
                    self._set_aside(job, stopping=job.id in stopping)
            except Exception as error:  # noqa: BLE001  the others must be told too
                failures.append(error)
        if failures:
            raise failures[0]

    def _set_aside(self, job: Job, *, stopping: bool) -> None:
        """Have a job wait for jobs of its own; one that was asked to stop meanwhile goes on at once, to stop them."""
        if not job.cancel_requested or stopping:
            self._dependents.register(job)
        elif woken := self._store.change(job, job.waiting(self._now())):
            self._dispatcher.send([woken])

    def _start(self, job: Job, crew: TaskGroup[str], run: _Run) -> TaskResult[str] | None:
        """Start the processor; how the attempt ended already when it cannot be started."""
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


def _on_cancel(after: Job, now: int) -> Job:
    """Return what to write instead if cancellation was requested: a job that would run again or die is cancelled.

    A job that leads others runs once more, to stop them.
    """
    goes_on = after.state in {JobState.DELAYED, JobState.WAITING} and not after.blocked_by
    if not (goes_on or after.state is JobState.DEAD) or job_types.spawns_jobs(after.type):
        return after
    return after.cancelled("cancelled while it ran", now)


_COUNTED = {
    JobState.COMPLETED: "Completed",
    JobState.FAILED: "Failed",
    JobState.DEAD: "Dead",
    JobState.CANCELLED: "Cancelled",
}


def _counted(job: Job) -> str:
    if job.state is JobState.DELAYED and job.failure and job.failure.kind == "unsupported":
        return "Unsupported"
    if job.state is JobState.DELAYED and (job.blocked_by or job.failure is None):
        return "Suspended"
    return _COUNTED.get(job.state, "Retried")


def _put_back(job: Job, error: Unsupported | Unreadable, now: int) -> Job:
    """A job that waits for another version of the code, with the reason; the log has it when it is put back first."""
    name = error.error if isinstance(error, Unsupported) else type(error).__name__
    failure = Failure("unsupported", name, str(error)[:500])
    if job.failure is None or job.failure.kind != failure.kind:
        logger.warning("job waits for another version", job_id=job.id, job_type=job.type, queue=job.queue, error=name)
    return job.put_back(failure, now)


@dataclass(frozen=True, slots=True)
class _Run:
    """What all jobs of one invocation share. `failures` are raised when all of them have ended.

    `contexts` have the jobs that were started as their last slices have left them.
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
    """Its type, and its payload as the type reads it.

    What was accepted at the door and cannot be read here is another version's: a field's new value cannot be told from
    a damaged one, so both wait.

    Raises:
        Cancelled: it is not to run any more.
        Unsupported: this version does not know its type, or cannot read its payload; the message names the fields.
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


def _storable(result: Any) -> Any:
    """The result, or a note that it is too large to be kept: the work is done either way."""
    text = json.dumps(result, default=str)
    return {"truncated": True, "bytes": len(text)} if len(text) > MAX_RESULT else json.loads(text)


@lru_cache(maxsize=1)
def from_env() -> Worker:
    """The worker of this process."""
    from adbot_queue.platform import rate_limits as limits  # noqa: PLC0415

    store = JobStore(aws.dynamodb(), settings().jobs_table)
    dispatcher = dispatch.from_env()
    name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", f"pid-{os.getpid()}")
    return Worker(store, dispatcher, Dependents(store, dispatcher), limits.from_env(), name)
