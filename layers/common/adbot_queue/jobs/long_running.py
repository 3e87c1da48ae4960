"""Work that takes longer than one run of a worker: a job that works in slices.

A handler answers one question, what the next slice is. The rest is here: each slice's effects and the progress of the
job are one transaction, on the condition that the lease is still held and that cancellation was not requested. So a
worker that lost its lease writes nothing, a kill anywhere repeats nothing, and no slice is written after a cancel.

    class Purge(LongRunningJob):
        def next_slice(self, progress: Progress) -> Slice:
            rows, cursor = self._store.page(progress.cursor)
            return Slice(cursor, done=len(rows), outcomes={"deleted": len(rows)}, effects=lambda transaction: ...)

    def purge(payload: PurgePayload, context: Context) -> dict[str, Any]:
        return run(Purge(payload), context)

Before the worker's deadline the job puts itself back, which spends no attempt. A slice that fails spends one; progress
resets the count. The progress outlives the job's end: a retry resumes from the cursor.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from adbot_queue.core.clock import iso
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import Transaction, TransactionRejected
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import Cancelled, PermanentError, Snooze, TransientError

if TYPE_CHECKING:
    from adbot_queue.jobs.model import Job
    from adbot_queue.jobs.store.jobs import JobStore

RESERVE_S = 6.0
"""No slice starts with less than this left of a run."""

CATCH_UP_MS = 5_000
"""A pause longer than this is not made up for: the rate counts from now on."""

MAX_CHECKPOINT_BYTES = 256 * 1024
"""A DynamoDB item has at most 400 KB."""

_FIELDS = ("cursor", "done", "of", "outcomes", "cut_off", "is_finished")

Effects = Callable[[Transaction], None]
"""Adds what a slice writes to the transaction of its progress; at most 99 items."""


class NextRun(Snooze):
    """More slices follow in another run. Spends no attempt, and is no failure."""


class LeaseLost(TransientError):
    """The lease expired. The slice was not written."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long-running job is.

    Attributes:
        cursor: where the next slice begins, JSON; None before the first.
        done: items processed.
        of: items in total; None if not known.
        outcomes: number of items by outcome.
        cut_off: only items from before this moment (ms) are processed; None: no limit.
        is_finished: there are no more slices.
    """

    cursor: Any = None
    done: int = 0
    of: int | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    cut_off: int | None = None
    is_finished: bool = False

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any]) -> Progress:
        """Read the checkpoint of a job; empty before the first slice."""
        return cls(**{name: checkpoint[name] for name in _FIELDS if name in checkpoint})

    def stored(self) -> dict[str, Any]:
        """Return it as it is stored in the checkpoint of a job."""
        return {name: getattr(self, name) for name in _FIELDS} | {"outcomes": dict(self.outcomes)}

    def after(self, one: Slice) -> Progress:
        """Return the progress after a slice."""
        return Progress(
            one.cursor,
            self.done + one.done,
            self.of if one.of is None else one.of,
            Counter(self.outcomes) + Counter(one.outcomes),
            self.cut_off if one.cut_off is None else one.cut_off,
            one.is_last,
        )

    def shown(self) -> dict[str, Any]:
        """Return what a person sees of it."""
        cut_off = None if self.cut_off is None else iso(self.cut_off)
        return {"done": self.done, "of": self.of, "outcomes": dict(self.outcomes), "cut_off": cut_off}


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the work, written at once.

    Attributes:
        cursor: where the next slice begins; a small JSON value.
        done: items processed by this slice.
        outcomes: number of items by outcome.
        effects: adds the slice's writes to the transaction of the progress. Effects elsewhere happen before the slice
            is returned, and must be idempotent.
        afterwards: what may be lost when the worker dies, such as sending the messages of jobs that `effects` made
            waiting.
        of: items in total, once known.
        cut_off: in ms, once known.
        not_before: earliest start of the next slice (ms): a rate, or a pause before a recheck.
        is_last: there are no more slices.
    """

    cursor: Any
    done: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    effects: Effects | None = None
    afterwards: Callable[[], None] | None = None
    of: int | None = None
    cut_off: int | None = None
    not_before: int = 0
    is_last: bool = False


