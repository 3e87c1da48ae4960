"""The rows that enqueueing writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adbot_queue.core.errors import Invalid
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs.enqueue.request import JobRequest, ValidatedRequest
from adbot_queue.jobs.enqueue.result_webhook import with_result_webhook
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.store.records import JobInsert
from adbot_queue.platform.rate_limits import RateLimitResult


def inserts_of(
    store: JobStore, checked: Sequence[ValidatedRequest], now: int, rate_limit: RateLimitResult | None
) -> list[JobInsert]:
    """Return the row of each job in its first state, with the `deliver-webhook` job that reports its end, if any.

    Args:
        store: where parents are read.
        checked: validated requests.
        now: in ms.
        rate_limit: the acquired tokens: they place each job in the fair order of service.

    Raises:
        Invalid: a parent does not exist or did not complete, and the idempotency key is new.
        Unreadable: this version cannot read a parent's row.
    """
    return [
        _insert(store, one, rate_limit.virtual_time_of(index) if rate_limit else now, now)
        for index, one in enumerate(checked)
    ]


def _insert(store: JobStore, checked: ValidatedRequest, virtual_time: int, now: int) -> JobInsert:
    new, key_record = checked.new, checked.key_record(now)
    job = Job(
        time_ordered_id(now),
        checked.type.name,
        checked.type.queue,
        new.payload,
        now,
        priority=new.priority,
        tenant=new.tenant,
        fairness_delay_ms=max(0, virtual_time - now),
        tags=new.tags,
        batch=new.batch,
        depends_on=new.depends_on,
        run_if_parents_fail=new.run_if_parents_fail,
        idempotency_key=new.key,
        idempotency_expires_at=key_record.until if key_record else None,
        webhook_url=new.webhook_url,
        long_running=checked.type.long_running,
    )
    insert = JobInsert(job, key_record)
    try:
        return _placed(store, insert, new, now)
    except Invalid:
        # A repeated request: its parents may have ended since; the caller wants the first job.
        known = store.known(key_record, now) if key_record else None
        if known is None:
            raise
        return replace(insert, known=known)


def _placed(store: JobStore, insert: JobInsert, new: JobRequest, now: int) -> JobInsert:
    """Return the insert in its first state, with the job that reports its end."""
    job, run_at = insert.job, new.time(now)
    if new.depends_on:
        parents = _open_parents(store, new)
        job = job.blocked(parents, now) if parents else job.waiting(now)
    elif run_at is not None and run_at > now:
        job = job.delayed(run_at, now)
    else:
        job = job.waiting(now)
    job, with_it = with_result_webhook(job, now)
    return replace(insert, job=job, with_it=with_it)


def _open_parents(store: JobStore, new: JobRequest) -> frozenset[str]:
    found = store.all_of(new.depends_on)
    missing = [parent for parent in new.depends_on if parent not in found]
    if missing:
        raise Invalid.field("depends_on", f"there is no job {missing[0]}")
    ended = [job for job in found.values() if job.is_terminal and job.state is not JobState.COMPLETED]
    if ended and not new.run_if_parents_fail:
        raise Invalid.field("depends_on", f"job {ended[0].id} is {ended[0].state}")
    return frozenset(job.id for job in found.values() if not job.is_terminal)
