"""What is recorded of a schedule's ticks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TickOutcome(StrEnum):
    """What became of a tick."""

    RAN = "ran"  # a job, on time
    CAUGHT_UP = "caught_up"  # a job, for a tick that was missed
    SKIPPED = "skipped"  # missed, and the policy skips it
    REFUSED = "refused"  # no job: it breaks a rule
    WITHDRAWN = "withdrawn"  # its job was cancelled before it started: the schedule was changed or removed
    MANUAL = "manual"  # a person ran it


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick in a schedule's history.

    Attributes:
        at: its time, ms; of several that were skipped the last one's.
        count: how many were skipped; every other tick is an entry of its own.
        detail: why.
    """

    at: int
    outcome: TickOutcome
    job_id: str | None = None
    count: int = 1
    detail: str = ""
