"""Which waiting jobs an invocation may claim, and in what order: those its messages name, or others that go first.

What goes first is decided in `order`; here is what is read for it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Sequence

from adbot_queue.core.clock import Clock
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.worker.ranking import RankedJob, select

WINDOW = 40
"""Waiting jobs that a full batch looks at to keep the order."""

FRESH_MS = 1_000
"""For so long what was seen there serves the next batches too; then a job of higher priority may have come."""

Named = tuple[str | None, str]
"""Rank and id of a job that a message names."""


class ReadyWindow:
    """The first waiting jobs of a queue as they were a moment ago, less those that this worker has claimed since.

    One look serves several batches. What is seen too late costs nothing but order; claims say who has a job.
    """

    def __init__(self, store: JobStore, now: Clock) -> None:
        self._store = store
        self._now = now
        self._queue = ""
        self._places: list[RankedJob] = []
        self._looked_at = 0

    def of(self, queue: str, enough: int) -> list[RankedJob]:
        """In order, as many as a batch takes (`enough`) or all there are."""
        now = self._now()
        fresh = queue == self._queue and self._looked_at <= now < self._looked_at + FRESH_MS
        if not fresh or len(self._places) < enough:
            self._places = self._store.ready(queue, WINDOW)
            self._queue, self._looked_at = queue, now
        return self._places

    def claimed(self, ids: Collection[str], *, fresh: bool) -> None:
        """These wait no more. Not `fresh`: somebody else had some of them, so that others may be gone too."""
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
        """Whether it was not its turn yet."""
        return job_id in self._ids

    def look(self, window: Sequence[RankedJob]) -> None:
        """Let waiting jobs that go first pass."""
        self._looked = True
        first, then = select(self._own, window, self._chance.shuffle)
        self._ids = deque(dict.fromkeys([*first, *then]))
        self._seen.update(self._ids)

    def next(self, most: int) -> list[str]:
        """The next to claim; when those that were named are taken, whichever wait."""
        if not self._ids and not self._looked:
            self._looked = True
            others = [job_id for _, job_id in self._store.ready(self._queue, WINDOW) if job_id not in self._seen]
            self._chance.shuffle(others)
            self._ids.extend(others)
        return [self._ids.popleft() for _ in range(min(most, len(self._ids)))]
