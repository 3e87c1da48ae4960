"""Dead letters in the Jobs table: the rows of jobs, found by the index `by_state`.

by_state  listing = dead, listed_at = the end   a decision takes a job off the list
"""

from __future__ import annotations

from dataclasses import dataclass

from adbot_queue.core import cursors, dynamodb
from adbot_queue.core.dynamodb import Item, Table
from adbot_queue.core.errors import Invalid
from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.store.items import DEAD_LISTING, item_of, key_of, sort_out
from adbot_queue.jobs.unreadable import report

MAX_COUNTED = 10_000
COUNTED_PAGE_SIZE = 2_000
"""Index entries that a count reads in all, and in one Query (below its 1 MB)."""

_FOREVER = 10**15
_POSITION = ("pk", "sk", "listing", "listed_at")
_FILTERED = ("queue", "type", "state", "fingerprint")


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A dead letter as the index knows it; `position` is its place there."""

    key: Item
    died_at: int
    queue: str
    type: str
    fingerprint: str
    position: str

    @property
    def job_id(self) -> str:
        """Its job."""
        return str(self.key["pk"]).partition("#")[2]


class DeadLetterStore(Table):
    """Access patterns of the Jobs table that concern dead letters."""

    def entries(
        self, wanted: DeadLetterFilter, limit: int, cursor: str | None, *, forward: bool = False
    ) -> tuple[list[IndexEntry], str | None]:
        """Run one Query: the entries that match among the next `limit`. The index is eventually consistent.

        Raises:
            Invalid: the cursor is not of this list.
        """
        until = _FOREVER if wanted.until is None else wanted.until
        if wanted.since > until:
            return [], None  # DynamoDB refuses an empty range
        if cursor and cursors.open_cursor(cursor).keys() != set(_POSITION):
            raise Invalid.field("cursor", "is not a cursor of this list")
        if wanted.job_ids is not None:
            return self._chosen(wanted, limit, cursor, forward=forward)
        filters = {name: value for name in _FILTERED if (value := getattr(wanted, name)) is not None}
        found, following = dynamodb.query_page(
            self.client,
            self.table,
            "listing = :listing AND listed_at BETWEEN :since AND :until",
            index="by_state",
            limit=limit,
            cursor=cursor,
            forward=forward,
            where=" AND ".join(f"#{name} = :{name}" for name in filters) or None,
            listing=DEAD_LISTING,
            since=wanted.since,
            until=until,
            **filters,
        )
        return [_entry_of(item) for item in found], following

    def _chosen(
        self, wanted: DeadLetterFilter, limit: int, cursor: str | None, *, forward: bool
    ) -> tuple[list[IndexEntry], str | None]:
        """Return the entries of named jobs, as `entries` does: their rows are read, and not the index."""
        keys = [key_of(job_id) for job_id in dict.fromkeys(wanted.job_ids or ())]
        jobs, unreadable = sort_out(dynamodb.get_many(self.client, self.table, keys))
        report(unreadable)
        found = [_entry_of(item_of(job)) for job in jobs if wanted.takes(job)]
        found.sort(key=_place, reverse=not forward)
        if cursor:
            position = cursors.open_cursor(cursor)
            last = (position["listed_at"], position["pk"])
            found = [entry for entry in found if (_place(entry) > last if forward else _place(entry) < last)]
        page = found[:limit]
        return page, page[-1].position if len(found) > limit else None

    def counted(self, wanted: DeadLetterFilter, max_counted: int = MAX_COUNTED) -> tuple[list[IndexEntry], bool]:
        """Return the newest that match among at most `max_counted` entries read, and whether these are all."""
        found: list[IndexEntry] = []
        cursor: str | None = None
        for _ in range(max_counted // COUNTED_PAGE_SIZE):
            entries, cursor = self.entries(wanted, COUNTED_PAGE_SIZE, cursor)
            found += entries
            if cursor is None:
                return found, True
        return found, False

    def rows(self, entries: list[IndexEntry]) -> dict[str, Job]:
        """Return the jobs of these entries as they are now, by id; unreadable rows are reported and left out."""
        jobs, unreadable = sort_out(dynamodb.get_many(self.client, self.table, [entry.key for entry in entries]))
        report(unreadable)
        return {job.id: job for job in jobs}


def _place(entry: IndexEntry) -> tuple[int, str]:
    return entry.died_at, str(entry.key["pk"])


def _entry_of(item: Item) -> IndexEntry:
    position = {name: item[name] for name in _POSITION}
    # The row's own reader refuses an attribute of another shape; its entry only must not hurt the others.
    queue, job_type, fingerprint = (
        text if isinstance(text := item.get(name), str) else "" for name in ("queue", "type", "fingerprint")
    )
    key = {"pk": item["pk"], "sk": item["sk"]}
    return IndexEntry(key, item["listed_at"], queue, job_type, fingerprint, cursors.make_cursor(position))
