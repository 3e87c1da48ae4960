"""What schedules do: their ticks become jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol

from adbot_queue import ledger as ledgers
from adbot_queue.core.clock import Clock, instant, iso, system_clock
from adbot_queue.core.errors import AppError, RateLimited, Unavailable
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import schedule_store, service, telling
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.schedule_model import Outcome, Schedule, Tick, is_name
from adbot_queue.jobs.schedule_store import TELL_MS, Lost, ScheduleStore, look_at
from adbot_queue.jobs.service import Enqueued, NewJob
from adbot_queue.jobs.telling import Teller
from adbot_queue.jobs.ticks import Decision, decide
from adbot_queue.ledger import Actor
from adbot_queue.system.limits import Taken

RACES = 5

LOOKED_AT = 25
"""Schedules that one run of the sweeper looks at; the others are looked at by the next."""

CHUNK = 50
"""Ticks written down at once; after a crash no more than these are enqueued again, which finds them enqueued."""

RESERVE_MS = 10_000

TimeLeft = Callable[[], int]


class Jobs(Protocol):
    """The door of the jobs, as far as schedules use it."""

    def admit(self, tenant: str) -> Taken:
        """Take the token for a new job of a person."""

    def enqueue(
        self, new: NewJob, actor: Actor, time_left: TimeLeft | None = None, taken: Taken | None = None
    ) -> Enqueued:
        """Create a job; the same key means the same job."""

    def job(self, job_id: str) -> Job:
        """One job."""


class Ticking:
    """Enqueues what is due, and mends what was not told or not rung for."""

    def __init__(self, store: ScheduleStore, teller: Teller, jobs: Jobs, now: Clock = system_clock) -> None:
        self._store = store
        self._teller = teller
        self._jobs = jobs
        self._now = now

    def tick(self, message: dict[str, Any], time_left: TimeLeft) -> list[Tick]:
        """EventBridge Scheduler rings: enqueue what is due.

        Args:
            message: `schedule`, `version`, `scheduled_time`: what `scheduler.request_of` has put into its input.
            time_left: milliseconds.

        Returns:
            What became of the ticks that were decided now.
        """
        name = str(message["schedule"])
        schedule = self._store.get(name)
        if schedule is None:
            logger.warning("a tick of a schedule that is gone", schedule=name)
            self._teller.take_down(name)
            return []
        if not schedule.in_step or message.get("version") != schedule.version:
            told = self._teller.tell(schedule, again=True)
            if told.deleted:
                return []
            schedule = told
        return self._settle(schedule, _delivered(message.get("scheduled_time")), time_left)

    def reconcile(self, time_left: TimeLeft, limit: int = LOOKED_AT) -> int:
        """For the sweeper: tell EventBridge Scheduler what it was not told, decide about ticks that never came.

        Returns:
            How many schedules needed it.
        """
        names = self._store.due(self._now(), limit)
        for name in names:
            if time_left() < RESERVE_MS:
                break
            try:
                self._mend(name, time_left)
            except Exception:  # noqa: BLE001  whatever it is, the other schedules must not wait for it
                logger.exception("schedule could not be mended", schedule=name)
                count("SchedulesFailed")
        return len(names)

    def _mend(self, name: str, time_left: TimeLeft) -> None:
        schedule = self._store.get(name)
        if schedule is None:
            return
        at = look_at(schedule)
        if schedule.in_step and (at is None or at > self._now()):
            return  # the index is a moment older than the row
        if schedule.is_live and schedule.in_step:
            # Why did nobody ring? Perhaps there is no bell any more; telling it again mends that.
            logger.warning("a schedule did not tick", schedule=name)
            count("SchedulesSilent")
        else:
            count("SchedulesOutOfStep")
        schedule = self._teller.tell(schedule, again=True)
        if not schedule.in_step:
            self._store.put_off(schedule, self._now() + TELL_MS)
        if schedule.is_live:
            self._settle(schedule, None, time_left)

    def _settle(self, schedule: Schedule, delivered: int | None, time_left: TimeLeft) -> list[Tick]:
        """Decide about the ticks since the last look, and do it."""
        found: Schedule | None = schedule
        for _ in range(RACES):
            if found is None or not found.is_live:
                return []
            now = self._now()
            decision = decide(found.plan, found.wanted.missed_policy, found.seen, now, delivered)
            if decision.seen == found.seen:
                return []
            try:
                return self._carry_out(found, decision, now, time_left)
            except Lost:
                found = self._store.get(found.name)
        raise Unavailable(f"schedule {schedule.name} keeps changing")

    def _carry_out(self, schedule: Schedule, decision: Decision, now: int, time_left: TimeLeft) -> list[Tick]:
        done: list[Tick] = []
        ticks: list[Tick] = []
        if decision.last_skipped is not None:
            more = " and more" if decision.more else ""
            detail = f"missed since {iso(decision.first_skipped or 0)}{more}"
            ticks.append(Tick(decision.last_skipped, Outcome.SKIPPED, count=decision.skipped, detail=detail))
            count("TicksSkipped", decision.skipped)
        for at in decision.runs:
            outcome = Outcome.MADE_UP if at in decision.made_up else Outcome.RAN
            ticks.append(self._enqueue(schedule, at, outcome))
            if len(ticks) >= CHUNK or time_left() < RESERVE_MS:
                schedule = self._write(schedule, ticks, at, now)
                done, ticks = done + ticks, []
                if time_left() < RESERVE_MS:
                    return done  # the next tick, or the sweeper, goes on from here
        self._write(schedule, ticks, decision.seen, now)
        return done + ticks

    def _write(self, schedule: Schedule, ticks: list[Tick], seen: int, now: int) -> Schedule:
        after = replace(schedule, seen=seen)
        self._store.settle(schedule, ticks, seen, look_at(after), now)
        return after

    def _enqueue(self, schedule: Schedule, at: int, outcome: Outcome) -> Tick:
        """The tick's job. The key is the tick's, so a tick that is decided twice is one job."""
        key = f"schedule:{schedule.name}:{iso(at)}"
        try:
            job = self._jobs.enqueue(job_of(schedule, key, "system"), ledgers.SYSTEM).job
        except (Unavailable, RateLimited):
            raise  # comes again
        except AppError as error:
            if "job_id" in error.extra:  # enqueued before the payload was changed, and not written down
                return Tick(at, outcome, str(error.extra["job_id"]))
            logger.warning("a schedule's job was refused", schedule=schedule.name, problem=error.slug)
            count("TicksRefused")
            return Tick(at, Outcome.REFUSED, detail=error.detail[:500])
        count("TicksRun")
        return Tick(at, outcome, job.id)


def is_tick(event: Any) -> bool:
    """Whether an event is what `scheduler.request_of` has EventBridge Scheduler send."""
    return isinstance(event, dict) and isinstance(name := event.get("schedule"), str) and is_name(name)


def job_of(schedule: Schedule, key: str, tenant: str) -> NewJob:
    """The job that a schedule makes."""
    wanted = schedule.wanted
    tags = (*wanted.tags, f"schedule:{schedule.name}")
    return NewJob(wanted.type, wanted.payload, tenant, key, wanted.priority, tags=tags, accepted=True)


def _delivered(text: Any) -> int | None:
    """The tick's time as EventBridge Scheduler says it; None when it does not (or an emulation does not fill it in)."""
    try:
        return instant(str(text))
    except ValueError:
        return None


@lru_cache(maxsize=1)
def from_env() -> Ticking:
    """The ticking of this installation's schedules."""
    return Ticking(schedule_store.from_env(), telling.from_env(), service.from_env())
