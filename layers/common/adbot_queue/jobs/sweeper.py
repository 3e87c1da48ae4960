"""The sweeper: resends lost messages, enqueues due jobs, rescues stalled ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.ids import time_of
from adbot_queue.core.telemetry import SECONDS, count, gauge, logger
from adbot_queue.jobs import job_queues, job_types, service
from adbot_queue.jobs.failure import Failure, RetryLimit
from adbot_queue.jobs.model import GRACE_MS, Job, JobMode, JobState
from adbot_queue.jobs.rank import virtual_time
from adbot_queue.jobs.retry import decide
from adbot_queue.jobs.service import JobService
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.worker import worker as execute
from adbot_queue.jobs.worker.dependents import Dependents
from adbot_queue.jobs.worker.dispatch import Dispatcher
from adbot_queue.jobs.worker.worker import Worker

PAGE = 100
"""Due jobs of a queue that are handled before the next queue's turn."""

WAITING = 1000
"""Waiting jobs of a queue that are compared with its messages."""

STARTED = 100
"""Jobs of a queue that one run starts directly while the queues are off."""

RESERVE_MS = 8_000
MINUTE_MS = 60_000

STALLED = Failure("stalled", "WorkerDied", "the lease ran out: the worker died, or was stopped", RetryLimit.ATTEMPTS)


