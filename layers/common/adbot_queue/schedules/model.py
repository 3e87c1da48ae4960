"""What a schedule is, and what is recorded of its ticks. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

from adbot_queue.core.ids import fingerprint
from adbot_queue.schedules.plan import MissedPolicy, Recurrence

NEXT_RUNS = 5

MAX_NAME = 48
NAME = r"^[a-z0-9][a-z0-9_-]{0,47}$"


def is_name(text: str) -> bool:
    """Return whether a schedule may have this name."""
    return len(text) <= MAX_NAME and re.fullmatch(NAME, text) is not None


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """What a person specifies. Times are milliseconds.

    Attributes:
        expression: as EventBridge Scheduler takes it.
        timezone: IANA name.
        payload: checked, and as it was sent.
        start: no tick before; end: no tick after.
        by_owner: an owner saved it, so that its jobs may move more money than the owner's limit.
    """

    expression: str
    timezone: str
    type: str
    payload: dict[str, Any]
    priority: int = 0
    tags: tuple[str, ...] = ()
    enabled: bool = True
    missed_policy: MissedPolicy = MissedPolicy.ONCE
    start: int | None = None
    end: int | None = None
    by_owner: bool = False

    def recurrence(self, anchor: int) -> Recurrence:
        """Return when it ticks.

        Raises:
            BadExpression, BadZone: as `Recurrence.parse`.
        """
        return Recurrence.parse(self.expression, self.timezone, self.start, self.end, anchor)

    @property
    def timing(self) -> tuple[Any, ...]:
        """What decides the ticks."""
        return self.expression, self.timezone, self.start, self.end

    def summary(self) -> dict[str, Any]:
        """Return it for the ledger: of the payload only a fingerprint, it may hold personal data."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(ScheduleSpec)}
        payload = json.dumps(values.pop("payload"), sort_keys=True)
        return {name: value for name, value in values.items() if value not in (None, ())} | {
            "tags": list(self.tags),
            "missed_policy": self.missed_policy.value,
            "payload_fingerprint": fingerprint(payload),
        }


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as its row says. Times are milliseconds.

    Attributes:
        job_queue: the queue of its type when it was saved; jobs of a type that this version does not know wait there.
        anchor: when its timing was last changed; rates count from there.
        decided_until: the ticks up to here are decided.
        next_check_at: its next tick; None: it has none, or is disabled.
        id: tells it from earlier schedules of its name.
        version: grows with each change.
        problem: why the job of its last tick was refused, or waits.
    """

    name: str
    spec: ScheduleSpec
    job_queue: str
    created_at: int
    updated_at: int
    anchor: int
    decided_until: int
    id: str
    next_check_at: int | None = None
    version: int = 1
    problem: str | None = None

    @property
    def recurrence(self) -> Recurrence:
        """When it ticks."""
        return self.spec.recurrence(self.anchor)

    def next_runs(self, now: int) -> list[int]:
        """Return the next few ticks; none of a disabled one."""
        return list(islice(self.recurrence.after(now), NEXT_RUNS)) if self.spec.enabled else []

    def decided(self, until: int, problem: str | None) -> Schedule:
        """Return it with its ticks up to a moment decided."""
        next_check_at = self.recurrence.next(until) if self.spec.enabled else None
        return replace(self, decided_until=until, next_check_at=next_check_at, problem=problem)
