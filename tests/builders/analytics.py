"""Events, and jobs that count them, on an AWS in the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from adbot_queue.analytics import store as stores
from adbot_queue.analytics.model import VIEWED, Event, hour_start, person_of
from adbot_queue.analytics.store import AnalyticsStore
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_types, long_running
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import Snooze
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.store.items import item_of
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.testing.harness import Clock

TODAY = "2025-11-22"
NOON = hour_start(f"{TODAY}T12")


def event(
    name: str = "1", at: int = NOON, person: str = "cara", article: str | None = None, what: str = VIEWED
) -> Event:
    """An event; its id is its name."""
    return Event(f"evt-{name}", at, what, person_of(person, None), article)


@dataclass
class Counting:
    """The Analytics table, a clock, and jobs that are tried until they end."""

    clock: Clock = field(default_factory=lambda: Clock(NOON + 600_000))
    store: AnalyticsStore = field(default_factory=stores.from_env)

    def record(self, *events: Event) -> None:
        for one in events:
            self.store.record(one, self.clock.now)

    def context(self, job: str, job_type: str = "process-snapshot", steps: int | None = None) -> Context:
        """Return the context of a claimed job, whose time runs out after that many looks at the clock."""
        looks = iter(range(steps)) if steps is not None else None

        class Hurried(Context):
            def seconds_left(self) -> float:
                return 20.0 if looks is None or next(looks, None) is not None else 1.0

        jobs, now = self._jobs(), self.clock
        row = jobs.get(job) or Job(job, job_type, "analytics", {}, now(), long_running=True)
        if row.lease is None:
            row = row.changed(state=JobState.ACTIVE, lease="lease", lease_until=now() + 86_400_000, rank=None)
            self.store.client.put_item(TableName=jobs.table, Item=encode(item_of(row)))
        made = Hurried(job, 1, job, now() + 20_000, now, lambda: False, lambda *_: None, tenant=row.tenant, job=row)

        def commit_slice(checkpoint: dict[str, Any], effects: long_running.Effects | None) -> None:
            assert made.job
            made.job = long_running.commit(jobs, made.job, checkpoint, effects)

        made.commit_slice = commit_slice
        return made

    def run(
        self, job_type: str, payload: dict[str, Any] | None = None, job: str = "job-1", steps: int | None = None
    ) -> Any:
        """The result of a job, after as many attempts as it takes."""
        for _ in range(500):
            try:
                return self._completed(job, self.attempt(job_type, payload, job, steps))
            except Snooze:
                self.clock.advance(1)
        raise AssertionError("it never ends")

    def _completed(self, job: str, result: Any) -> Any:
        """Write the end of the job as the worker does."""
        jobs = self._jobs()
        row = jobs.get(job)
        assert row
        self.store.client.put_item(TableName=jobs.table, Item=encode(item_of(row.completed(result, self.clock()))))
        return result

    def _jobs(self) -> JobStore:
        return JobStore(self.store.client, settings().jobs_table)

    def attempt(
        self, job_type: str, payload: dict[str, Any] | None = None, job: str = "job-1", steps: int | None = None
    ) -> Any:
        known = job_types.find(job_type)
        return known.run(known.payload.model_validate(payload or {}), self.context(job, job_type, steps))

    def hours(self, day: str = TODAY) -> dict[str, dict[str, int]]:
        """What is counted by hour."""
        return {one.start: one.by_event for one in self.store.hours(day) if one.events}

    def days(self) -> dict[str, dict[str, int]]:
        """What is counted by day."""
        return {one.start: one.by_event for one in self.store.days("0", "9") if one.events}


def naive(events: Iterable[Event], of: Callable[[Event], str]) -> dict[str, dict[str, int]]:
    """What counting one by one comes to, each event once: by what `of` says, names and how often."""
    found: dict[str, Counter[str]] = {}
    for one in {one.id: one for one in events}.values():
        found.setdefault(of(one), Counter())[one.name] += 1
    return {key: dict(counts) for key, counts in found.items()}
