"""What a schedule is, and what is written down of its ticks. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from itertools import islice
from typing import Any

from adbot_queue.core.ids import fingerprint
from adbot_queue.jobs.ticks import MissedPolicy, Plan

NEXT_RUNS = 5

MOST_NAME = 48
NAME = r"^[a-z0-9][a-z0-9_-]{0,47}$"


def is_name(text: str) -> bool:
    """Whether a schedule may be named so."""
    return len(text) <= MOST_NAME and re.fullmatch(NAME, text) is not None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person says about a schedule. Times are milliseconds.

    Attributes:
        expression: as EventBridge Scheduler takes it.
        timezone: IANA name.
        payload: checked, and as it was sent.
        start: no tick before; end: no tick after.
    """

    expression: str
    timezone: str
    type: str
    payload: dict[str, Any]
    priority: int = 0
    tags: tuple[str, ...] = ()
    enabled: bool = True
    missed_policy: MissedPolicy = MissedPolicy.SKIP
    start: int | None = None
    end: int | None = None

    def plan(self, anchor: int) -> Plan:
        """When it ticks.

        Raises:
            BadExpression, BadZone: as `Plan.parse`.
        """
        return Plan.parse(self.expression, self.timezone, self.start, self.end, anchor)

    @property
    def timing(self) -> tuple[Any, ...]:
        """What decides the ticks."""
        return self.expression, self.timezone, self.start, self.end

    def summary(self) -> dict[str, Any]:
        """For the ledger: the payload only by its fingerprint, it may hold personal data."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(Wanted)}
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
        anchor: when its timing was last said; rates count from there.
        seen: what becomes of the ticks up to here is decided.
        version: grows with each change.
        synced: the version that EventBridge Scheduler has.
        problem: what EventBridge Scheduler has against this version.
        deleted: it is gone for everybody, but EventBridge Scheduler may not know yet.
    """

    name: str
    wanted: Wanted
    created_at: int
    updated_at: int
    anchor: int
    seen: int
    version: int = 1
    synced: int = 0
    problem: str | None = None
    deleted: bool = False

    @property
    def plan(self) -> Plan:
        """When it ticks."""
        return self.wanted.plan(self.anchor)

    @property
    def in_step(self) -> bool:
        """EventBridge Scheduler was told of this version."""
        return self.synced == self.version

    @property
    def is_live(self) -> bool:
        """Its ticks become jobs."""
        return self.wanted.enabled and not self.deleted

    def next_runs(self, now: int) -> list[int]:
        """The next few ticks; none of one that is switched off."""
        return list(islice(self.plan.after(now), NEXT_RUNS)) if self.is_live else []

    def changed(self, wanted: Wanted, now: int) -> Schedule:
        """The same schedule as a person wants it now.

        What was due before a change of its timing, or while it was switched off, is not made up for.
        """
        retimed = wanted.timing != self.wanted.timing
        begins_anew = retimed or (wanted.enabled and not self.is_live)
        return replace(
            self,
            wanted=wanted,
            updated_at=now,
            anchor=now if retimed else self.anchor,
            seen=max(now, self.seen) if begins_anew else self.seen,
            version=self.version + 1,
            problem=None,
            deleted=False,
        )

    def removed(self, now: int) -> Schedule:
        """What stays until EventBridge Scheduler has forgotten it too."""
        return replace(self, updated_at=now, version=self.version + 1, problem=None, deleted=True)


class Outcome(StrEnum):
    """What became of a tick."""

    RAN = "ran"  # a job, on time
    MADE_UP = "made_up"  # a job, for a tick that was missed
    SKIPPED = "skipped"  # missed, and the policy lets it be
    REFUSED = "refused"  # the job could not be made
    BY_HAND = "by_hand"  # somebody wanted it to run now


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick in the ledger of ticks.

    Attributes:
        at: its time, ms; of several that were skipped the last one's.
        count: how many were skipped, the others are one each.
        detail: why.
    """

    at: int
    outcome: Outcome
    job_id: str | None = None
    count: int = 1
    detail: str = ""
