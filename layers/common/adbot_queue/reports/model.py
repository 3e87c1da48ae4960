"""A report as a table, and its two forms. Pure but for the template of the page."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from adbot_queue.core.spreadsheets import safe

Cell = str | int | Decimal

CHART_WIDTH, CHART_HEIGHT = 960, 200


@dataclass(frozen=True, slots=True)
class Table:
    """A report.

    Attributes:
        rows: numbers as numbers; texts may be anybody's.
        measure: what the chart shows, day by day.
        notes: what a reader has to know about the figures.
    """

    name: str
    since: str
    until: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    measure: str
    chart: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A day in the chart, in the chart's units."""

    label: str
    value: int
    x: float
    width: float
    height: float


def write_csv(table: Table, file: IO[bytes]) -> None:
    """RFC 4180, UTF-8, row by row."""
    text = TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([safe(cell) if isinstance(cell, str) else cell for cell in row])
    text.detach()  # flushes, and leaves the file open


def write_html(table: Table, made_at: str, file: IO[bytes]) -> None:
    """A page that needs nothing but itself: no script, no style or picture from elsewhere."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  few jobs make pages

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2")
    shown: dict[str, Any] = {"width": CHART_WIDTH, "height": CHART_HEIGHT, "bars": list(bars(table.chart))}
    page.stream(table=table, made_at=made_at, **shown).dump(file, encoding="utf-8")


def bars(values: dict[str, int]) -> Iterator[Bar]:
    """The bars of a chart, side by side; the highest as high as the chart, below zero none."""
    width = CHART_WIDTH / max(1, len(values))
    highest = max([1, *values.values()])
    for index, (label, value) in enumerate(values.items()):
        height = max(0, value) * CHART_HEIGHT / highest
        yield Bar(label, value, round(index * width, 2), round(width * 0.8, 2), round(height, 2))


def by_day(days: Iterable[str], numbers: Counter[str]) -> dict[str, int]:
    """A chart of these days, those without a number too."""
    return {day: numbers[day] for day in days}
