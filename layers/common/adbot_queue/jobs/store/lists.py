"""Jobs that an index lists as ready, or as due."""

from __future__ import annotations

from typing import Any

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item
from adbot_queue.jobs.store.rows import JobRows, job_id_of


class JobLists(JobRows):
    """Access patterns of the Jobs table that concern jobs to run or to look at."""

    def ready(self, queue: str, limit: int) -> list[tuple[str, str]]:
        """The first waiting jobs of a queue in the order of service: rank and id. As old as the index, a moment."""
        found, _ = self._index("ready", "queue = :queue", limit, None, queue=queue)
        return [(item["rank"], job_id_of(item)) for item in found]

    def due(self, queue: str, until: int, limit: int, cursor: str | None = None) -> tuple[list[str], str | None]:
        """Ids of the delayed and active jobs that must be looked at, the most overdue first; the next page's cursor.

        Pages follow the index: none shows a job again that is still due.
        """
        condition = "queue = :queue AND due_at <= :until"
        found, following = self._index("due", condition, limit, cursor, queue=queue, until=until)
        return [job_id_of(item) for item in found], following

    def _index(
        self, index: str, condition: str, limit: int, cursor: str | None, **values: Any
    ) -> tuple[list[Item], str | None]:
        return dynamodb.query_page(
            self.client, self.table, condition, index=index, limit=limit, cursor=cursor, forward=True, **values
        )
