"""Deleting what is past its use: what `cleanup-old-data` does, in as many attempts as it takes.

Most things here have an end of their own (docs/decisions.md says which). What can be deleted before, or has none:

    raw-events   tracked events, which go by themselves after 30 days; their hours can not be counted again then
    aggregates   what days count, of articles and job queues too; nothing else ends them
    jobs         completed, failed and cancelled jobs of all queues, which go after 7 and 90 days

First everything is counted. A person who has seen the number confirms it; when it still is the number, the deletion is
signed for in the ledger and begins. Dead jobs and messages are not touched: a person decides about each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from adbot_queue import ledger as ledgers
from adbot_queue.analytics import store as stores
from adbot_queue.analytics.model import DAY_MS, HOUR_MS, Event, hour_of, hour_start, hours_between
from adbot_queue.analytics.runs import Run, State
from adbot_queue.analytics.store import RAW_KEPT_MS, SHARDS, AnalyticsStore
from adbot_queue.core import aws, telemetry
from adbot_queue.core.clock import day as day_of
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.model import State as JobState
from adbot_queue.jobs.retry import Permanent
from adbot_queue.jobs.store import JobStore
from adbot_queue.ledger import SYSTEM, Actor, Entry, Ledger

LEAST_DAYS = {"raw-events": 2, "aggregates": 90, "jobs": 1}
"""Nothing younger is deleted: events of the last days may not be counted yet."""

OVERDUE_MS = 3 * DAY_MS
"""How late DynamoDB may be with deleting what has expired."""

AT_ONCE = 100

ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)

Page = tuple[Any, list[Any]]
"""Where the next page begins, and what is on this one."""


class Events:
    """Tracked events of the hours before a day."""

    def __init__(self, store: AnalyticsStore, before: str, now: int) -> None:
        self._store = store
        first = hour_of(now - RAW_KEPT_MS - OVERDUE_MS)
        self._hours = hours_between(first, hour_of(hour_start(f"{before}T00") - HOUR_MS))

    def pages(self, position: Any) -> Iterator[Page]:
        """The events from a position (hour, shard, cursor) on."""
        begin, first, cursor = position or ("", 0, None)
        for hour in self._hours:
            if hour < begin:
                continue
            for shard in range(first if hour == begin else 0, SHARDS):
                while True:
                    found, cursor = self._store.events(hour, shard, cursor)
                    if found or shard == SHARDS - 1:
                        yield (hour, shard, cursor) if cursor else (hour, shard + 1, None), found
                    if cursor is None:
                        break

    def delete(self, found: list[Event]) -> int:
        """Delete a page; how many there were."""
        self._store.delete_events(found)
        return len(found)


class Aggregates:
    """What days before a day count. The day itself goes last: as long as it is there, its articles are found."""

    def __init__(self, store: AnalyticsStore, before: str) -> None:
        self._store = store
        self._last = day_of(hour_start(f"{before}T00") - HOUR_MS)

    def pages(self, position: Any) -> Iterator[Page]:
        """The aggregates from a position (day, cursor of its articles, whether they are done) on."""
        begin, cursor, done = position or ("0", None, False)
        for counted in self._store.days(begin, self._last):
            day = counted.start
            if day != begin:
                cursor, done = None, False
            elif done:
                continue
            while True:
                articles, cursor = self._store.articles(day, cursor)
                if articles:
                    yield (day, cursor, False), [("article", day, article) for article in articles]
                if cursor is None:
                    break
            queues = [("queue", day, queue) for _, queue, _ in self._store.queue_days(day, day)]
            yield (day, None, True), [*queues, ("day", day, "")]

    def delete(self, found: list[tuple[str, str, str]]) -> int:
        """Delete a page; how many were there still."""
        deleted = 0
        for kind, day, name in found:
            match kind:
                case "article":
                    deleted += self._store.delete_article_day(name, day)
                case "queue":
                    deleted += self._store.delete_queue_day(day, name)
                case _:
                    deleted += self._store.delete_day(day)
        return deleted


class EndedJobs:
    """Jobs that ended other than dead, before a day."""

    def __init__(self, store: JobStore, before: str) -> None:
        self._store = store
        self._before = hour_start(f"{before}T00")
        self._lists = [(queue, state) for queue in job_queues.QUEUES for state in ENDED]

    def pages(self, position: Any) -> Iterator[Page]:
        """The jobs from a position (list, cursor) on."""
        begin, cursor = position or (0, None)
        for number in range(begin, len(self._lists)):
            queue, state = self._lists[number]
            while True:
                found, cursor = self._store.page(
                    queue, state, limit=AT_ONCE, cursor=cursor, before=self._before, forward=True
                )
                ended = [job for job in found if job.finished_at is not None and job.finished_at < self._before]
                yield (number, cursor) if cursor else (number + 1, None), ended
                if cursor is None:
                    break

    def delete(self, found: list[Job]) -> int:
        """Delete a page; how many had not changed meanwhile."""
        return sum(self._store.delete(job) for job in found)


class Cleanup:
    """One job's deleting."""

    def __init__(
        self, store: AnalyticsStore, jobs: JobStore, ledger: Ledger, context: Context, what: list[str], days: int
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._ledger = ledger
        self._context = context
        self._what = what
        self._run = Run(store.client, store.table, context, lambda: self._plan(days))

    def _plan(self, days: int) -> State:
        # A whole day, so that what is counted today and confirmed a minute later is the same.
        now = self._context.now()
        return {"before": day_of(now - days * DAY_MS), "now": now, "at": {}, "matching": {}, "deleted": {}}

    def run(self, confirm: int | None) -> dict[str, Any]:
        """Count everything; with the right number to confirm it, delete it.

        Returns:
            before: the day; matching, deleted: how many of each kind; total of matching. What an attempt has deleted
            that then died is not in `deleted`.

        Raises:
            Permanent: there are not as many as the person confirms; nothing is deleted.
            Postponed: the next attempt goes on. Cancelled: somebody asked for it.
        """
        state = self._run.state
        if not state.get("signed"):
            self._each("matching", lambda _kind, found: len(found))
        total = sum(state["matching"].values())
        told = {"before": state["before"], "matching": state["matching"]}
        if confirm is None:
            return told | {"deleted": {}, "total": total}
        if not state.get("signed"):
            if confirm != total:
                raise Permanent(f"{total} match, not {confirm}; nothing is deleted")
            self._begin(total)
        if "raw-events" in self._what:
            # Before the first is deleted: no snapshot may take what is left of an hour for the hour.
            self._store.set_mark("CLEANED", f"{state['before']}T00")
        self._each("deleted", lambda kind, found: int(kind.delete(found)))
        for name, number in state["deleted"].items():
            telemetry.count(f"Deleted{job_queues.logical_id(name)}", number)
        return told | {"deleted": state["deleted"], "total": total}

    def _each(self, column: str, do: Callable[[Any, list[Any]], int]) -> None:
        state = self._run.state
        for name in self._what:
            kind = self._kind(name)
            position = state["at"].get(f"{column} {name}")
            state[column].setdefault(name, 0)
            if position == "done":
                continue
            for following, found in kind.pages(position):
                self._run.pause_if_short()
                state[column][name] += do(kind, found)
                state["at"][f"{column} {name}"] = following
            state["at"][f"{column} {name}"] = "done"
            self._context.set_progress(50 if column == "matching" else 90, f"{column}: {name}")

    def _kind(self, name: str) -> Any:
        before: str = self._run.state["before"]
        match name:
            case "raw-events":
                return Events(self._store, before, self._run.state["now"])
            case "aggregates":
                return Aggregates(self._store, before)
        return EndedJobs(self._jobs, before)

    def _begin(self, total: int) -> None:
        """Sign, once however often the job is tried, before anything is deleted."""
        state = self._run.state
        after = {"what": self._what, "created_before": state["before"], "items": total}
        entry = Entry(self._actor(), "data.clean", f"job:{self._context.job_id}", after=after)
        self._run.begin(lambda transaction: self._ledger.sign(transaction, entry))

    def _actor(self) -> Actor:
        """Whoever enqueued the job; `job.enqueue` in the ledger has their role."""
        job = self._jobs.get(self._context.job_id)
        return SYSTEM if job is None or job.tenant == SYSTEM.id else Actor(job.tenant, "job", job.id)


def clean(what: list[str], days: int, confirm: int | None, context: Context) -> dict[str, Any]:
    """Delete what is older than so many days; without a number to confirm only count it.

    Raises:
        Permanent, Postponed, Cancelled: as `Cleanup.run`.
    """
    jobs = JobStore(aws.dynamodb(), settings().jobs_table)
    return Cleanup(stores.from_env(), jobs, ledgers.from_env(), context, what, days).run(confirm)
