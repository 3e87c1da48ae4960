"""Schedules on an AWS in the process, with a clock that the test owns, and what must hold for them at all times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any
from unittest.mock import patch

from adbot_queue.core import aws
from adbot_queue.jobs.model import Job
from adbot_queue.ledger import Ledger
from adbot_queue.schedules.creation import Command
from adbot_queue.schedules.edits import ScheduleEdits
from adbot_queue.schedules.model import Schedule, ScheduleSpec
from adbot_queue.schedules.runner import ScheduleTrigger
from adbot_queue.schedules.service import Schedules
from adbot_queue.schedules.store import schedule_of
from adbot_queue.schedules.ticks import Tick
from tests.builders.jobs import Jobs
from tests.builders.payments import configure, rows, snapshot
from tests.builders.world import ADMIN, AwsHarness


def ms(text: str) -> int:
    """Return a time in UTC in milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


BEGIN = ms("2030-01-01T00:00:30")


def spec(expression: str = "rate(1 hour)", **changed: Any) -> ScheduleSpec:
    """Return a schedule that tracks an event."""
    plain: dict[str, Any] = {"timezone": "UTC", "type": "analytics-track", "payload": {"event": "tick", "user_id": "u"}}
    return ScheduleSpec(expression, **plain | changed)


@dataclass
class ScheduleHarness:
    """The schedules of a world, and its jobs, at a time that the test sets."""

    world: AwsHarness
    signed: int = 0
    owner_needed: str | None = None

    def __post_init__(self) -> None:
        configure()
        env = self.world.env
        self.jobs = Jobs(self.world)
        self.clock = self.jobs.clock
        self.clock.now = BEGIN
        self.store = ScheduleEdits(aws.dynamodb(), env["JOBS_TABLE"])
        self.trigger = ScheduleTrigger(self.store, lambda _type, _payload: self.owner_needed, self.clock)
        ledger = Ledger(aws.dynamodb(), env["LEDGER_TABLE"], self._stamp)
        self.schedules = Schedules(self.store, self.jobs.service, ledger, self.clock)

    def _stamp(self) -> int:
        """A millisecond for each entry: their order is what tests look at."""
        self.signed += 1
        return self.clock() + self.signed

    def create(self, name: str = "report", what: ScheduleSpec | None = None, key: str | None = None) -> Schedule:
        return self.schedules.create(name, what or spec(), Command(ADMIN, key, "f")).schedule

    def change(self, what: ScheduleSpec, version: int | None = None, name: str = "report") -> Schedule:
        return self.schedules.change(name, what, version, ADMIN)

    def at(self, text: str) -> None:
        """Set the clock: `01:00:20` on the first day, or a date and time."""
        self.clock.now = ms(text if "T" in text else f"2030-01-01T{text}")

    def sweep(self) -> int:
        """Run the sweeper once, as its function does: schedules, then jobs. How many schedules were due."""
        due = self.trigger.trigger_due(AwsHarness.time_left)
        self.jobs.sweep()
        return due

    def sweep_until(self, text: str) -> None:
        """Let time pass, with the sweeper once a minute."""
        end = ms(f"2030-01-01T{text}")
        while self.clock.now < end:
            self.sweep()
            self.clock.now = min(end, self.clock.now + 60_000)
        self.sweep()

    def ticks(self, name: str = "report") -> list[Tick]:
        """Its whole history, oldest first."""
        return self.store.ticks(name, 5000)[::-1]

    def made(self, name: str = "report") -> list[Job]:
        """The jobs of a schedule's ticks, in the order of these."""
        prefix = f"schedule:{name}:20"
        found = [job for job in self.jobs.all() if (job.idempotency_key or "").startswith(prefix)]
        return sorted(found, key=lambda job: job.idempotency_key or "")

    def times(self, name: str = "report") -> list[str]:
        """The times of these jobs' ticks."""
        return [(job.idempotency_key or "").removeprefix(f"schedule:{name}:")[11:19] for job in self.made(name)]

    def due_between(self, name: str, since: int, until: int) -> list[int]:
        """The ticks that a schedule has after one moment and up to another."""
        return list(takewhile(lambda tick: tick <= until, self.schedules.get(name).recurrence.after(since)))

    def ledger(self, name: str = "report") -> list[str]:
        """The actions on a schedule, oldest first."""
        found = [entry for entry in rows(self.world.env["LEDGER_TABLE"]) if entry["target"] == f"schedule:{name}"]
        return [entry["action"] for entry in sorted(found, key=lambda entry: (entry["at"], entry["sk"]))]

    def spoil(self, name: str = "report", **attributes: dict[str, Any]) -> None:
        """Write attributes (in DynamoDB's types) into a row, as another version might."""
        names = list(attributes)
        aws.dynamodb().update_item(
            TableName=self.world.env["JOBS_TABLE"],
            Key={"pk": {"S": f"SCHEDULE#{name}"}, "sk": {"S": "S"}},
            UpdateExpression="SET " + ", ".join(f"#{one} = :{one}" for one in names),
            ExpressionAttributeNames={f"#{one}": one for one in names},
            ExpressionAttributeValues={f":{one}": value for one, value in attributes.items()},
        )

    def snapshot(self) -> Callable[[], None]:
        """Remember everything, the time included; calling the result puts it back."""
        restore, now = snapshot(), self.clock.now

        def put_back() -> None:
            restore()
            self.clock.now = now

        return put_back

    def audit(self) -> list[Schedule]:
        """Return all schedules. Each tick must be one entry and at most one job, and wait for its time in the index."""
        items = rows(self.world.env["JOBS_TABLE"], "SCHEDULE#")
        found = [schedule_of(item) for item in items if item["sk"] == "S"]
        for schedule in found:
            following = schedule.recurrence.next(schedule.decided_until) if schedule.spec.enabled else None
            assert schedule.next_check_at == following
        recorded = [item["job_id"] for item in items if "job_id" in item and item["outcome"] != "manual"]
        assert len(recorded) == len(set(recorded))
        running = [job.idempotency_key for job in self.jobs.all() if job.state != "cancelled"]
        assert len(running) == len(set(running))
        return found


def counted() -> Any:
    """Spy on the metrics of the trigger; `total` reads them."""
    return patch("adbot_queue.schedules.runner.count")


def total(spy: Any, metric: str) -> int:
    """Return what was counted under a name."""
    return sum(call.args[1] if len(call.args) > 1 else 1 for call in spy.call_args_list if call.args[0] == metric)
