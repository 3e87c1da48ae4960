"""A batch: jobs that are enqueued together, and a callback job that waits for all of them."""

from __future__ import annotations

from dataclasses import replace

from adbot_queue import owner
from adbot_queue.core.clock import system_clock
from adbot_queue.core.errors import AppError
from adbot_queue.core.http import Caller, Request
from adbot_queue.core.ids import derived_id, time_ordered_id
from adbot_queue.jobs.schemas import BatchItem, BatchView, EnqueueBatch
from adbot_queue.jobs.service import Enqueued, JobService, NewJob
from adbot_queue.ledger import Actor
from adbot_queue.system.limits import Taken


def enqueue_batch(jobs: JobService, request: Request[EnqueueBatch]) -> tuple[BatchView, Taken]:
    """Enqueue the jobs of a request, then the callback, which waits for those that were enqueued.

    A request that died in between and is sent again with its Idempotency-Key finds its jobs and adds the callback.

    Raises:
        Invalid, RateLimited, Unavailable: as `JobService.enqueue_many`.
    """
    user, actor, now, key = request.caller.id, Actor.behind(request), system_clock(), request.idempotency_key
    batch = derived_id("bat_", user, key) if key else "bat_" + time_ordered_id(now)
    wanted = request.body.jobs
    news = [
        job.new(user, now, job.idempotency_key or (f"{key}#{index}" if key else None), batch)
        for index, job in enumerate(wanted)
    ]
    callback = request.body.callback
    last = [callback.new(user, now, f"{batch}#callback", batch)] if callback else []
    news = permitted(jobs, request.caller, news, "jobs.{}.")
    last = permitted(jobs, request.caller, last, "callback.")
    taken = jobs.admit(user, len(news) + len(last))
    outcomes = jobs.enqueue_many(news, actor, request.time_left, taken)
    called = _callback(jobs, last, outcomes, actor) if last else None
    items = [BatchItem.of(index, outcome) for index, outcome in enumerate(outcomes)]
    return BatchView(batch=batch, items=items, callback=called), taken


def permitted(jobs: JobService, caller: Caller, news: list[NewJob], prefix: str = "") -> list[NewJob]:
    """Jobs as a person may have them enqueued; `prefix` as in `JobService.check`.

    Raises:
        Invalid, Forbidden: as `JobService.check`, `owner.permitted`. Nothing is spent or written.
    """
    jobs.check(news, prefix)
    return [replace(new, payload=owner.permitted(caller, new.type, new.payload)) for new in news]


def _callback(jobs: JobService, last: list[NewJob], outcomes: list[Enqueued | AppError], actor: Actor) -> str | None:
    ids = tuple(dict.fromkeys(outcome.job.id for outcome in outcomes if isinstance(outcome, Enqueued)))
    (new,) = last
    enqueued = jobs.enqueue(new.after(ids), actor)
    return enqueued.job.id
