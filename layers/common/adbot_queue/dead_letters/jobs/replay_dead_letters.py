"""`replay-dead-letters`: replays many dead letters."""

from __future__ import annotations

from adbot_queue.jobs.dead_letter_jobs import ReplayDeadLetters, replay_dead_letters
from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType

JOB = JobType(
    queue="maintenance",
    payload=ReplayDeadLetters,
    handler=replay_dead_letters,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    timeout_s=30,
    # It goes on where it stopped, however often its worker dies: hours of a large replay must survive that.
    policy=exponential(20, 2),
    parallel=False,
    internal=True,
)