class Sweeper:
    """Goes through every queue once."""

    def __init__(
        self,
        store: JobStore,
        dispatcher: Dispatcher,
        dependents: Dependents,
        worker: Worker,
        paused: Callable[[], AbstractSet[str]],
        now: Clock = system_clock,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._dependents = dependents
        self._worker = worker
        self._paused = paused
        self._now = now
        self._oldest = 0

    def sweep(self, time_left: Callable[[], int]) -> dict[str, int]:
        """Handle all queues, in turns while there is time; a failure does not stop the others.

        Returns:
            What was done: `stalled`, `due`, `sent` or `started`, and `failed` queues and jobs.
        """
        done = {"stalled": 0, "due": 0, "sent": 0, "started": 0, "failed": 0}
        now = self._oldest = self._now()
        turns = deque((queue, self._turns(queue, done, time_left)) for queue in in_turn(tuple(job_queues.QUEUES), now))
        while turns:
            if time_left() < RESERVE_MS:
                logger.warning("sweep stopped early", left=[queue for queue, _ in turns])
                break
            queue, turn = turns.popleft()
            try:
                next(turn)
            except StopIteration:
                continue
            except Exception:  # noqa: BLE001  whatever it is, the other queues must not wait for it
                logger.exception("queue could not be swept", queue=queue)
                done["failed"] += 1
            else:
                turns.append((queue, turn))
        gauge("OldestWaitingJob", max(0, self._now() - self._oldest) // 1000, SECONDS)
        for name, number in done.items():
            count(f"Sweep{name.title()}", number)
        return done

    def _turns(self, queue: str, done: dict[str, int], time_left: Callable[[], int]) -> Iterator[None]:
        """Yield before each further page of due jobs, so that the other queues have their turn."""
        cursor = self._sweep_page(queue, None, done, time_left)
        self._resend_lost(queue, done)
        while cursor:
            yield
            cursor = self._sweep_page(queue, cursor, done, time_left)

    def _sweep_page(
        self, queue: str, cursor: str | None, done: dict[str, int], time_left: Callable[[], int]
    ) -> str | None:
        """Handle a page of due jobs; return the cursor of the next. A job that fails stops no other."""
        now = self._now()
        ids, following = self._store.due(queue, now, PAGE, cursor)
        # The index is a moment older than the rows.
        jobs = [job for job in self._store.get_many(ids).values() if job.due_at is not None and job.due_at <= now]
        self._enqueue_due([job for job in jobs if _has_time(job)], now, done)
        for job in jobs:
            if _has_time(job):
                continue
            if time_left() < RESERVE_MS:
                break
            try:
                self._rescue_or_recheck(job, done)
            except Exception as error:  # noqa: BLE001  whatever it is, the other jobs must not wait for it
                _failed(job, error, done)
        return following

    def _enqueue_due(self, jobs: Sequence[Job], now: int, done: dict[str, int]) -> None:
        """Enqueue jobs whose time has come. They go first: they are due to the second."""
        done["due"] += len(jobs)
        written = self._store.change_many([(job, _come(job, now)) for job in jobs])
        self._dispatcher.send([one for one in written if isinstance(one, Job)])
        for job, outcome in zip(jobs, written, strict=True):
            if isinstance(outcome, Exception):
                _failed(job, outcome, done)

    def _rescue_or_recheck(self, job: Job, done: dict[str, int]) -> None:
        """Rescue a stalled job, or recheck a blocked one."""
        done["due"] += 1
        if job.state is JobState.ACTIVE:
            done["stalled"] += 1
            self._rescue_stalled(job)
        else:
            self._dependents.recheck(job)

    def _rescue_stalled(self, job: Job) -> None:
        """Finish the attempt of a dead worker: it counts, since its effect may have happened."""
        verdict = decide(job_types.policy_of(job.type, job.queue), job.attempt, STALLED, None, 0.5)
        self._worker.finish(job, job.apply_verdict(verdict, STALLED, self._now()))

    def _resend_lost(self, queue: str, done: dict[str, int]) -> None:
        """Keep at least as many messages in the queue as jobs wait."""
        places = self._store.ready(queue, WAITING)
        waiting = [job_id for _, job_id in places]
        if not waiting or queue in self._paused():
            return
        self._oldest = min(self._oldest, *(_moment(rank, self._oldest) for rank, _ in places))
        if self._dispatcher.is_direct:
            for job in self._overdue(waiting[:STARTED]):
                done["started"] += self._dispatcher.start(job, JobMode.SYNC_DIRECT)
            return
        missing = len(waiting) - self._dispatcher.backlog(queue)
        if missing <= 0:
            return
        overdue = self._overdue(waiting)[:missing]
        refused = self._dispatcher.send(overdue)
        done["sent"] += len(overdue) - len(refused)
        for job in refused[:STARTED]:
            done["started"] += self._dispatcher.start(job, JobMode.FALLBACK)

    def _overdue(self, job_ids: list[str]) -> list[Job]:
        """Return the jobs that wait longer than a message takes."""
        before = self._now() - GRACE_MS
        old = [job_id for job_id in job_ids if _made_at(job_id) <= before]
        jobs = self._store.get_many(old)
        return [jobs[job_id] for job_id in old if job_id in jobs and jobs[job_id].state is JobState.WAITING]


def in_turn(queues: Sequence[str], now: int) -> list[str]:
    """Return the queues in order, starting with another one each minute: a sweep that runs out of time skips others."""
    first = now // MINUTE_MS % len(queues)
    return [*queues[first:], *queues[:first]]


def _made_at(job_id: str) -> int:
    try:
        return time_of(job_id)
    except ValueError:
        return 0  # no id of ours: its row says what it is


def _moment(rank: str, otherwise: int) -> int:
    try:
        return virtual_time(rank)
    except ValueError:
        return otherwise


def _has_time(job: Job) -> bool:
    return job.state is JobState.DELAYED and job.run_at is not None


def _come(job: Job, now: int) -> Job:
    run_at = job.run_at or now
    return job.delayed(run_at, now) if run_at > now else job.waiting(run_at)


def _failed(job: Job, error: Exception, done: dict[str, int]) -> None:
    logger.error("job could not be swept", job_id=job.id, queue=job.queue, exc_info=error)
    done["failed"] += 1


@lru_cache(maxsize=1)
def from_env() -> Sweeper:
    """Return the sweeper of this process."""
    jobs: JobService = service.from_env()
    return Sweeper(jobs.store, jobs.dispatcher, jobs.dependents, execute.from_env(), jobs.paused)
