"""Keeps EventBridge Scheduler in step with the rows of schedules."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import schedule_store, scheduler
from adbot_queue.jobs.schedule_model import Schedule
from adbot_queue.jobs.schedule_store import Lost, ScheduleStore, look_at
from adbot_queue.jobs.scheduler import NotNow, NotTaken, Scheduler

RACES = 5


class Teller:
    """Tells EventBridge Scheduler what a row says, and the row that it was told."""

    def __init__(self, store: ScheduleStore, bell: Scheduler, now: Clock = system_clock) -> None:
        self._store = store
        self._bell = bell
        self._now = now

    def tell(self, schedule: Schedule, *, again: bool = False) -> Schedule:
        """Have EventBridge Scheduler know the schedule as its row says; answers the row as it is then.

        A change that is told while a newer one is being told may arrive after it. Whoever finds that the row has moved
        on therefore tells what it says now, however often.
        """
        for _ in range(RACES):
            if schedule.in_step and not again:
                return schedule
            problem = None
            now = self._now()
            try:
                if schedule.deleted:
                    self._bell.remove(schedule.name)
                else:
                    self._bell.put(schedule, now)
            except NotTaken as error:
                problem = str(error)[:500]
                logger.error("EventBridge Scheduler refuses a schedule", schedule=schedule.name, problem=problem)
                count("SchedulesRefused")
            except NotNow as error:
                logger.warning("EventBridge Scheduler was not told", schedule=schedule.name, error=str(error))
                count("SchedulesUntold")
                return schedule
            try:
                if schedule.deleted:
                    self._store.forget(schedule)
                    return schedule
                return self._store.told(schedule, problem, look_at(schedule))
            except Lost:
                found = self._store.get(schedule.name)
                if found is None:
                    return replace(schedule, deleted=True)
                schedule, again = found, True
        return schedule

    def take_down(self, name: str) -> None:
        """Have EventBridge Scheduler forget a schedule that has no row.

        Raises:
            NotNow: try again later.
        """
        self._bell.remove(name)


@lru_cache(maxsize=1)
def from_env() -> Teller:
    """The teller of this installation."""
    return Teller(schedule_store.from_env(), scheduler.from_env())
