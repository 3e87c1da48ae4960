"""Delete ended jobs of a queue: those that an operator has counted, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adbot_queue.core.clock import iso
from adbot_queue.core.errors import Conflict
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.api.list_schemas import CleanQuery
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.service import JobService
from adbot_queue.ledger import Actor, LedgerEntry

MAX_CLEANED = 1000
"""The most jobs that one request deletes."""

RESERVE_MS = 3_000
"""Milliseconds of a request at which deleting stops."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The number of matching jobs (counted up to `MAX_CLEANED`), the deleted ones, and whether others are left.

    `cut_off`: all of them ended before it (ISO 8601); confirmed with the count it means the same jobs.
    """

    count: int
    deleted: int
    more: bool
    cut_off: str


def clean(jobs: JobService, queue: str, wanted: CleanQuery, actor: Actor, time_left: Callable[[], int]) -> Cleaned:
    """Delete jobs of a queue that ended long enough ago; without `confirm` only count them.

    Idempotency keys of deleted jobs stay valid for their window: no effect is repeated.

    Raises:
        NotFound: the queue does not exist.
        Conflict: the count is no longer the confirmed one.
    """
    job_queues.queue(queue)
    store, state, confirm = jobs.store, wanted.state, wanted.confirm
    before = wanted.before(jobs.now())
    cut_off = iso(before)
    found: list[Job] = []
    cursor: str | None = None
    more = True
    while more and len(found) <= MAX_CLEANED and time_left() > RESERVE_MS:
        page, cursor = store.page(queue, state, limit=100, cursor=cursor, before=before, forward=True)
        # The index knows when they were created, and what has ended before was created before.
        found += [job for job in page if job.finished_at is not None and job.finished_at < before]
        more = cursor is not None
    more = more or len(found) > MAX_CLEANED
    found = found[:MAX_CLEANED]
    if confirm is None:
        return Cleaned(len(found), 0, more, cut_off)
    if confirm != len(found):
        raise Conflict(f"confirm: {len(found)} jobs match, not {confirm}", count=len(found), cut_off=cut_off)
    _sign(jobs, queue, {"state": state.value, "ended_before": cut_off, "jobs": len(found)}, actor, wanted.reason)
    deleted = 0
    for job in found:
        if time_left() < RESERVE_MS:
            more = True
            break
        deleted += store.delete(job)
    logger.info("cleaned", queue=queue, state=state.value, deleted=deleted)
    return Cleaned(len(found), deleted, more, cut_off)


def _sign(jobs: JobService, queue: str, after: dict[str, object], actor: Actor, reason: str) -> None:
    """Sign first: a request that dies half way has recorded what it meant to do."""
    transaction = jobs.store.transaction()
    jobs.ledger.sign(transaction, LedgerEntry(actor, "queue.clean", f"queue:{queue}", after=after, reason=reason))
    transaction.commit()