class LongRunningJob(ABC):
    """The work of one job. It holds no state between slices but what `Progress` says."""

    reserve_s = RESERVE_S

    @abstractmethod
    def next_slice(self, progress: Progress) -> Slice:
        """Read what is next and decide; asked again if a condition of the slice's effects refused."""

    def result(self, progress: Progress) -> dict[str, Any]:
        """Return the job's result when the last slice is written."""
        return progress.shown()


def run(work: LongRunningJob, context: Context) -> dict[str, Any]:
    """Work on slices until nothing is left or the time of this run is over; the job's result.

    Raises:
        NextRun: there is more to do.
        Cancelled: cancellation was requested; the slices so far stay.
        LeaseLost: this worker no longer holds the job.
    """
    while not (progress := Progress.read(context.checkpoint)).is_finished:
        context.check_cancelled()
        if context.seconds_left() < work.reserve_s:
            raise NextRun("more to do", 0)
        written = retry_on_conflict(partial(_write_slice, work, progress, context), CHANGED)
        if written.afterwards:
            written.afterwards()
        wait_ms = 0 if written.is_last else written.not_before - context.now()
        if wait_ms > 0:
            raise NextRun("more to do later", wait_ms / 1000)
    return work.result(progress)


def _write_slice(work: LongRunningJob, before: Progress, context: Context) -> Slice:
    """Decide on a slice and write it; one that changes nothing needs no write."""
    decided = work.next_slice(before)
    after = before.after(decided)
    if decided.effects or after != before:
        context.commit_slice(context.checkpoint | after.stored(), decided.effects)
    return decided


def commit(store: JobStore, job: Job, checkpoint: dict[str, Any], effects: Effects | None) -> Job:
    """Write a slice: its effects, the progress and, as progress was made, an attempt count of 1.

    Items: the job (refuses if the lease is lost, cancellation was requested or the slice is written already) and what
    `effects` adds.

    Returns:
        The job as it is then.

    Raises:
        LeaseLost, Cancelled: nothing was written.
        TransactionRejected: a condition of the effects did not hold; nothing was written.
        TransactionConflict: nothing was written; try again.
        PermanentError: the checkpoint is too large.
    """
    size = len(json.dumps(checkpoint, separators=(",", ":")))
    if size > MAX_CHECKPOINT_BYTES:
        raise PermanentError(f"checkpoint: must be at most {MAX_CHECKPOINT_BYTES} bytes, not {size}")
    after = job.changed(checkpoint=checkpoint, slices=job.slices + 1, attempt=1, tried_since=None)
    try:
        store.commit_slice(after, effects)
    except TransactionRejected as refused:
        if "job" not in refused.failed:
            raise
        stored = refused.failed["job"]
        ours = stored is not None and stored.get("lease") == job.lease
        if stored and ours and stored.get("slices") == after.slices:
            return after  # the answer got lost, and the client sent it again
        if ours:
            raise Cancelled("cancelled on request") from None
        raise LeaseLost("the lease was lost") from None
    return after


def allowed(paced_at: int, now: int, rate: float) -> int:
    """Return how many items may be worked on now, at `rate` items a second.

    Args:
        paced_at: what `next_at` returned for the item before; now for the first.
        now: in ms.
        rate: items a second, at most.
    """
    late_ms = now - max(paced_at, now - CATCH_UP_MS)
    return 0 if late_ms < 0 else 1 + math.floor(late_ms * rate / 1000)


def next_at(paced_at: int, now: int, rate: float) -> int:
    """Return when (ms) the item after one that is worked on now may follow; as `allowed`."""
    return max(paced_at, now - CATCH_UP_MS) + math.ceil(1000 / rate)
