"""A governed replay: many dead letters replayed at a rate, watched, and stopped when somebody says so. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum

from adbot_queue.jobs.letters import DeadLetterFilter
from adbot_queue.ledger import Actor

CATCH_UP_MS = 5_000
"""A replay that could not go on for longer than this does not make up for it: it stays at its rate."""


class ReplayState(StrEnum):
    """Where a replay stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Progress:
    """What has become of the letters that were looked at.

    Attributes:
        replayed: retried.
        skipped: somebody else decided about them just when it was their turn; those decided about earlier are not met.
        failed: they cannot be replayed and stay dead: they move money that needs the owner and somebody else began
            the replay, or another job has taken their derived key.
    """

    replayed: int = 0
    skipped: int = 0
    failed: int = 0

    def plus(self, *, replayed: int = 0, skipped: int = 0, failed: int = 0) -> Progress:
        """So many more."""
        return Progress(self.replayed + replayed, self.skipped + skipped, self.failed + failed)


@dataclass(frozen=True, slots=True)
class Replay:
    """A governed replay. Times are milliseconds since 1970.

    Attributes:
        wanted: which letters; none that died at or after `started_at`, so that none is replayed twice.
        rate: letters a second at the most.
        total: letters that there were when it began; `total_exact` is false when there were more than are counted.
        started_by: who signs for every letter.
        job: the job that executes it.
        holder: the execution that goes on with it; an earlier one that still runs finds itself replaced.
        cursor: behind the last letter that was looked at.
        paced_at: when the next letter may be replayed.
    """

    id: str
    wanted: DeadLetterFilter
    rate: float
    started_at: int
    started_by: Actor
    reason: str
    job: str
    total: int
    total_exact: bool
    fingerprint: str = ""
    state: ReplayState = ReplayState.RUNNING
    progress: Progress = field(default_factory=Progress)
    holder: str | None = None
    cursor: str | None = None
    paced_at: int = 0
    ended_at: int | None = None
    ended_by: str | None = None
    expires_at: int | None = None

    @property
    def letters(self) -> DeadLetterFilter:
        """Which letters it goes through: those that had died before it began."""
        before = self.started_at - 1
        until = before if self.wanted.until is None else min(before, self.wanted.until)
        return replace(self.wanted, until=until)

    def wait_ms(self, now: int) -> int:
        """How long until the next letter may be replayed; 0: now."""
        return max(0, self.paced_at - now)

    def next_at(self, now: int) -> int:
        """When the letter after one that is replayed now may follow."""
        # Rounded up, so that the rate is never exceeded.
        return max(self.paced_at, now - CATCH_UP_MS) + math.ceil(1000 / self.rate)
