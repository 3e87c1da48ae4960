"""Pages of dead letters, for people."""

from __future__ import annotations

from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.dead_letters.store import DeadLetterStore, IndexEntry
from adbot_queue.jobs.model import Job

PAGE_SIZE = 100
MAX_QUERIES = 20
"""Queries that fill one page of a list when a filter leaves out much."""


class DeadLetterPages(DeadLetterStore):
    """Dead letters in the Jobs table as a person looks through them."""

    def page(self, wanted: DeadLetterFilter, limit: int, cursor: str | None) -> tuple[list[Job], str | None]:
        """Return dead letters, newest first, and the cursor of the next page, None after the last."""
        found: list[IndexEntry] = []
        for _ in range(MAX_QUERIES):
            entries, cursor = self.entries(wanted, PAGE_SIZE, cursor)
            found += entries
            if len(found) > limit:
                found = found[:limit]
                cursor = found[-1].position
            if cursor is None or len(found) == limit:
                break
        # The index is a moment older than the rows: leave out what is no dead letter any more.
        rows = self.rows(found)
        listed = (rows.get(entry.job_id) for entry in found)
        return [job for job in listed if job and job.is_dead_letter], cursor
