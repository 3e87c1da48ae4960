"""Deletion of old data: what `cleanup-old-data` does, in slices.

Most data expires by itself (docs/how-to/count-and-report.md says when). What can be deleted earlier, or never expires:

    raw-events   tracked events, which expire after 30 days; their hours cannot be counted again afterwards
    aggregates   what days count, of articles and job queues too; they never expire
    jobs         completed, failed and cancelled jobs of all queues, which expire after 7 and 90 days

First everything is counted. A person who has seen the number confirms it; while it still holds, the deletion is signed
in the ledger and begins. Dead jobs are not touched: an operator decides about each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adbot_queue import ledger as ledgers
from adbot_queue.analytics import store as stores
from adbot_queue.analytics.model import HOUR_MS, Event, hour_of, hour_start, hours_between
from adbot_queue.analytics.store import RAW_TTL_MS, SHARDS, AnalyticsStore
from adbot_queue.core import aws, telemetry
from adbot_queue.core.clock import DAY_MS
from adbot_queue.core.clock import day as day_of
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.long_running import LongRunningJob, Progress, Slice, run
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.ledger import SYSTEM, Actor, Ledger, LedgerEntry

MIN_DAYS = {"raw-events": 2, "aggregates": 90, "jobs": 1}
"""Nothing younger is deleted: events of the last days may not be counted yet."""

OVERDUE_MS = 3 * DAY_MS
"""How late DynamoDB may be with deleting what has expired."""

PAGE_SIZE = 100
"""Items of a page, and the fewest of a slice."""

MAX_PAGES = 50
"""Pages of a slice: most hours of events that are long gone are empty."""

ENDED = (JobState.COMPLETED, JobState.CANCELLED)
"""Bad ends are dead letters: a person decides about each."""

Page = tuple[Any, list[Any]]
"""Where the next page begins, and what is on this one."""

Cursor = dict[str, Any]
"""phase: matching or deleted; kind: its number; page: where its next page begins; before: the day; now: in ms."""


class Events:
    """Tracked events of the hours before a day."""

    def __init__(self, store: AnalyticsStore, before: str, now: int) -> None:
        self._store = store
        first = hour_of(now - RAW_TTL_MS - OVERDUE_MS)
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
                    queue, state, limit=PAGE_SIZE, cursor=cursor, before=self._before, forward=True
                )
                ended = [job for job in found if job.finished_at is not None and job.finished_at < self._before]
                yield (number, cursor) if cursor else (number + 1, None), ended
                if cursor is None:
                    break

    def delete(self, found: list[Job]) -> int:
        """Delete a page; how many had not changed meanwhile."""
        return sum(self._store.delete(job) for job in found)


class Cleanup(LongRunningJob):
    """One job's deleting: counts everything, then signs, then deletes.

    Its outcomes are `matching <kind>` and `deleted <kind>`. What a run has deleted that then died is not in the latter.
    """

    def __init__(
        self,
        store: AnalyticsStore,
        jobs: JobStore,
        ledger: Ledger,
        context: Context,
        what: list[str],
        days: int,
        confirm: int | None,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._ledger = ledger
        self._context = context
        self._what = what
        self._days = days
        self._confirm = confirm

    def next_slice(self, progress: Progress) -> Slice:
        """Count or delete the next pages.

        Raises:
            PermanentError: there are not as many as the person confirms; nothing is deleted.
        """
        at: Cursor = dict(progress.cursor or self._start())
        if at["kind"] == len(self._what):
            return self._counted(at, progress)
        name = self._what[at["kind"]]
        kind, is_counting = self._kind(name, at), at["phase"] == "matching"
        number, page = 0, at["page"]
        for looked, (following, found) in enumerate(kind.pages(page), 1):
            at["page"] = following
            number += len(found) if is_counting else kind.delete(found)
            if number >= PAGE_SIZE or looked == MAX_PAGES:
                break
        else:
            at |= {"kind": at["kind"] + 1, "page": None}
        return Slice(
            at,
            done=number if is_counting == (self._confirm is None) else 0,
            outcomes={f"{at['phase']} {name}": number},
            cut_off=hour_start(f"{at['before']}T00"),
        )

    def result(self, progress: Progress) -> dict[str, Any]:
        """Return before: the day; matching, deleted: how many of each kind; total of matching."""
        matching = self._numbers("matching", progress)
        deleted = {} if self._confirm is None else self._numbers("deleted", progress)
        for name, number in deleted.items():
            telemetry.count(f"Deleted{job_queues.logical_id(name)}", number)
        before = progress.cursor["before"]
        return {"before": before, "matching": matching, "deleted": deleted, "total": sum(matching.values())}

    def _start(self) -> Cursor:
        # A whole day, so that what is counted today and confirmed a minute later is the same.
        now = self._context.now()
        return {"phase": "matching", "kind": 0, "page": None, "before": day_of(now - self._days * DAY_MS), "now": now}

    def _numbers(self, phase: str, progress: Progress) -> dict[str, int]:
        return {name: progress.outcomes.get(f"{phase} {name}", 0) for name in self._what}

    def _counted(self, at: Cursor, progress: Progress) -> Slice:
        """All kinds are gone through: the end, or the beginning of the deletion."""
        total = sum(self._numbers("matching", progress).values())
        if at["phase"] == "deleted" or self._confirm is None:
            return Slice(at, of=total, is_last=True)
        if self._confirm != total:
            raise PermanentError(f"{total} match, not {self._confirm}; nothing is deleted")
        if "raw-events" in self._what:
            # Before the first is deleted: no snapshot may take what is left of an hour for the hour.
            self._store.set_mark("CLEANED", f"{at['before']}T00")
        after = {"what": self._what, "created_before": at["before"], "items": total}
        entry = LedgerEntry(self._actor(), "data.clean", f"job:{self._context.job_id}", after=after)
        following = at | {"phase": "deleted", "kind": 0}
        return Slice(following, of=total, effects=lambda transaction: self._ledger.sign(transaction, entry))

    def _kind(self, name: str, at: Cursor) -> Any:
        match name:
            case "raw-events":
                return Events(self._store, at["before"], at["now"])
            case "aggregates":
                return Aggregates(self._store, at["before"])
        return EndedJobs(self._jobs, at["before"])

    def _actor(self) -> Actor:
        """Return the person who enqueued the job; `job.enqueue` in the ledger has their role."""
        tenant, job_id = self._context.tenant, self._context.job_id
        return SYSTEM if tenant == SYSTEM.id else Actor(tenant, "job", job_id)


def clean(what: list[str], days: int, confirm: int | None, context: Context) -> dict[str, Any]:
    """Delete what is older than `days`; without a number to confirm only count it.

    Raises:
        PermanentError: as `Cleanup.next_slice`. NextRun, Cancelled: as `long_running.run`.
    """
    jobs = JobStore(aws.dynamodb(), settings().jobs_table)
    return run(Cleanup(stores.from_env(), jobs, ledgers.from_env(), context, what, days, confirm), context)
