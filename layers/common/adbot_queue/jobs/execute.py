"""The one way to execute a job: claim, run, finish. For messages of a queue and for calls from a request alike."""

from __future__ import annotations

import json
import os
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from adbot_queue.core import aws
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import dispatch, registry
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.dependents import Dependents
from adbot_queue.jobs.dispatch import Dispatcher
from adbot_queue.jobs.model import Job, Mode, State
from adbot_queue.jobs.order import choose
from adbot_queue.jobs.registry import JobType
from adbot_queue.jobs.retry import Cancelled, Permanent, Postponed, Transient, decide, failure_of
from adbot_queue.jobs.store import JobStore, TooEarly
from adbot_queue.system.limits import Limits

TimeLeft = Callable[[], int]

LEASE_MARGIN_MS = 15_000
"""How much longer a claim lasts than its job may run: enough to write down the result, retries included."""

RESERVE_MS = 5_000
"""Time left of an invocation that is kept for writing down results."""

WINDOW = 40
"""Waiting jobs that a full batch looks at to keep the order."""

MOST_RESULT = 32 * 1024
"""Bytes of a result that are kept."""

PARALLEL = 10
"""Jobs of a batch that run at once."""


@dataclass(frozen=True, slots=True)
class Permit:
    """One message, or one call: one job of the queue may run, as a rule this one."""

    job_id: str
    queue: str
    rank: str | None = None


