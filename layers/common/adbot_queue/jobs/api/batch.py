"""A batch: jobs that are enqueued together, and a callback job that waits for all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from adbot_queue.core import idempotency
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import AppError, IdempotencyMismatch
from adbot_queue.core.http import Request
from adbot_queue.core.idempotency import IdempotencyRecord
from adbot_queue.core.ids import derived_id, fingerprint, time_ordered_id
from adbot_queue.jobs import job_types
from adbot_queue.jobs.api.batch_schemas import BatchItem, BatchView, EnqueueBatch
from adbot_queue.jobs.api.permission import permitted
from adbot_queue.jobs.service import Enqueued, JobRequest, JobService
from adbot_queue.ledger import Actor
from adbot_queue.platform.rate_limits import RateLimitResult


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of a batch; `replayed` when an earlier request with the same key had enqueued all of it."""

    view: BatchView
    rate_limit: RateLimitResult
    replayed: bool


def enqueue_batch(jobs: JobService, request: Request[EnqueueBatch]) -> Batch:
    """Enqueue the jobs of a request, then the callback, which waits for those that were enqueued.

    A request that died in between and is sent again with its Idempotency-Key finds its jobs and adds what is missing.

    Raises:
        IdempotencyMismatch: the key was used for another request.
        Invalid, RateLimited, Unavailable: as `JobService.enqueue_many`.
    """
    user, actor, now, key = request.caller.id, Actor.behind(request), system_clock(), request.idempotency_key
    batch = derived_id("bat_", user, key) if key else "bat_" + time_ordered_id(now)
    wanted = request.body.jobs
    requests = [
        job.new(user, job.idempotency_key or (f"{batch}#{index}" if key else None), batch)
        for index, job in enumerate(wanted)
    ]
    callback = request.body.callback
    last = [callback.new(user, f"{batch}#callback", batch)] if callback else []
    requests = permitted(jobs, request.caller, requests, "jobs.{}.")
    last = permitted(jobs, request.caller, last, "callback.")
    whole = _whole(requests, last, batch, now) if key else None
    known = jobs.store.known(whole, now) if whole else None
    if known:
        known.checked()
    rate_limit = jobs.acquire(user, len(requests) + len(last))
    outcomes = jobs.enqueue_many(requests, actor, request.time_left, rate_limit, whole)
    items = [BatchItem.of(index, outcome) for index, outcome in enumerate(outcomes)]
    called, again = _callback(jobs, last[0], outcomes, actor) if last else (None, True)
    replayed = again and all(item.replayed for item in items)
    return Batch(BatchView(batch_id=batch, items=items, callback_job_id=called), rate_limit, replayed)


def _whole(requests: list[JobRequest], last: list[JobRequest], batch: str, now: int) -> IdempotencyRecord:
    """What the request's key is remembered by: all that it asks for, for as long as any of its jobs is."""
    asked = [[new.key, new.fingerprint] for new in (*requests, *last)]
    windows = [job_types.find(new.type).window_s for new in (*requests, *last)]
    return IdempotencyRecord(idempotency.key_of(batch), fingerprint(json.dumps(asked)), now + max(windows) * 1000)


def _callback(jobs: JobService, new: JobRequest, outcomes: list[Enqueued | AppError], actor: Actor) -> tuple[str, bool]:
    """The callback's job, and whether it was there already: whatever its members were then."""
    ids = tuple(dict.fromkeys(outcome.job.id for outcome in outcomes if isinstance(outcome, Enqueued)))
    try:
        enqueued = jobs.enqueue(new.after(ids), actor)
    except IdempotencyMismatch as error:
        return str(error.extra["job_id"]), True
    return enqueued.job.id, enqueued.replayed
