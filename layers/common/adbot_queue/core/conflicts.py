"""Optimistic concurrency: what lost to another writer is decided and written again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from adbot_queue.core.dynamodb import TransactionConflict, TransactionRejected
from adbot_queue.core.errors import Unavailable

Result = TypeVar("Result")

MAX_CONFLICT_RETRIES = 12
"""Tries in all: with jittered pauses of up to a quarter of a second, about 1.5 s."""

CONFLICTS = (TransactionConflict,)
CHANGED = (TransactionConflict, TransactionRejected)
"""For an attempt whose conditions all say that what it read is still so."""


def retry_on_conflict(attempt: Callable[[], Result], conflicts: tuple[type[Exception], ...] = CONFLICTS) -> Result:
    """Return what `attempt` returns; it reads, decides and commits anew each time.

    Args:
        attempt: one try.
        conflicts: what it raises when another writer was faster.

    Raises:
        Unavailable: it lost `MAX_CONFLICT_RETRIES` times in a row.
    """
    for number in range(MAX_CONFLICT_RETRIES):
        try:
            return attempt()
        except conflicts:
            time.sleep(random.uniform(0, min(0.005 * 2**number, 0.25)))  # noqa: S311  full jitter, no secret
    raise Unavailable("too many changes at once; try again in a moment")
