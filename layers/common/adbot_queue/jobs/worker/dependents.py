"""Jobs blocked by others: released or cancelled when those have ended."""

from __future__ import annotations

from collections.abc import Iterable

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.jobs.model import MAX_RECHECK_MS, RECHECK_MS, Job, JobState
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.unreadable import Unreadable, report
from adbot_queue.jobs.worker.dispatch import Dispatcher


class Dependents:
    """Notifies children that a parent has ended.

    Every step may be repeated or lost: the sweeper rechecks a blocked job (`due_at`) by reading its parents.
    """

    def __init__(self, store: JobStore, dispatcher: Dispatcher, now: Clock = system_clock) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._now = now

    def notify(self, parent: Job) -> None:
        """Notify the children of a job that has ended."""
        ready: list[Job] = []
        for child in sorted(parent.children):
            try:
                ready += self._parent_ended(child, parent.id, parent)
            except Unreadable as error:  # it waits for a version whose sweeper can read it
                report([error])
        self._dispatcher.send(ready)

    def register(self, child: Job) -> None:
        """Register a suspended job with the jobs that it waits for."""
        registered = [self._store.add_child(parent, {child.id}) for parent in sorted(child.blocked_by)]
        if not all(registered):
            self.recheck(child)

    def _parent_ended(self, child_id: str, parent_id: str, parent: Job | None) -> Iterable[Job]:
        """Yield the child if it may run now. `parent` is None when its row is gone."""
        if parent and parent.state is not JobState.COMPLETED:
            child = self._store.get(child_id)
            if child is None or not child.blocked_by:
                return
            if not child.run_if_parents_fail and not child.has_started:
                self._cancel(child, parent)
                return
        child = self._store.parent_done(child_id, parent_id)
        if child and (child.has_started or not child.blocked_by):
            released = self._store.change(child, child.waiting(self._now()))
            if released:
                yield released

    def _cancel(self, child: Job, parent: Job) -> None:
        why = f"it depends on {parent.id}, which is {parent.state}"
        cancelled = self._store.change(child, child.cancelled(why, self._now()))
        if cancelled and cancelled.children:
            self.notify(cancelled)

    def recheck(self, child: Job) -> None:
        """Check the parents of a blocked job, for the sweeper.

        A parent without a row (deleted, expired, or never written because the request died) counts as completed. An
        unreadable parent has not ended.
        """
        parents = self._store.get_many(child.blocked_by)
        ready: list[Job] = []
        for parent_id in sorted(child.blocked_by - {one.job_id for one in parents.unreadable}):
            parent = parents.get(parent_id)
            if parent is None or parent.is_terminal:
                ready += self._parent_ended(child.id, parent_id, parent)
        if not child.blocked_by:
            ready += self._parent_ended(child.id, "-", None)
        if ready:
            self._dispatcher.send(ready)
            return
        now = self._store.get(child.id)
        if now and now.state is JobState.DELAYED and now.blocked_by:
            # A parent does not end before its own run_at.
            soonest = min((parent.run_at or 0 for parent in parents.values() if not parent.is_terminal), default=0)
            self._recheck_later(now, soonest)

    def _recheck_later(self, child: Job, soonest: int) -> None:
        """Schedule the next recheck after half the time waited so far, at most an hour."""
        now = self._now()
        since = max(soonest, child.started_at or child.created_at)
        pause = min(max((now - since) // 2, RECHECK_MS), MAX_RECHECK_MS)
        self._store.change(child, child.blocked(child.blocked_by, max(soonest, now), pause))
