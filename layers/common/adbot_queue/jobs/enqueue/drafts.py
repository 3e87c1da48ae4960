"""From what is wanted to the rows that are written for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adbot_queue.core.errors import Invalid
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs.enqueue.request import Checked, NewJob
from adbot_queue.jobs.enqueue.result_webhook import told
from adbot_queue.jobs.model import Job, State
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.store.records import Draft
from adbot_queue.platform.rate_limits import Taken


def drafts_of(store: JobStore, checked: Sequence[Checked], now: int, taken: Taken | None) -> list[Draft]:
    """A row for each job, in its first state, with the job that tells its end where one is wanted.

    Args:
        store: where the jobs are that others depend on.
        checked: what is wanted.
        now: in ms.
        taken: the tokens that give each its place among the jobs of others.

    Raises:
        Invalid: a job that is depended on does not exist, or has ended otherwise than it should, and the key does not
            mean a job already.
        Unreadable: a job that is depended on cannot be read.
    """
    return [
        _draft(store, one, taken.virtual_time_of(index) if taken else now, now) for index, one in enumerate(checked)
    ]


def _draft(store: JobStore, checked: Checked, virtual_time: int, now: int) -> Draft:
    new, memory = checked.new, checked.memory(now)
    job = Job(
        time_ordered_id(now),
        checked.type.name,
        checked.type.queue,
        new.payload,
        now,
        priority=new.priority,
        tenant=new.tenant,
        lag=max(0, virtual_time - now),
        tags=new.tags,
        batch=new.batch,
        depends_on=new.depends_on,
        tolerant=new.tolerant,
        idempotency_key=new.key,
        remembered_until=memory.until if memory else None,
        webhook_url=new.webhook_url,
        long_running=checked.type.long_running,
    )
    draft = Draft(job, memory)
    try:
        return _placed(store, draft, new, now)
    except Invalid:
        # Those it depends on may have ended since it was enqueued; whoever repeats it asks for what it has become.
        known = store.known(memory, now) if memory else None
        if known is None:
            raise
        return replace(draft, known=known)


def _placed(store: JobStore, draft: Draft, new: NewJob, now: int) -> Draft:
    """The draft with its first state, and the job that will tell its end where one is wanted."""
    job, run_at = draft.job, new.time(now)
    if new.depends_on:
        parents = _open_parents(store, new)
        job = job.blocked(parents, now) if parents else job.waiting(now)
    elif run_at is not None and run_at > now:
        job = job.delayed(run_at, now)
    else:
        job = job.waiting(now)
    job, with_it = told(job, now)
    return replace(draft, job=job, with_it=with_it)


def _open_parents(store: JobStore, new: NewJob) -> frozenset[str]:
    found = store.all_of(new.depends_on)
    missing = [parent for parent in new.depends_on if parent not in found]
    if missing:
        raise Invalid.field("depends_on", f"there is no job {missing[0]}")
    ended = [job for job in found.values() if job.is_terminal and job.state is not State.COMPLETED]
    if ended and not new.tolerant:
        raise Invalid.field("depends_on", f"job {ended[0].id} is {ended[0].state}")
    return frozenset(job.id for job in found.values() if not job.is_terminal)
