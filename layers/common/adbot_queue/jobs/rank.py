"""A job's rank: its place in the order of service of its queue."""

from __future__ import annotations

import re

HIGHEST_PRIORITY = 100
LOWEST_PRIORITY = -100

RANK = re.compile(r"[0-9]{3}#[0-9]{13}")
"""What `rank` makes."""


def rank(priority: int, virtual_time: int) -> str:
    """Sorts jobs into the order of service: higher priority first, within one by virtual time (ms).

    The virtual time is the moment at which the job was enqueued, or later for a tenant who enqueues faster than its
    rate: many jobs of one tenant do not stand before another tenant's few (start-time fair queueing).
    """
    return f"{HIGHEST_PRIORITY - priority:03d}#{virtual_time:013d}"


def virtual_time(place: str) -> int:
    """The virtual time in a rank."""
    return int(place.partition("#")[2])
