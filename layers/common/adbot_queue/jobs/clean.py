"""Deleting ended jobs of a queue, as many as the operator says and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adbot_queue.core.clock import iso
from adbot_queue.core.errors import Conflict
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs import registry
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.schemas import CleanQuery
from adbot_queue.jobs.service import JobService
from adbot_queue.ledger import Actor, Entry

MOST_CLEANED = 1000
"""Jobs that one request deletes at the most."""

RESERVE_MS = 3_000
"""Time left of a request at which it stops deleting."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """How many jobs matched (counted up to `MOST_CLEANED`), how many are deleted, and whether others are left."""

    matching: int
    deleted: int
    more: bool


def clean(jobs: JobService, queue: str, wanted: CleanQuery, actor: Actor, time_left: Callable[[], int]) -> Cleaned:
    """Delete ended jobs of a queue that were created long enough ago, oldest first; without `confirm` only count them.

    The keys of deleted jobs stay remembered for their window: what a job did is not done again.

    Raises:
        NotFound: there is no such queue.
        Conflict: there are not as many as the caller confirms.
    """
    registry.queue(queue)
    store, state, confirm = jobs.store, wanted.state, wanted.confirm
    before = jobs.now() - wanted.older_than_seconds * 1000
    found: list[Job] = []
    cursor: str | None = None
    more = True
    while more and len(found) <= MOST_CLEANED:
        page, cursor = store.page(queue, state, limit=100, cursor=cursor, before=before, forward=True)
        found += page
        more = cursor is not None
    more = more or len(found) > MOST_CLEANED
    found = found[:MOST_CLEANED]
    if confirm is None:
        return Cleaned(len(found), 0, more)
    if confirm != len(found):
        raise Conflict(f"{len(found)} jobs match, not {confirm}", matching=len(found))
    _sign(jobs, queue, {"state": state.value, "created_before": iso(before), "jobs": len(found)}, actor)
    deleted = 0
    for job in found:
        if time_left() < RESERVE_MS:
            more = True
            break
        deleted += store.delete(job)
    logger.info("cleaned", queue=queue, state=state.value, deleted=deleted)
    return Cleaned(len(found), deleted, more)


def _sign(jobs: JobService, queue: str, after: dict[str, object], actor: Actor) -> None:
    """Before anything is deleted: a request that dies half way has signed for what it meant to do."""
    transaction = jobs.store.transaction()
    jobs.ledger.sign(transaction, Entry(actor, "queue.clean", f"queue:{queue}", after=after))
    transaction.commit()
