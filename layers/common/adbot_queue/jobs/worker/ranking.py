"""Which waiting jobs the messages of a batch may run. Pure.

A message permits one job of its queue to run, as a rule the named one. Order matters with a backlog only (a full
batch): then a job of higher priority, or one clearly earlier in fair order, goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

FAIRNESS_SLACK_MS = 2_000
"""How much earlier (virtual time) another job must be to go first: less is not worth a race between workers."""

RankedJob = tuple[str, str]
"""A job's rank and id."""


def select(
    own: Sequence[tuple[str | None, str]], window: Sequence[RankedJob], shuffle: Callable[[list[str]], None]
) -> tuple[list[str], list[str]]:
    """Return what to claim.

    Args:
        own: rank and id of the jobs that the batch names; without a rank a job is never passed over.
        window: the first waiting jobs of the queue, in order of service.
        shuffle: shuffles a list in place, so that workers with the same window claim different jobs.

    Returns:
        As many ids as `own` has, and the ids to try when a claim fails, in order.
    """
    names = {job_id for _, job_id in own}
    others = [place for place in window if place[1] not in names]
    unranked = [job_id for rank, job_id in own if rank is None]
    ranked = sorted((rank, job_id) for rank, job_id in own if rank is not None)
    # The first of the others against the last of ours, the second against the last but one, while they go first.
    passed = 0
    for (rank, _), (mine, _) in zip(others, reversed(ranked), strict=False):
        if not outranks(rank, mine):
            break
        passed += 1
    kept, given_up = ranked[: len(ranked) - passed], ranked[len(ranked) - passed :]
    best, rest = [job_id for _, job_id in others[:passed]], [job_id for _, job_id in others[passed:]]
    shuffle(best)
    return [*unranked, *best, *(job_id for _, job_id in kept)], [*(job_id for _, job_id in given_up), *rest]


def outranks(rank: str, other: str) -> bool:
    """Return whether a rank goes before another: higher priority, or earlier by more than the slack."""
    priority, _, moment = rank.partition("#")
    other_priority, _, other_moment = other.partition("#")
    try:
        earlier = int(moment) + FAIRNESS_SLACK_MS < int(other_moment)
    except ValueError:  # no rank of ours
        earlier = False
    return priority < other_priority or (priority == other_priority and earlier)
