"""The sweeper's part for schedules: the ticks of the next two minutes become delayed jobs.

A tick, its job and how far the schedule is decided are one transaction, on condition that the schedule is as it was
read. So a tick is one job, whatever dies and however many sweepers run. The jobs are due at once: the sweep of jobs
that follows, or the next one, sends their messages, which SQS delays to the second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.conflicts import retry_on_conflict
from adbot_queue.core.errors import Invalid
from adbot_queue.core.ids import derived_time_ordered_id
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue.payloads import check_payload
from adbot_queue.jobs.enqueue.request import JobRequest
from adbot_queue.jobs.model import SEND_AHEAD_MS, Job
from adbot_queue.schedules import store as schedule_store
from adbot_queue.schedules.model import Schedule
from adbot_queue.schedules.plan import LOOKAHEAD_MS, Decision, decide
from adbot_queue.schedules.records import Settlement, StaleVersion
from adbot_queue.schedules.store import ScheduleStore
from adbot_queue.schedules.ticks import Tick, TickOutcome

PAGE_SIZE = 100

MAX_TICKS = 25
"""Ticks in one transaction: with their jobs and rows 75 items of its 100, and less than its 4 MB with the largest
payloads."""

RESERVE_MS = 5_000

MAX_PROBLEM = 500

TimeLeft = Callable[[], int]
NeedsOwner = Callable[[str, dict[str, Any]], str | None]


class ScheduleTrigger:
    """Turns due ticks into jobs."""

    def __init__(self, store: ScheduleStore, needs_owner: NeedsOwner, now: Clock = system_clock) -> None:
        self._store = store
        self._needs_owner = needs_owner
        self._now = now

    def trigger_due(self, time_left: TimeLeft) -> int:
        """Decide about all ticks that are due or come within `LOOKAHEAD_MS`, as long as there is time.

        The number of calls depends on the schedules that are due, not on the others. A schedule that fails stops no
        other one.

        Returns:
            How many schedules were due.
        """
        due, cursor, now = 0, None, self._now()
        while time_left() > RESERVE_MS:
            page = self._store.due(now + LOOKAHEAD_MS, PAGE_SIZE, cursor)
            due += len(page.schedules) + page.unreadable
            self._trigger(page.schedules, time_left)
            cursor = page.next
            if cursor is None:
                return due
        logger.warning("schedules are left to the next run", due=due)
        return due

    def _trigger(self, schedules: Iterable[Schedule], time_left: TimeLeft) -> None:
        waiting = deque(schedules)
        while waiting and time_left() > RESERVE_MS:
            batch: list[Settlement] = []
            size = 0
            while waiting and size < MAX_TICKS:
                settlement = self._settlement(waiting.popleft(), MAX_TICKS - size)
                if settlement is None:
                    continue
                batch.append(settlement)
                size += max(1, len(settlement.ticks))
            # What did not fit goes on from where this ends.
            waiting.extendleft(one.after for one in self._write(batch) if self._is_due(one.after))

    def _is_due(self, schedule: Schedule) -> bool:
        return schedule.next_check_at is not None and schedule.next_check_at <= self._now() + LOOKAHEAD_MS

    def _settlement(self, schedule: Schedule, limit: int) -> Settlement | None:
        """Return what to write about a schedule's due ticks, at most `limit` of them; None if there is nothing."""
        try:
            now = self._now()
            decision = decide(schedule.recurrence, schedule.spec.missed_policy, schedule.decided_until, now)
            settlement = self._settled(schedule, decision, limit, now)
        except Exception as error:  # noqa: BLE001  whatever it is, the other schedules must not wait for it
            _failed(schedule.name, error)
            return None
        return settlement if settlement.after != schedule else None

    def _settled(self, schedule: Schedule, decision: Decision, limit: int, now: int) -> Settlement:
        ticks: list[Tick] = []
        jobs: list[Job] = []
        if decision.last_skipped is not None:
            more = " and more" if decision.more else ""
            detail = f"missed since {iso(decision.first_skipped or 0)}{more}"
            ticks.append(Tick(decision.last_skipped, TickOutcome.SKIPPED, count=decision.skipped, detail=detail))
        runs = decision.runs[: limit - len(ticks)]
        until = decision.decided_until if len(runs) == len(decision.runs) else [decision.last_skipped, *runs][-1]
        refusal, problem = self._refusal(schedule) if runs else (None, schedule.problem)
        for at in runs:
            if refusal:
                ticks.append(Tick(at, TickOutcome.REFUSED, detail=refusal))
                continue
            job = _job_of(schedule, at, now)
            outcome = TickOutcome.CAUGHT_UP if at in decision.caught_up else TickOutcome.RAN
            ticks.append(Tick(at, outcome, job.id))
            jobs.append(job)
        return Settlement(schedule, schedule.decided(until or schedule.decided_until, problem), ticks, jobs)

    def _refusal(self, schedule: Schedule) -> tuple[str | None, str | None]:
        """Return why its job is refused, if it is; and what is wrong with the schedule, which is more than that."""
        spec = schedule.spec
        known = job_types.get(spec.type)
        if known is None:
            return None, f"this version knows no job type {spec.type}; its jobs wait for a version that does"
        try:
            check_payload(known, spec.payload, ignore_unknown=True)
            reason = None if spec.by_owner else self._needs_owner(spec.type, spec.payload)
        except Invalid as error:
            reason = error.detail
        refusal = reason[:MAX_PROBLEM] if reason else None
        return refusal, refusal

    def _write(self, batch: Sequence[Settlement]) -> list[Settlement]:
        """Write settlements together; return those that are written. What changed meanwhile is left to the next run."""
        left = list(batch)
        while left:
            try:
                retry_on_conflict(partial(self._store.settle, left, self._now()))
            except StaleVersion as stale:
                left = [one for one in left if one.before.name not in stale.names]
            except Exception as error:  # noqa: BLE001  one that cannot be written must not keep the others
                if len(left) > 1:
                    return [written for one in left for written in self._write([one])]
                _failed(left[0].before.name, error)
                return []
            else:
                _count(left)
                return left
        return []


