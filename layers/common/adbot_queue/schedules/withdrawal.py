"""What a change of a schedule takes back of the ticks that were decided. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adbot_queue.jobs.model import Job, JobState
from adbot_queue.schedules.model import Schedule, ScheduleSpec
from adbot_queue.schedules.ticks import Tick, TickOutcome


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The decided ticks that a change or removal takes back: the latest ones, whose jobs have not started.

    Attributes:
        ticks: latest first.
        jobs: their jobs, as they are.
        kept_until: the latest tick that stays; 0: none of late.
    """

    ticks: tuple[Tick, ...] = ()
    jobs: tuple[Job, ...] = ()
    kept_until: int = 0

    @classmethod
    def of(cls, ticks: Sequence[Tick], jobs: Mapping[str, Job], now: int) -> Withdrawal:
        """Return what is taken back of the latest ticks (latest first), given their jobs.

        It ends at the first tick whose job has started: an earlier one runs too, so that ticks keep their order.
        """
        taken: list[Tick] = []
        cancelled: list[Job] = []
        for tick in ticks:
            if tick.outcome in {TickOutcome.MANUAL, TickOutcome.WITHDRAWN}:
                continue
            job = jobs.get(tick.job_id or "")
            if job and job.state is JobState.DELAYED and not job.attempt and not job.attempts:
                cancelled.append(job)
            elif tick.outcome is not TickOutcome.REFUSED or tick.at <= now:
                return cls(tuple(taken), tuple(cancelled), tick.at)
            taken.append(tick)
        return cls(tuple(taken), tuple(cancelled))


def changed(before: Schedule, spec: ScheduleSpec, job_queue: str, now: int, withdrawal: Withdrawal) -> Schedule:
    """Return a schedule as a person specifies it now. Withdrawn ticks are decided again.

    What was due before its timing changed, or while it was disabled, is not caught up on.
    """
    retimed = spec.timing != before.spec.timing
    until = min([before.decided_until, *(tick.at - 1 for tick in withdrawal.ticks)])
    if retimed or (spec.enabled and not before.spec.enabled):
        until = max(now, withdrawal.kept_until if withdrawal.ticks else until)
    anchor = now if retimed else before.anchor
    after = replace(before, spec=spec, job_queue=job_queue, updated_at=now, anchor=anchor, version=before.version + 1)
    return after.decided(until, None)
