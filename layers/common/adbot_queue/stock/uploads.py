"""Uploads as people see them, and those that their request left unpublished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from adbot_queue.adbots import service
from adbot_queue.adbots.storage import items
from adbot_queue.adbots.storage.pool_store import PoolStore
from adbot_queue.adbots.storage.rows import Reader, read_each
from adbot_queue.core import dynamodb, telemetry
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.errors import NotFound
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.long_running import Progress
from adbot_queue.ledger import SYSTEM
from adbot_queue.stock.claims import Claims, Upload
from adbot_queue.stock.publication import STAGED

STAGED_FOR_MS = 15 * 60_000
"""Age at which a staged upload is finished by a job: no function runs that long."""

STAGED_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """An upload as far as it is settled; `published_at` (ms) is None while it is staged."""

    upload: Upload
    claims: Claims
    progress: Progress
    published_at: int | None


@dataclass(frozen=True, slots=True)
class UploadAssignment:
    """Sessions of an upload that a bot got at once, from position `offset` of the list on.

    Attributes:
        version: of the pool, when it assigned them.
        seq: the bot's place in the queue; None: an operator assigned them by name.
    """

    adbot_id: str
    offset: int
    count: int
    version: int
    seq: int | None


class Uploads:
    """The uploads of all pools."""

    def __init__(self, store: PoolStore, enqueue: Callable[[str], None], now: Clock = system_clock) -> None:
        """Take `enqueue`: makes the job that finishes an upload; the same upload again changes nothing."""
        self._store = store
        self._enqueue = enqueue
        self._now = now

    def get(self, upload_id: str) -> StoredUpload:
        """Return an upload: one read, and while it is staged one more for each 9,900 lines.

        Raises:
            NotFound: it does not exist. UnreadableRow: this version cannot read it.
        """
        found = dynamodb.get(self._store.client, self._store.table, items.upload_key(upload_id))
        if found is None:
            raise NotFound(f"upload {upload_id} does not exist")
        return self._of(found)

    def page(self, kind: str, limit: int, cursor: str | None) -> tuple[list[StoredUpload], str | None]:
        """Return uploads of a kind (`STAGED`, `PUBLISHED`), newest first, and the cursor of the next page.

        One that this version cannot read is counted and left out.

        Raises:
            Invalid: the cursor is not one of this list.
        """
        keys, following = self._listed("#kind = :kind", limit, cursor, kind=kind)
        by_pk = {item["pk"]: item for item in dynamodb.get_many(self._store.client, self._store.table, keys)}
        rows = read_each((by_pk[key["pk"]] for key in keys if key["pk"] in by_pk), self._of)
        telemetry.count("RowsUnreadable", len(rows.bad))
        for unreadable in rows.bad:
            logger.error("upload left out", row=unreadable.item["pk"], reason=unreadable.reason)
        return rows.good, following

    def assignments(self, upload_id: str, limit: int, cursor: str | None) -> tuple[list[UploadAssignment], str | None]:
        """Return which bots got sessions of an upload, by position; those returned since are still listed. One read.

        Raises:
            Invalid: the cursor is not one of this list.
        """
        found, following = dynamodb.query_page(
            self._store.client,
            self._store.table,
            "pk = :pk AND begins_with(sk, :prefix)",
            limit=limit,
            cursor=cursor,
            forward=True,
            pk=f"UPLOAD#{upload_id}",
            prefix="ALLOC#",
        )
        return [_assignment_of(item) for item in found], following

    def finish_abandoned(self) -> int:
        """Enqueue the job that publishes what a dead request stored; return the number of such uploads."""
        condition, old = "#kind = :kind AND listed_at < :old", iso(self._now() - STAGED_FOR_MS)
        keys, _ = self._listed(condition, STAGED_PAGE_SIZE, None, forward=True, kind=STAGED, old=old)
        for key in keys:
            self._enqueue(key["pk"].removeprefix("UPLOAD#"))
        return len(keys)

    def _listed(
        self, condition: str, limit: int, cursor: str | None, *, forward: bool = False, **values: Any
    ) -> tuple[list[Item], str | None]:
        """Keys of the index, which may be a moment behind."""
        found, following = dynamodb.query_page(
            self._store.client,
            self._store.table,
            condition,
            index="by_kind",
            limit=limit,
            cursor=cursor,
            forward=forward,
            **values,
        )
        return [items.key(item["pk"], item["sk"]) for item in found], following

    def _of(self, found: Item) -> StoredUpload:
        row = Reader(found)
        upload = Upload(found["pk"].removeprefix("UPLOAD#"), row.text("pool"), row.number("count"))
        claims, published_at = Claims(self._store, upload), None
        if found.get("published_at") is None:
            claims.read()
        else:
            published_at = row.number("published_at")
        counted = found.get("outcomes") or claims.outcomes()
        if not isinstance(counted, dict) or not all(type(number) is int for number in counted.values()):
            raise row.refusal("outcomes")
        outcomes = Counter(counted)
        return StoredUpload(
            upload, claims, Progress(done=outcomes.total(), of=upload.count, outcomes=outcomes), published_at
        )


def _assignment_of(item: Item) -> UploadAssignment:
    _, offset, version = item["sk"].split("#")
    return UploadAssignment(item["adbot_id"], int(offset), item["count"], int(version), item.get("seq"))


def _enqueue(upload_id: str) -> None:
    from adbot_queue.jobs import service as jobs  # noqa: PLC0415  few uploads are abandoned

    key = f"finish-upload/{upload_id}"
    jobs.from_env().enqueue(jobs.JobRequest("finish-upload", {"upload_id": upload_id}, key=key), SYSTEM)


@lru_cache(maxsize=1)
def from_env() -> Uploads:
    """Return the uploads of this process."""
    return Uploads(service.from_env().store, _enqueue)
