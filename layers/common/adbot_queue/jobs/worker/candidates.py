"""The waiting jobs that an invocation may claim, in order: those that its messages name, or higher-ranked ones.

`ranking` decides the order; this module reads what it needs.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Sequence

from adbot_queue.core.clock import Clock
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.worker.ranking import RankedJob, select

WINDOW = 40
"""Waiting jobs that a full batch reads to keep the order."""

FRESH_MS = 1_000
"""How long one read serves the next batches; a job of higher priority may come later."""

Named = tuple[str | None, str]
"""Rank and id of a job that a message names."""


class ReadyWindow:
    """The first waiting jobs of a queue, as of the last read, less those that this worker has claimed since.

    One read serves several batches. A stale window costs order only; claims decide who gets a job.
    """

    def __init__(self, store: JobStore, now: Clock) -> None:
        self._store = store
        self._now = now
        self._queue = ""
        self._places: list[RankedJob] = []
        self._looked_at = 0

    def of(self, queue: str, enough: int) -> list[RankedJob]:
        """Return the window in order: as many jobs as a batch takes (`enough`), or all."""
        now = self._now()
        fresh = queue == self._queue and self._looked_at <= now < self._looked_at + FRESH_MS
        if not fresh or len(self._places) < enough:
            self._places = self._store.ready(queue, WINDOW)
            self._queue, self._looked_at = queue, now
        return self._places

    def claimed(self, ids: Collection[str], *, fresh: bool) -> None:
        """Remove claimed jobs. Not `fresh`: another worker had some of them, so the window is stale."""
        self._places = [place for place in self._places if place[1] not in ids] if fresh else []


class ClaimCandidates:
    """The jobs that an invocation may claim, in order, each once."""

    def __init__(self, store: JobStore, queue: str, own: Sequence[Named], chance: random.Random) -> None:
        self._store = store
        self._queue = queue
        self._own = own
        self._chance = chance
        self._ids = deque(dict.fromkeys(job_id for _, job_id in own))
        self._seen = set(self._ids)
        self._looked = False

    def __contains__(self, job_id: str) -> bool:
        """Return whether a job is still a candidate."""
        return job_id in self._ids

    def rerank(self, window: Sequence[RankedJob]) -> None:
        """Let higher-ranked waiting jobs go first."""
        self._looked = True
        first, then = select(self._own, window, self._chance.shuffle)
        self._ids = deque(dict.fromkeys([*first, *then]))
        self._seen.update(self._ids)

    def next(self, most: int) -> list[str]:
        """Return the next candidates; once the named jobs are taken, any waiting jobs."""
        if not self._ids and not self._looked:
            self._looked = True
            others = [job_id for _, job_id in self._store.ready(self._queue, WINDOW) if job_id not in self._seen]
            self._chance.shuffle(others)
            self._ids.extend(others)
        return [self._ids.popleft() for _ in range(min(most, len(self._ids)))]
