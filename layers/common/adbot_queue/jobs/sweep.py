"""The sweeper: jobs whose message is lost, whose time has come, whose worker died. Nothing waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import lru_cache

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.ids import time_of
from adbot_queue.core.telemetry import SECONDS, count, gauge, logger
from adbot_queue.jobs import execute, registry, service
from adbot_queue.jobs.dependents import Dependents
from adbot_queue.jobs.dispatch import Dispatcher
from adbot_queue.jobs.execute import Worker
from adbot_queue.jobs.model import GRACE_MS, Failure, Job, Mode, State, virtual_time
from adbot_queue.jobs.retry import decide
from adbot_queue.jobs.service import JobService
from adbot_queue.jobs.store import JobStore

DUE = 500
"""Jobs of a queue whose time has come that one run looks at; the next run takes the others."""

WAITING = 1000
"""Waiting jobs of a queue that are compared with its messages."""

STARTED = 100
"""Jobs of a queue that one run starts directly while the queues are switched off."""

RESERVE_MS = 8_000

STALLED = Failure("stalled", "WorkerDied", "the lease ran out: the worker died, or was stopped")


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
        """Look after all queues; one that fails does not stop the others.

        Returns:
            What was done: `stalled`, `due`, `sent` or `started`, and `failed` queues.
        """
        done = {"stalled": 0, "due": 0, "sent": 0, "started": 0, "failed": 0}
        self._oldest = self._now()
        for queue in registry.QUEUES:
            if time_left() < RESERVE_MS:
                logger.warning("sweep stopped early", next=queue)
                break
            try:
                self._due(queue, done, time_left)
                self._waiting(queue, done)
            except Exception:  # noqa: BLE001  whatever it is, the other queues must not wait for it
                logger.exception("queue could not be swept", queue=queue)
                done["failed"] += 1
        gauge("OldestWaitingJob", max(0, self._now() - self._oldest) // 1000, SECONDS)
        for name, number in done.items():
            count(f"Sweep{name.title()}", number)
        return done

    def _due(self, queue: str, done: dict[str, int], time_left: Callable[[], int]) -> None:
        now = self._now()
        jobs = self._store.get_many(self._store.due(queue, now, DUE))
        send: list[Job] = []
        for job in jobs.values():
            if time_left() < RESERVE_MS:
                break
            if job.due_at is None or job.due_at > now:
                continue  # the index is a moment older than the row
            done["due"] += 1
            if job.state is State.ACTIVE:
                done["stalled"] += 1
                self._stalled(job)
            elif job.run_at is None:
                self._dependents.look_again(job)
            else:
                after = job.delayed(job.run_at, now) if job.run_at > now else job.waiting(job.run_at)
                if written := self._store.change(job, after):
                    send.append(written)
        self._dispatcher.send(send)

    def _stalled(self, job: Job) -> None:
        """Its worker died: the attempt counts, and its effect may have happened."""
        verdict = decide(registry.policy_of(job.type, job.queue), job.attempt, STALLED, None, 0.5)
        self._worker.finish(job, job.judged(verdict, STALLED, self._now()))

    def _waiting(self, queue: str, done: dict[str, int]) -> None:
        """Have no fewer messages in the queue than jobs that wait."""
        places = self._store.ready(queue, WAITING)
        waiting = [job_id for _, job_id in places]
        if not waiting or queue in self._paused():
            return
        self._oldest = min(self._oldest, *(virtual_time(rank) for rank, _ in places))
        if self._dispatcher.is_direct:
            for job in self._overdue(waiting[:STARTED]):
                done["started"] += self._dispatcher.start(job, Mode.SYNC_DIRECT)
            return
        missing = len(waiting) - self._dispatcher.backlog(queue)
        if missing <= 0:
            return
        overdue = self._overdue(waiting)[:missing]
        refused = self._dispatcher.send(overdue)
        done["sent"] += len(overdue) - len(refused)
        for job in refused[:STARTED]:
            done["started"] += self._dispatcher.start(job, Mode.FALLBACK)

    def _overdue(self, job_ids: list[str]) -> list[Job]:
        """Those that wait for longer than a message takes."""
        before = self._now() - GRACE_MS
        old = [job_id for job_id in job_ids if time_of(job_id) <= before]
        jobs = self._store.get_many(old)
        return [jobs[job_id] for job_id in old if job_id in jobs and jobs[job_id].state is State.WAITING]


@lru_cache(maxsize=1)
def from_env() -> Sweeper:
    """The sweeper of this process."""
    jobs: JobService = service.from_env()
    return Sweeper(jobs.store, jobs.dispatcher, jobs.dependents, execute.from_env(), jobs.paused)
