"""What the rows of schedules are read as, and why a write of them is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from adbot_queue.core.errors import Unavailable
from adbot_queue.jobs.model import Job
from adbot_queue.schedules.model import Schedule
from adbot_queue.schedules.ticks import Tick


class KeyInUse(Exception):
    """Another request has used the key in the meantime."""


class StaleVersion(Exception):
    """Rows changed since they were read: nothing was written. `names` are their schedules."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        super().__init__(", ".join(sorted(self.names)))


class UnreadableSchedule(Unavailable):
    """A schedule's row that this version cannot read. Names what is wrong, never a value."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"this version cannot read the row of schedule {name}: {problem}")
        self.name = name
        self.problem = problem


class ScheduleRows(NamedTuple):
    """A page of the list, the cursor of the next, and how many rows of this one cannot be read."""

    schedules: list[Schedule]
    next: str | None
    unreadable: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a check decided about a schedule's ticks.

    Attributes:
        before: the schedule as it was read; after: as it is written.
        ticks: new entries of its history.
        jobs: the jobs of these ticks.
    """

    before: Schedule
    after: Schedule
    ticks: Sequence[Tick] = ()
    jobs: Sequence[Job] = field(default=())
