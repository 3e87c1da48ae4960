"""Events to hours, hours to days: what `process-snapshot` does, in as many attempts as it takes.

Everything is replaced and nothing added to, so that counting twice gives the same; a late event is counted by the next
snapshot of its hour. Hours first: their events are read page by page. Then the days that these hours belong to: the
articles of 24 hours are merged in the order of their ids, so that memory has room for any number of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from adbot_queue.analytics import store as stores
from adbot_queue.analytics.model import HOUR_MS, Aggregate, Bucket, hour_of, hour_start, hours_between
from adbot_queue.analytics.store import RAW_TTL_MS, SHARDS, AnalyticsStore
from adbot_queue.core import telemetry
from adbot_queue.core.clock import DAY_MS
from adbot_queue.core.clock import day as day_of
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.long_running import LongRunningJob, Progress, Slice, run
from adbot_queue.queues import counters
from adbot_queue.queues.counters import Counters

MAX_HOURS = 31 * 24
"""Hours of one job."""

FIRST_HOURS = 24
"""Hours that the very first snapshot counts, when none are named."""

AGAIN_MS = 2 * HOUR_MS
"""How long before the last hour that was counted the next snapshot begins: what comes later is noted as late."""

SETTLED_MS = 60_000
"""A late event that was noted more recently may not be in the index yet; the next snapshot counts it."""

MAX_LATE = 200

Cursor = dict[str, Any]
"""hours: what is counted; step: how many are; at, part, began: where in the step; late: hours with late events."""


class Snapshot(LongRunningJob):
    """One job's counting. A slice is a step: an hour, a day, or a part of one where time runs out."""

    def __init__(
        self, store: AnalyticsStore, queues: Counters, context: Context, window: tuple[str, str] | None
    ) -> None:
        self._store = store
        self._queues = queues
        self._context = context
        self._window = window

    def next_slice(self, progress: Progress) -> Slice:
        """Count the next hour or day.

        Raises:
            PermanentError: events of the window have gone.
        """
        if progress.cursor is None:
            plan = self._plan()
            return Slice(plan, of=len(_steps(plan["hours"])))
        at: Cursor = dict(progress.cursor)
        steps = _steps(at["hours"])
        if at["step"] == len(steps):
            self._remember(at)
            return Slice(at, is_last=True)
        kind, name = steps[at["step"]]
        events = 0
        match kind:
            case "hour":
                is_done, events = self._hour(name, at)
            case "day":
                is_done = self._day(name, at)
            case _:
                is_done = self._queue_day(name)
        if is_done:
            at |= {"step": at["step"] + 1, "at": None, "part": None, "began": None}
        return Slice(at, done=int(is_done), outcomes={"events": events})

    def result(self, progress: Progress) -> dict[str, Any]:
        """Return hours, days: how many were counted; events: in those hours; from, to."""
        hours: list[str] = progress.cursor["hours"]
        events = progress.outcomes.get("events", 0)
        telemetry.count("EventsAggregated", events)
        ends = {"from": hours[0], "to": hours[-1]} if hours else {}
        return {"hours": len(hours), "days": len({hour[:10] for hour in hours}), "events": events, **ends}

    def _plan(self) -> Cursor:
        now = self._context.now()
        plan: Cursor = {"step": 0, "at": None, "part": None, "began": None, "late": {}}
        if self._window:
            first, last = self._window
            if not self._can_be_counted(first, self._store.mark("CLEANED")):
                raise PermanentError(f"events of {first} are not all there any more: they are kept for 30 days")
            return plan | {"hours": hours_between(first, min(last, hour_of(now))), "regular": False}
        last_counted = self._store.mark("SNAPSHOT")
        begin = hour_start(last_counted) - AGAIN_MS if last_counted else now - (FIRST_HOURS - 1) * HOUR_MS
        begin = max(begin, now - (MAX_HOURS - 1) * HOUR_MS)
        late = self._store.late(now - SETTLED_MS, MAX_LATE)
        hours = {*hours_between(hour_of(begin), hour_of(now)), *late}
        cleaned = self._store.mark("CLEANED")
        hours = {hour for hour in hours if self._can_be_counted(hour, cleaned) and hour_start(hour) <= now}
        telemetry.count("LateHours", len(late))
        telemetry.count("LateHoursGone", len(late.keys() - hours))
        return plan | {"hours": sorted(hours), "late": late, "regular": True}

    def _can_be_counted(self, hour: str, cleaned: str) -> bool:
        """Whether no event of the hour has gone: neither by its time to live nor by a cleaning."""
        return hour_start(hour) + RAW_TTL_MS > self._context.now() and hour >= cleaned

    def _hour(self, hour: str, at: Cursor) -> tuple[bool, int]:
        """Read the events of an hour and publish their counts; return whether it is done, and how many there were.

        When time runs out, the counts so far are stored as a part under its own id; a run that died, or outlived its
        lease, leaves a part that is never read.
        """
        # What later slices read is newer than this; as old as the oldest page is what the hour may claim to be.
        at["began"] = began = at["began"] or self._context.now()
        bucket = self._store.read_part(at["part"]) if at["part"] else Bucket()
        first, cursor = at["at"] or (0, None)
        for shard in range(first, SHARDS):
            while True:
                events, cursor = self._store.events(hour, shard, cursor)
                for event in events:
                    bucket.add(event)
                if cursor is None:
                    break
                if self._is_short_of_time():
                    at |= {"at": [shard, cursor], "part": self._keep(bucket)}
                    return False, 0
        if hour < self._store.mark("CLEANED"):
            return True, 0  # while it was counted, events of it were deleted
        is_newest = self._store.publish_hour(hour, bucket.total, self._keep(bucket), began)
        return True, bucket.total.events if is_newest else 0

    def _is_short_of_time(self) -> bool:
        return self._context.seconds_left() < self.reserve_s

    def _keep(self, bucket: Bucket) -> str:
        now = self._context.now()
        part = time_ordered_id(now)
        self._store.write_part(part, bucket, now)
        return part

    def _day(self, day: str, at: Cursor) -> bool:
        """Put a day together from its hours, and of its articles those that these hours touched: whether it is done."""
        began = self._context.now()
        counted = self._store.hours(day)
        total = Aggregate()
        for one in self._store.totals_of([hour.part for hour in counted]):
            total.merge(one)
        self._store.publish_day(day, total, len(counted), began)
        hours, after = set(at["hours"]), at["at"]
        sources = [self._articles(hour.part, hour.start in hours, after) for hour in counted]
        for article, group in groupby(heapq.merge(*sources, key=_id), key=_id):
            merged, touched = Aggregate(), False
            for _, one, is_touched in group:
                merged.merge(one)
                touched = touched or is_touched
            if touched:
                self._store.publish_article_day(article, day, merged, began)
            at["at"] = article
            if self._is_short_of_time():
                return False
        return True

    def _articles(self, part: str, touched: bool, after: str | None) -> Iterator[tuple[str, Aggregate, bool]]:  # noqa: FBT001
        for article, aggregate in self._store.articles_of_part(part, after):
            yield article, aggregate, touched

    def _queue_day(self, day: str) -> bool:
        """What job queues did is counted by the minute and kept for two days: the running day and the one before."""
        now = self._context.now()
        if day in {day_of(now - DAY_MS), day_of(now)}:
            for queue in job_queues.QUEUES:
                self._store.publish_queue(day, queue, self._queues.day(queue, day), now)
        return True

    def _remember(self, at: Cursor) -> None:
        if not at["regular"]:
            return
        for hour, noted_at in at["late"].items():
            self._store.forget_late(hour, noted_at)
        if at["hours"]:
            self._store.set_mark("SNAPSHOT", max(at["hours"]))


def _steps(hours: list[str]) -> list[tuple[str, str]]:
    """What is to be counted, in order: hours, then the days that they belong to."""
    days = sorted({hour[:10] for hour in hours})
    return [("hour", hour) for hour in hours] + [(kind, day) for kind in ("day", "queues") for day in days]


def _id(entry: tuple[str, Aggregate, bool]) -> str:
    return entry[0]


def snapshot(window: tuple[str, str] | None, context: Context) -> dict[str, Any]:
    """Count the hours from the first to the last named; without any, those since the last snapshot and late ones.

    Raises:
        PermanentError: events of the window have gone. NextRun, Cancelled: as `long_running.run`.
    """
    return run(Snapshot(stores.from_env(), counters.from_env(), context, window), context)
