"""How a lost race is run again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from adbot_queue.core.dynamodb import Contended
from adbot_queue.core.errors import Unavailable

Result = TypeVar("Result")

RACES = 12
"""Lost races after which one gives up: with jittered pauses up to a quarter of a second, about 1.5 s."""


def race(attempt: Callable[[], Result], lost: tuple[type[Exception], ...] = (Contended,)) -> Result:
    """Try until nobody was faster: `attempt` decides and commits anew each time.

    Args:
        attempt: what is tried.
        lost: what it raises when somebody was faster.

    Raises:
        Unavailable: it lost `RACES` times in a row.
    """
    for number in range(RACES):
        try:
            return attempt()
        except lost:
            time.sleep(random.uniform(0, min(0.005 * 2**number, 0.25)))  # noqa: S311  full jitter, no secret
    raise Unavailable("too many changes at once; try again in a moment")