def _job_of(schedule: Schedule, at: int, now: int) -> Job:
    """Return the job of a tick. Its id is derived: the same tick of the same version is the same job."""
    new, known = job_request(schedule), job_types.get(schedule.spec.type)
    job = Job(
        derived_time_ordered_id(at, schedule.id, str(schedule.version)),
        new.type,
        known.queue if known else schedule.job_queue,
        new.payload,
        now,
        priority=new.priority,
        tags=new.tags,
        idempotency_key=f"schedule:{schedule.name}:{iso(at)}",
    )
    # The sweep of jobs sends its message.
    return replace(job.delayed(at, now), due_at=at - SEND_AHEAD_MS)


def job_request(schedule: Schedule, key: str | None = None, tenant: str = "system") -> JobRequest:
    """Return the job that a schedule asks for."""
    spec = schedule.spec
    tags = (*spec.tags, f"schedule:{schedule.name}")
    return JobRequest(spec.type, spec.payload, tenant, key, spec.priority, tags=tags, accepted=True)


def _count(settlements: Sequence[Settlement]) -> None:
    ticks = [tick for one in settlements for tick in one.ticks]
    for metric, outcomes in _METRICS.items():
        if number := sum(tick.count for tick in ticks if tick.outcome in outcomes):
            count(metric, number)
    for one in settlements:
        if one.after.problem and one.ticks:
            logger.warning("schedule has a problem", schedule=one.after.name, problem=one.after.problem)


_METRICS = {
    "TicksRun": {TickOutcome.RAN, TickOutcome.CAUGHT_UP},
    "JobsEnqueued": {TickOutcome.RAN, TickOutcome.CAUGHT_UP},
    "ScheduleTicksMissed": {TickOutcome.CAUGHT_UP, TickOutcome.SKIPPED},
    "TicksSkipped": {TickOutcome.SKIPPED},
    "TicksRefused": {TickOutcome.REFUSED},
}


def _failed(name: str, error: Exception) -> None:
    logger.error("schedule could not be checked", schedule=name, exc_info=error)
    count("SchedulesFailed")


@lru_cache(maxsize=1)
def from_env(needs_owner: NeedsOwner) -> ScheduleTrigger:
    """The trigger of this installation's schedules."""
    return ScheduleTrigger(schedule_store.from_env(), needs_owner)
