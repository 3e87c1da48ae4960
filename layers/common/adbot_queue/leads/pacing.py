"""How fast a day's messages go out. Pure.

`even` spreads what is left over what is left of the window, so a standstill is made up for slowly, never in a burst;
`burst` sends as fast as the batch allows. The batch bounds messages without a report.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from adbot_queue.leads.settings import Spread

JITTER = 0.2
"""Messages go out up to a fifth earlier or later than evenly: exact intervals look like a machine's."""

MIN_PAUSE_MS = 10_000
"""Between two steps; where messages are due more often, a step hands over several."""

LOOK_AGAIN_MS = 5_000
"""When a full batch is looked at again."""

SILENCE_MS = 15 * 60_000
"""A batch that stays full for so long waits for reports that got lost, and is passed by."""

MAX_STEP = 25
"""Messages of one step: each is three items of a transaction."""


@dataclass(frozen=True, slots=True)
class Step:
    """How many messages to dispatch now, and when to look again (ms).

    Attributes:
        full_since: since when (ms) the batch is full; None: it is not.
    """

    count: int
    not_before: int
    full_since: int | None = None


def step(
    now: int,
    window_end: int,
    *,
    queued: int,
    unreported: int,
    batch: int,
    spread: Spread,
    full_since: int | None,
    jitter: float,
) -> Step:
    """Return what to hand over now.

    Args:
        now: in ms, within the window.
        window_end: in ms.
        queued: messages that are left; at least 1.
        unreported: messages that were handed over and have no report.
        batch: how many may be unreported.
        spread: how messages are spread.
        full_since: as the step before answered.
        jitter: a random number of [0, 1).
    """
    free = batch - unreported
    if free <= 0:
        since = now if full_since is None else full_since
        if now - since < SILENCE_MS:
            return Step(0, min(now + LOOK_AGAIN_MS, window_end), since)
        free = 1
    else:
        since = None
    if spread is Spread.BURST:
        return Step(min(queued, free, MAX_STEP), min(now + LOOK_AGAIN_MS, window_end), since)
    interval = (window_end - now) / (queued + 1)
    due = max(1, math.ceil(MIN_PAUSE_MS / interval))
    count = min(due, queued, free, MAX_STEP)
    pause = count * interval * (1 + JITTER * (2 * jitter - 1))
    return Step(count, min(now + round(pause), window_end), since)
