"""Charts as numbers for templates: points of lines, ticks of axes. Pure; the look is in `parts.css`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


def points(values: Sequence[float], top: float, height: float) -> str:
    """Return the points of a line: x in steps of one, y down from `top`."""
    return " ".join(f"{x},{_short(height - height * value / top)}" for x, value in enumerate(values))


def _short(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


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
    failed: list[tuple[int, float]]
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
            completed=points(completed, top, 100),
            enqueued=points(enqueued, top, 100),
            failed=[(x, round(100 * value / strip_top, 1)) for x, value in enumerate(failed) if value],
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
    """A line 96 x 20 with its last point, and failures as ticks below."""

    line: str
    end: tuple[str, str]
    bad: list[str]

    @classmethod
    def of(cls, values: Sequence[int], bad: Sequence[int]) -> Spark:
        """Draw two series of equal length."""
        top, step = max(FLOOR, *values), 92 / max(1, len(values) - 1)
        spots = [(_short(x * step), _short(15 - 13 * value / top)) for x, value in enumerate(values)]
        ticks = [_short(x * step) for x, value in enumerate(bad) if value]
        return cls(" ".join(f"{x},{y}" for x, y in spots), spots[-1], ticks)
