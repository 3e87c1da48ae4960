"""Charts as numbers for templates: points of lines, ticks of axes. Pure; the look is in `parts.css`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

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


def path(heights: Sequence[int], start: int = 0) -> str:
    """Return a line as SVG path data: steps of one to the right, in whole units, each relative to the one before.

    A page that refreshes every few seconds is mostly such numbers: absolute ones take twice the bytes, packed.
    """
    steps = [after - before for before, after in pairwise(heights)]
    return f"M{start} {heights[0]}l" + " ".join(f"1{step}" if step < 0 else f"1 {step}" for step in steps)


def gapped(heights: Sequence[int | None]) -> tuple[str, str]:
    """Return a line that is interrupted where there is no value, and its lone values as points: SVG path data."""
    lines, points = list[str](), list[str]()
    for has_value, run in groupby(enumerate(heights), lambda one: one[1] is not None):
        values = [(x, height) for x, height in run if height is not None]
        if has_value and len(values) > 1:
            lines.append(path([height for _, height in values], values[0][0]))
        elif has_value:
            points.append(f"M{values[0][0]} {values[0][1]}h0")
    return "".join(lines), "".join(points)


def heights(values: Sequence[float], top: float, height: float) -> list[int]:
    """Return how far below the top of a plot of this height each value is."""
    return [round(height - height * value / top) for value in values]


def times(count: int, at: int, step: int = 1) -> tuple[list[str], list[tuple[float, str]]]:
    """Return the minutes of the day, in UTC, that end in that of `at`; and five of them with their place in percent."""
    labels = [iso(at - (count - 1 - index) * step * MINUTE_MS)[11:16] for index in range(count)]
    places = [round(index * (count - 1) / 4) for index in range(5)]
    return labels, [(round(100 * place / (count - 1), 2), labels[place]) for place in places]


@dataclass(frozen=True, slots=True)
class Band:
    """An incident that goes on: from `x` to the end of the plot."""

    x: int
    width: int
    name: str

    @classmethod
    def of(cls, since: int, name: str, at: int, width: int, step: int = 1) -> Band:
        """Place one that began at `since` in a plot that ends at `at`, `step` minutes a unit."""
        length = min(width, max(1, round((at - since) / step / MINUTE_MS)))
        return cls(width - length, length, name)


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
        labels, marks = times(count, at)
        return cls(
            width=count - 1,
            top=top,
            strip_top=strip_top,
            completed=path(heights(completed, top, 100)),
            enqueued=path(heights(enqueued, top, 100)),
            failed=[(x, max(1, round(100 * value / strip_top))) for x, value in enumerate(failed) if value],
            times=marks,
            rows=list(zip(labels, enqueued, completed, failed, strict=True)),
            last=(enqueued[-2], completed[-2], failed[-2]),
        )

    @property
    def ticks(self) -> list[tuple[float, int]]:
        """Five lines: place in percent from above, value."""
        return [(25 * index, self.top - self.top * index // 4) for index in range(5)]


_UNITS = ((120_000, 60_000, "min"), (1_000, 1_000, "s"), (0, 1, "ms"))
"""From which time (ms) on a chart is drawn in a unit, the unit's length, and its name."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """How long something took over an hour: p50 and p95 of every `step` minutes. Where nothing was measured is a gap.

    Attributes:
        rows: first minute, p50, p95, in `unit`: the table behind the chart.
        last: the latest p50 and p95 that were measured.
    """

    unit: str
    width: int
    top: int
    p50: tuple[str, str]
    p95: tuple[str, str]
    times: list[tuple[float, str]]
    rows: list[tuple[str, float | None, float | None]]
    last: tuple[float | None, float | None]

    @classmethod
    def of(cls, p50: Sequence[int | None], p95: Sequence[int | None], at: int, step: int = 1) -> Percentiles:
        """Draw two series of ms whose last value begins in the minute of `at`."""
        highest = max((value for value in p95 if value is not None), default=0)
        length, unit = next((length, unit) for least, length, unit in _UNITS if highest >= least)
        half, most = ([None if one is None else round(one / length, 1) for one in series] for series in (p50, p95))
        top = top_of(max(1.0, highest / length))
        labels, marks = times(len(p95), at, step)
        return cls(
            unit=unit,
            width=len(p95) - 1,
            top=top,
            p50=gapped([None if one is None else heights([one], top, 100)[0] for one in half]),
            p95=gapped([None if one is None else heights([one], top, 100)[0] for one in most]),
            times=marks,
            rows=list(zip(labels, half, most, strict=True)),
            last=(_latest(half), _latest(most)),
        )

    @property
    def values(self) -> dict[str, list[float | None]]:
        """The series under the names that a reader sees."""
        return {f"{self.unit} p50": [row[1] for row in self.rows], f"{self.unit} p95": [row[2] for row in self.rows]}

    @property
    def ticks(self) -> list[tuple[float, float]]:
        """Three lines: place in percent from above, value."""
        return [(50 * index, self.top - self.top * index / 2) for index in range(3)]


def _latest(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


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
