"""Events to hours, hours to days: what `process-snapshot` does, in as many attempts as it takes.

Everything is replaced and nothing added to, so that counting twice gives the same; a late event is counted by the next
snapshot of its hour. Hours first: their events are read page by page. Then the days that these hours belong to: the
articles of 24 hours are merged in the order of their ids, so that memory has room for any number of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from adbot_queue.analytics import store as stores
from adbot_queue.analytics.model import DAY_MS, HOUR_MS, Aggregate, Bucket, hour_of, hour_start, hours_between
from adbot_queue.analytics.runs import Run, State
from adbot_queue.analytics.store import RAW_KEPT_MS, SHARDS, AnalyticsStore
from adbot_queue.core import telemetry
from adbot_queue.core.clock import day as day_of
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs import counters, job_queues
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.counters import Counters
from adbot_queue.jobs.retry import Permanent

MOST_HOURS = 31 * 24
"""Hours of one job."""

FIRST_HOURS = 24
"""Hours that the very first snapshot counts, when none are named."""

AGAIN_MS = 2 * HOUR_MS
"""How long before the last hour that was counted the next snapshot begins: what comes later is noted as late."""

SETTLED_MS = 60_000
"""A late event that was noted more recently may not be in the index yet; the next snapshot counts it."""

MOST_LATE = 200


class Snapshot:
    """One job's counting."""

    def __init__(
        self, store: AnalyticsStore, queues: Counters, context: Context, window: tuple[str, str] | None
    ) -> None:
        self._store = store
        self._queues = queues
        self._context = context
        self._run = Run(store.client, store.table, context, lambda: self._plan(window))

    def count(self) -> dict[str, Any]:
        """Count every hour and every day of the window, from where the attempt before stopped.

        Returns:
            hours, days: how many were counted; events: in those hours; from, to.

        Raises:
            Postponed: the next attempt goes on. Cancelled: somebody asked for it.
        """
        run, state = self._run, self._run.state
        hours: list[str] = state["hours"]
        days = sorted({hour[:10] for hour in hours})
        steps: list[tuple[Callable[[str], None], str]] = [(self._hour, hour) for hour in hours]
        steps += [(step, day) for step in (self._day, self._queue_day) for day in days]
        while state["step"] < len(steps):
            run.pause_if_short()
            step, what = steps[state["step"]]
            step(what)
            state |= {"step": state["step"] + 1, "at": None, "part": None, "began": None}
            run.save()
            self._context.set_progress(100 * state["step"] // len(steps), what)
        self._remember(hours)
        telemetry.count("EventsAggregated", state["events"])
        ends = {"from": hours[0], "to": hours[-1]} if hours else {}
        return {"hours": len(hours), "days": len(days), "events": state["events"], **ends}

    def _plan(self, window: tuple[str, str] | None) -> State:
        now = self._context.now()
        state: State = {"step": 0, "at": None, "part": None, "began": None, "events": 0, "late": {}}
        if window:
            first, last = window
            if not self._can_be_counted(first, self._store.mark("CLEANED")):
                raise Permanent(f"events of {first} are not all there any more: they are kept for 30 days")
            return state | {"hours": hours_between(first, min(last, hour_of(now))), "regular": False}
        last_counted = self._store.mark("SNAPSHOT")
        begin = hour_start(last_counted) - AGAIN_MS if last_counted else now - (FIRST_HOURS - 1) * HOUR_MS
        begin = max(begin, now - (MOST_HOURS - 1) * HOUR_MS)
        late = self._store.late(now - SETTLED_MS, MOST_LATE)
        hours = {*hours_between(hour_of(begin), hour_of(now)), *late}
        cleaned = self._store.mark("CLEANED")
        hours = {hour for hour in hours if self._can_be_counted(hour, cleaned) and hour_start(hour) <= now}
        telemetry.count("LateHours", len(late))
        telemetry.count("LateHoursGone", len(late.keys() - hours))
        return state | {"hours": sorted(hours), "late": late, "regular": True}

    def _can_be_counted(self, hour: str, cleaned: str) -> bool:
        """Whether no event of the hour has gone: neither by its time to live nor by a cleaning."""
        return hour_start(hour) + RAW_KEPT_MS > self._context.now() and hour >= cleaned

    def _hour(self, hour: str) -> None:
        """Read all events of an hour and publish what they come to.

        What is read is kept as a part when time runs out, under an id of its own: an attempt that died, or one that
        lives longer than it should, leaves a part that nobody looks at.
        """
        state = self._run.state
        # What the next attempts read is newer than this; as old as the oldest page is what the hour may claim to be.
        state["began"] = began = state["began"] or self._context.now()
        bucket = self._store.read_part(state["part"]) if state["part"] else Bucket()
        first, cursor = state["at"] or (0, None)
        for shard in range(first, SHARDS):
            while True:
                events, cursor = self._store.events(hour, shard, cursor)
                for event in events:
                    bucket.add(event)
                if cursor is None:
                    break
                if self._run.short_of_time:
                    state |= {"at": [shard, cursor], "part": self._keep(bucket)}
                    self._run.pause()
        if hour < self._store.mark("CLEANED"):
            return  # while it was counted, events of it were deleted
        if self._store.publish_hour(hour, bucket.total, self._keep(bucket), began):
            state["events"] += bucket.total.events

    def _keep(self, bucket: Bucket) -> str:
        now = self._context.now()
        part = time_ordered_id(now)
        self._store.write_part(part, bucket, now)
        return part

    def _day(self, day: str) -> None:
        """Put a day together from its hours; of its articles those that this job's hours touched."""
        began = self._context.now()
        counted = self._store.hours(day)
        total = Aggregate()
        for one in self._store.totals_of([hour.part for hour in counted]):
            total.merge(one)
        self._store.publish_day(day, total, len(counted), began)
        state, after = self._run.state, self._run.state["at"]
        sources = [self._articles(hour.part, hour.start in state["hours"], after) for hour in counted]
        for article, group in groupby(heapq.merge(*sources, key=_id), key=_id):
            merged, touched = Aggregate(), False
            for _, one, is_touched in group:
                merged.merge(one)
                touched = touched or is_touched
            if touched:
                self._store.publish_article_day(article, day, merged, began)
            state["at"] = article
            self._run.pause_if_short()

    def _articles(self, part: str, touched: bool, after: str | None) -> Iterator[tuple[str, Aggregate, bool]]:  # noqa: FBT001
        for article, aggregate in self._store.articles_of_part(part, after):
            yield article, aggregate, touched

    def _queue_day(self, day: str) -> None:
        """What job queues did is counted by the minute and kept for two days: the running day and the one before."""
        now = self._context.now()
        if day not in {day_of(now - DAY_MS), day_of(now)}:
            return
        for queue in job_queues.QUEUES:
            self._store.publish_queue(day, queue, self._queues.day(queue, day), now)

    def _remember(self, hours: list[str]) -> None:
        if not self._run.state["regular"]:
            return
        for hour, noted_at in self._run.state["late"].items():
            self._store.forget_late(hour, noted_at)
        if hours:
            self._store.set_mark("SNAPSHOT", max(hours))


def _id(entry: tuple[str, Aggregate, bool]) -> str:
    return entry[0]


def snapshot(window: tuple[str, str] | None, context: Context) -> dict[str, Any]:
    """Count the hours from the first to the last named; without any, those since the last snapshot and late ones.

    Raises:
        Permanent: events of the window have gone. Postponed, Cancelled: as `Snapshot.count`.
    """
    return Snapshot(stores.from_env(), counters.from_env(), context, window).count()
