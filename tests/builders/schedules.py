"""Schedules on an AWS in the process, with a clock of their own, and what must hold for them whatever happened."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.scheduler.models import scheduler_backends

from adbot_queue.core import aws
from adbot_queue.jobs import scheduler, service
from adbot_queue.jobs.schedule_model import Schedule, Tick, Wanted
from adbot_queue.jobs.schedule_store import ScheduleStore, schedule_of
from adbot_queue.jobs.schedules import Command, Schedules
from adbot_queue.jobs.telling import Teller
from adbot_queue.jobs.ticking import Ticking
from adbot_queue.ledger import Ledger
from tests.builders.clocks import FakeClock
from tests.builders.payments import configure, rows, snapshot
from tests.builders.world import ADMIN, REGION, World


def ms(text: str) -> int:
    """A time in UTC, in milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


BEGIN = ms("2030-01-01T00:00:30")
"""Ahead of every real clock: AWS, also in the process, refuses what begins in its past."""


def wanted(expression: str = "rate(1 hour)", **changed: Any) -> Wanted:
    """A schedule that tracks an event."""
    plain: dict[str, Any] = {"timezone": "UTC", "type": "analytics-track", "payload": {"event": "tick", "user_id": "u"}}
    return Wanted(expression, **plain | changed)


@dataclass
class Clockwork:
    """The schedules of a world, at a time that the test sets."""

    world: World
    clock: FakeClock = field(default_factory=lambda: FakeClock(BEGIN))
    signed: int = 0

    def __post_init__(self) -> None:
        configure()
        env = self.world.env
        self.store = ScheduleStore(aws.dynamodb(), env["JOBS_TABLE"])
        teller = Teller(self.store, scheduler.from_env(), self.clock)
        self.ticking = Ticking(self.store, teller, service.from_env(), self.clock)
        self.schedules = Schedules(
            self.store,
            teller,
            service.from_env(),
            Ledger(aws.dynamodb(), env["LEDGER_TABLE"], self._stamp),
            self.clock,
        )

    def _stamp(self) -> int:
        """A millisecond for each entry: their order is what tests look at."""
        self.signed += 1
        return self.clock() + self.signed

    def make(self, name: str = "report", what: Wanted | None = None, key: str | None = None) -> Schedule:
        return self.schedules.create(name, what or wanted(), Command(ADMIN, key, "f")).schedule

    def at(self, text: str) -> None:
        """Set the clock: `01:00:20` on the first day, or a date and time."""
        self.clock.now = ms(text if "T" in text else f"2030-01-01T{text}")

    def ring(self, name: str = "report", scheduled: str | None = None, version: int | None = None) -> list[Tick]:
        """As EventBridge Scheduler does; without a time as an emulation that does not fill it in."""
        found = self.store.get(name)
        message = {
            "schedule": name,
            "version": version or (found.version if found else 1),
            "scheduled_time": f"2030-01-01T{scheduled}Z" if scheduled else scheduler.SCHEDULED_TIME,
        }
        return self.ticking.tick(message, World.time_left)

    def sweep(self) -> int:
        return self.ticking.reconcile(World.time_left)

    def jobs(self) -> list[dict[str, Any]]:
        return rows(self.world.env["JOBS_TABLE"], "JOB#")

    def ledger(self, name: str = "report") -> list[str]:
        """The actions on a schedule, oldest first."""
        found = [entry for entry in rows(self.world.env["LEDGER_TABLE"]) if entry["target"] == f"schedule:{name}"]
        return [entry["action"] for entry in sorted(found, key=lambda entry: (entry["at"], entry["sk"]))]

    def told(self) -> dict[str, dict[str, Any]]:
        """What EventBridge Scheduler has, by name."""
        group = scheduler_backends[DEFAULT_ACCOUNT_ID][REGION].schedule_groups["schedules"]
        return {name: schedule.to_dict() for name, schedule in group.schedules.items()}

    def snapshot(self) -> Callable[[], None]:
        """Remember everything, the time included; calling the result puts it back."""
        group = scheduler_backends[DEFAULT_ACCOUNT_ID][REGION].schedule_groups["schedules"]
        restore, now, told = snapshot(), self.clock.now, copy.deepcopy(group.schedules)

        def put_back() -> None:
            restore()
            self.clock.now = now
            group.schedules = copy.deepcopy(told)

        return put_back

    def audit(self) -> list[Schedule]:
        """All schedules; EventBridge Scheduler must have these and no others, as they are."""
        found = [schedule_of(item) for item in rows(self.world.env["JOBS_TABLE"], "SCHEDULE#") if item["sk"] == "S"]
        told = self.told()
        for schedule in found:
            assert not schedule.deleted
            assert schedule.in_step
            if schedule.plan.next(self.clock.now) is None:
                continue
            one = told.pop(f"job.{schedule.name}")
            assert json.loads(one["Target"]["Input"])["version"] == schedule.version
            assert one["State"] == ("ENABLED" if schedule.wanted.enabled else "DISABLED")
            if schedule.plan.moment is None:
                assert one["ScheduleExpression"] == schedule.wanted.expression
        assert told == {}
        return found
