"""Charts as numbers for templates: points of lines, ticks of axes. Pure; the look is in `parts.css`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from adbot_queue.core.clock import iso

_TOPS = (4, 8, 12, 20, 40, 80, 120, 160, 200, 240, 280, 320, 400)
"""Tops of axes whose quarters are round."""

FLOOR = 12
"""The least top of a sparkline: noise stays flat."""

MINUTE_MS = 60_000


def top_of(highest: float) -> int:
    """Return the top of an axis that holds `highest`."""
    scale = 1
    while highest > _TOPS[-1] * scale:
        scale *= 10
    return next(top * scale for top in _TOPS if top * scale >= highest)


def path(heights: Sequence[int]) -> str:
    """Return a line as SVG path data: steps of one to the right, in whole units, each relative to the one before.

    A page that refreshes every few seconds is mostly such numbers: absolute ones take twice the bytes, packed.
    """
    steps = [after - before for before, after in pairwise(heights)]
    return f"M0 {heights[0]}l" + " ".join(f"1{step}" if step < 0 else f"1 {step}" for step in steps)


def heights(values: Sequence[float], top: float, height: float) -> list[int]:
    """Return how far below the top of a plot of this height each value is."""
    return [round(height - height * value / top) for value in values]


@dataclass(frozen=True, slots=True)
class Hour:
    """Jobs a minute over an hour: enqueued and completed in one plot, failures in a strip of their own.

    Attributes:
        times: five minutes of the day, in UTC, with their place in percent.
        rows: minute, enqueued, completed, failed: the table behind the chart.
    """

    width: int
    top: int
    strip_top: int
    completed: str
    enqueued: str
    failed: list[tuple[int, int]]
    times: list[tuple[float, str]]
    rows: list[tuple[str, int, int, int]]
    last: tuple[int, int, int]

    @classmethod
    def of(cls, enqueued: Sequence[int], completed: Sequence[int], failed: Sequence[int], at: int) -> Hour:
        """Draw three series that end in the minute of `at`."""
        count = len(completed)
        top = top_of(max([1, *enqueued, *completed]))
        strip_top = top_of(max([1, *failed]))
        labels = [iso(at - (count - 1 - index) * MINUTE_MS)[11:16] for index in range(count)]
        places = [round(index * (count - 1) / 4) for index in range(5)]
        return cls(
            width=count - 1,
            top=top,
            strip_top=strip_top,
            completed=path(heights(completed, top, 100)),
            enqueued=path(heights(enqueued, top, 100)),
            failed=[(x, max(1, round(100 * value / strip_top))) for x, value in enumerate(failed) if value],
            times=[(round(100 * place / (count - 1), 2), labels[place]) for place in places],
            rows=list(zip(labels, enqueued, completed, failed, strict=True)),
            last=(enqueued[-2], completed[-2], failed[-2]),
        )

    @property
    def ticks(self) -> list[tuple[float, int]]:
        """Five lines: place in percent from above, value."""
        return [(25 * index, self.top - self.top * index // 4) for index in range(5)]


@dataclass(frozen=True, slots=True)
class Spark:
    """A line with its last point, and failures as ticks below: x in steps of one, y in whole pixels of 20."""

    width: int
    line: str
    last: int
    bad: list[int]

    @classmethod
    def of(cls, values: Sequence[int], bad: Sequence[int]) -> Spark:
        """Draw two series of equal length."""
        top = max(FLOOR, *values)
        line = [2 + one for one in heights(values, top, 13)]
        return cls(len(values) - 1, path(line), line[-1], [x for x, value in enumerate(bad) if value])
