"""Pages of jobs for people: of a queue in a state, and of long-running jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from adbot_queue.core import dynamodb
from adbot_queue.core.cursors import make_cursor
from adbot_queue.core.dynamodb import Item
from adbot_queue.jobs.model import BAD_ENDS, Job, JobState
from adbot_queue.jobs.store.items import LONG_LISTING, listing_of
from adbot_queue.jobs.store.many_rows import ManyJobRows
from adbot_queue.jobs.store.rows import job_id_of
from adbot_queue.jobs.unreadable import Unreadable

MAX_QUERIES = 3
"""Queries that fill a page when a filter leaves out much."""
FILTERED_PAGE_SIZE = 500
"""Index entries that such a Query reads (below its 1 MB)."""
_POSITION = ("pk", "sk", "listing", "listed_at")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs of a list; all fields combine. `tag` is one of the job's tags, `user` its tenant."""

    type: str | None = None
    tag: str | None = None
    user: str | None = None

    def takes(self, job: Job) -> bool:
        """Return whether a job is one of them."""
        return (
            self.type in (None, job.type)
            and (self.tag is None or self.tag in job.tags)
            and self.user in (None, job.tenant)
        )


ANY_JOB = JobFilter()


class JobList(list[Job]):
    """A page of jobs, and those in its places that cannot be read."""

    def __init__(self, found: Iterable[Job], unreadable: Sequence[Unreadable]) -> None:
        super().__init__(found)
        self.unreadable = unreadable


class JobPages(ManyJobRows):
    """Access patterns of the Jobs table that concern pages of jobs."""

    def page(
        self,
        queue: str,
        state: JobState,
        *,
        limit: int,
        cursor: str | None,
        before: int | None = None,
        forward: bool = False,
        wanted: JobFilter = ANY_JOB,
    ) -> tuple[JobList, str | None]:
        """Return jobs of a queue in a state, and the cursor of the next page, None after the last.

        A page may be shorter than its limit while more follow: at most `MAX_QUERIES` Queries look for what a filter
        takes, and tags and users are in the rows alone.

        Args:
            queue: whose jobs.
            state: where they stand.
            limit: rows that are read.
            cursor: of the page before.
            before: only jobs that were listed earlier than this (ms).
            forward: oldest first instead of newest first.
            wanted: which of them.

        Raises:
            Invalid: the cursor is not of this list.
        """
        condition, where = "listing = :listing", []
        values: dict[str, Any] = {"listing": listing_of(queue, state)}
        if before is not None:
            condition, values = condition + " AND listed_at < :before", values | {"before": before}
        if state in BAD_ENDS:  # all queues' are one list
            where, values = ["queue = :queue", "#state = :state"], values | {"queue": queue, "state": state.value}
        if wanted.type:
            where, values = [*where, "#type = :type"], values | {"type": wanted.type}
        found: list[Item] = []
        for _ in range(MAX_QUERIES):
            page, cursor = dynamodb.query_page(
                self.client,
                self.table,
                condition,
                index="by_state",
                limit=FILTERED_PAGE_SIZE if where else limit,
                cursor=cursor,
                forward=forward,
                where=" AND ".join(where) or None,
                **values,
            )
            found += page
            if len(found) > limit:
                found = found[:limit]
                cursor = make_cursor({name: found[-1][name] for name in _POSITION})
            if cursor is None or not where or len(found) == limit:
                break
        jobs = self.get_many(map(job_id_of, found))
        # The index is a moment older than the rows: what has changed its state since is left out.
        listed = [jobs[job_id_of(item)] for item in found if job_id_of(item) in jobs]
        taken = (job for job in listed if job.queue == queue and job.state is state and wanted.takes(job))
        return JobList(taken, jobs.unreadable), cursor

    def long_running(self, limit: int, cursor: str | None) -> tuple[JobList, str | None]:
        """Return long-running jobs of all queues, newest first, and the cursor of the next page."""
        found, following = dynamodb.query_page(
            self.client, self.table, "long_list = :long", index="long", limit=limit, cursor=cursor, long=LONG_LISTING
        )
        jobs = self.get_many(map(job_id_of, found))
        return JobList([jobs[job_id_of(item)] for item in found if job_id_of(item) in jobs], jobs.unreadable), following