class Worker:
    """Runs jobs of one queue."""

    def __init__(
        self,
        store: JobStore,
        dispatcher: Dispatcher,
        dependents: Dependents,
        limits: Limits,
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
        self._one_by_one = threading.Lock()
        self._pool = ThreadPoolExecutor(PARALLEL)  # kept: an invocation finds the threads of the one before

    def work(
        self, permits: Sequence[Permit], time_left: TimeLeft, *, full: bool = False, mode: Mode = Mode.ASYNC_QUEUE
    ) -> None:
        """Run one job for each permit, side by side. When it returns, every permit is used up.

        A job that dies with this process is found by the sweeper when its lease has run out.

        Args:
            permits: all of one queue.
            time_left: milliseconds until the process is stopped.
            full: there is a backlog, so the order among waiting jobs is looked at.
            mode: noted at the jobs.

        Raises:
            ClientError, BotoCoreError: of a claim; deliver the messages again.
        """
        queue = permits[0].queue
        allowed = self._within_rate(queue, permits)
        line = _Line(self._store, queue, allowed, self._chance)
        if full:
            line.look()
        run = _Run(time_left, mode, self._now() + time_left() - RESERVE_MS)
        if len(allowed) < 2 or PARALLEL < 2:  # noqa: PLR2004  nothing to do side by side
            for permit in allowed:
                self._slot(permit, line, run)
            return
        slots = [self._pool.submit(self._slot, permit, line, run) for permit in allowed]
        wait(slots)
        for slot in slots:
            slot.result()

    def _within_rate(self, queue: str, permits: Sequence[Permit]) -> Sequence[Permit]:
        """Those permits that the queue's rate allows now; the others are sent again for later, at no attempt's cost."""
        rate = registry.QUEUES[queue].rate
        if rate is None:
            return permits
        allowed: list[Permit] = []
        for permit in permits:
            taken = self._limits.take(f"queue:{queue}", rate)
            if taken.allowed:
                allowed.append(permit)
                continue
            count("JobsRateLimited")
            self._again(permit, taken.retry_after_s)
        return allowed

    def _again(self, permit: Permit, seconds: float) -> None:
        self._dispatcher.send_again(permit.job_id, permit.queue, permit.rank, seconds)

    def _slot(self, permit: Permit, line: _Line, run: _Run) -> None:
        """Use up one permit."""
        longest = registry.longest_run_ms(permit.queue)
        while job_id := line.next():
            now = self._now()
            if run.time_left() < longest + RESERVE_MS:
                self._again(permit, 0)
                return
            lease = time_ordered_id(now)
            try:
                job = self._store.claim(
                    job_id, permit.queue, self._name, lease, now, now + longest + LEASE_MARGIN_MS, run.mode
                )
            except TooEarly as early:
                self._dispatcher.send([early.job])
                return
            if job:
                self._run(job, run)
                return
            count("ClaimsRefused")

    def _run(self, job: Job, run: _Run) -> None:
        logger.append_context_keys(job_id=job.id, job_type=job.type, queue=job.queue)
        retry_after: float | None = None
        try:
            result = self._process(job, run)
        except Exception as error:  # noqa: BLE001  whatever a processor raises is a verdict on its job
            failure, retry_after = failure_of(error)
            verdict = decide(
                registry.policy_of(job.type, job.queue), job.attempt, failure, retry_after, self._chance.random()
            )
            after = job.judged(verdict, failure, self._now())
            logger.info("attempt failed", kind=failure.kind, error=failure.error, state=after.state.value)
        else:
            after = job.completed(_storable(result), self._now())
        self.finish(job, after)

    def finish(self, job: Job, after: Job) -> None:
        """Write down how an attempt ended and do what follows from it; nothing when the claim was lost meanwhile."""
        written = self._store.release(job, after)
        if written is None:
            count("LeasesLost")
            logger.warning("the lease ran out; what the attempt did is not written down")
            return
        count(f"Jobs{_COUNTED.get(written.state, 'Retried')}")
        if written.is_terminal:
            if written.children:
                self._dependents.tell(written)
        else:
            self._dispatcher.send([written])

    def _process(self, job: Job, run: _Run) -> Any:
        """The processor's result.

        Raises:
            Exception: what the processor raised, or why it was not called.
        """
        if job.cancel_requested:
            raise Cancelled("cancelled before it ran")
        known = _type_of(job)
        try:
            payload = known.load_payload().model_validate_json(json.dumps(job.payload))
        except ValidationError as error:
            names = ", ".join(".".join(map(str, entry["loc"])) for entry in error.errors(include_url=False))
            raise Permanent(f"the payload does not fit its type any more: {names}") from error
        deadline = min(self._now() + known.timeout_s * 1000, run.deadline)
        processor = known.load_processor()
        context = Context(
            job.id,
            job.attempt,
            job.provider_key,
            deadline,
            self._now,
            lambda: self._is_cancelled(job),
            _reporter(self, job),
            job.created_at,
        )
        if known.parallel:
            return _within(context.seconds_left(), lambda: processor(payload, context))
        if not self._one_by_one.acquire(timeout=max(0.0, run.time_left() / 1000 - known.timeout_s)):
            raise Postponed("others of its type are running here", 1)
        try:
            return _within(known.timeout_s, lambda: processor(payload, context))
        finally:
            self._one_by_one.release()

    def _is_cancelled(self, job: Job) -> bool:
        found = self._store.get(job.id)
        return found is None or found.lease != job.lease or found.cancel_requested

    def report(self, job: Job, percent: int, note: str) -> None:
        """Write down how far an active job is."""
        self._store.report(job, {"percent": percent, "note": note, "at": self._now()})


_COUNTED = {State.COMPLETED: "Completed", State.FAILED: "Failed", State.DEAD: "Dead", State.CANCELLED: "Cancelled"}


@dataclass(frozen=True, slots=True)
class _Run:
    """What all jobs of one invocation share."""

    time_left: TimeLeft
    mode: Mode
    deadline: int


class _Line:
    """The jobs that an invocation may claim, in order, for all its threads."""

    def __init__(self, store: JobStore, queue: str, permits: Sequence[Permit], chance: random.Random) -> None:
        self._store = store
        self._queue = queue
        self._permits = permits
        self._chance = chance
        self._ids = deque(permit.job_id for permit in permits)
        self._seen = {permit.job_id for permit in permits}
        self._looked = False
        self._lock = threading.Lock()

    def look(self) -> None:
        """Let waiting jobs that go first pass."""
        self._looked = True
        window = self._store.ready(self._queue, WINDOW)
        own = [(permit.rank, permit.job_id) for permit in self._permits]
        first, then = choose(own, window, self._chance.shuffle)
        self._ids = deque([*first, *then])
        self._seen.update(self._ids)

    def next(self) -> str | None:
        """The next to claim; when those that were named are taken, whichever waits."""
        with self._lock:
            if not self._ids and not self._looked:
                self._looked = True
                others = [job_id for _, job_id in self._store.ready(self._queue, WINDOW) if job_id not in self._seen]
                self._chance.shuffle(others)
                self._ids.extend(others)
            return self._ids.popleft() if self._ids else None


def _type_of(job: Job) -> JobType:
    known = registry.TYPES.get(job.type)
    if known is None:
        raise Transient(f"this version of the worker knows no type {job.type}")
    return known


def _reporter(worker: Worker, job: Job) -> Callable[[int, str], None]:
    return lambda percent, note: worker.report(job, percent, note)


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """Its result, if it comes in time.

    A thread cannot be stopped: one that is too late goes on until its own timeouts end it, and what it still does at a
    provider is covered by the idempotency key.

    Raises:
        TimeoutError: it took too long.
    """
    outcome: dict[str, Any] = {}

    def target() -> None:
        try:
            outcome["result"] = call()
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            outcome["error"] = error

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"did not end within {seconds:.0f} s")
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def _storable(result: Any) -> Any:
    """The result, or a note that it is too large to be kept: the work is done either way."""
    text = json.dumps(result, default=str)
    return {"truncated": True, "bytes": len(text)} if len(text) > MOST_RESULT else json.loads(text)


@lru_cache(maxsize=1)
def from_env() -> Worker:
    """The worker of this process."""
    from adbot_queue.system import limits  # noqa: PLC0415

    store = JobStore(aws.dynamodb(), settings().jobs_table)
    dispatcher = dispatch.from_env()
    name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", f"pid-{os.getpid()}")
    return Worker(store, dispatcher, Dependents(store, dispatcher), limits.from_env(), name)
