"""Charts: axes, lines with gaps, the band of an incident, and what a reader of numbers gets."""

from __future__ import annotations

import json
import re

import pytest

from adbot_queue.console import trouble
from adbot_queue.console.charts import Band, Percentiles, gapped
from adbot_queue.console.formats import NOTHING
from tests.builders.console_jobs import MINUTE, ConsoleJobs
from tests.builders.console_world import ConsoleWorld, busy
from tests.builders.job_stream import claimed

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("heights", "line", "points"),
    [
        ([], "", ""),
        ([None, None], "", ""),
        ([5, 4, 6], "M0 5l1-1 1 2", ""),
        ([5, None, 4, 4, None], "M2 4l1 0", "M0 5h0"),
        ([None, 1, 2, None, 3, 3, None, 9], "M1 1l1 1M4 3l1 0", "M7 9h0"),
    ],
)
def test_a_line_has_a_gap_where_nothing_was_measured_and_a_point_for_a_lone_value(
    heights: list[int | None], line: str, points: str
) -> None:
    assert gapped(heights) == (line, points)


@pytest.mark.parametrize(
    ("highest", "unit", "top", "shown"),
    [(None, "ms", 4, None), (0, "ms", 4, 0), (999, "ms", 1200, 999), (1_000, "s", 4, 1), (119_000, "s", 120, 119),
     (120_000, "min", 4, 2), (3_600_000, "min", 80, 60)],
)  # fmt: skip
def test_times_are_drawn_in_the_unit_that_fits_the_longest(
    highest: int | None, unit: str, top: int, shown: float | None
) -> None:
    chart = Percentiles.of([None, None], [highest, None], NOW, 2)
    assert (chart.unit, chart.top, chart.rows) == (unit, top, [("07:58", None, shown), ("08:00", None, None)])
    assert chart.last == (None, shown)
    assert list(chart.values) == [f"{unit} p50", f"{unit} p95"]


@pytest.mark.parametrize(
    ("ago", "step", "width", "place"),
    [(0, 1, 59, (58, 1)), (11 * MINUTE, 1, 59, (48, 11)), (11 * MINUTE, 2, 29, (23, 6)), (90 * MINUTE, 1, 59, (0, 59))],
)
def test_a_band_reaches_from_its_beginning_to_the_end_of_the_plot(
    ago: int, step: int, width: int, place: tuple[int, int]
) -> None:
    band = Band.of(NOW - ago, "x", NOW, width, step)
    assert (band.x, band.width) == place


def test_an_incident_is_the_oldest_open_circuit_and_of_a_queue_only_those_that_stop_it() -> None:
    seen = busy(NOW)
    sendgrid = seen["circuits"][0]
    assert trouble.incident(seen) == (NOW - 660_000, "sendgrid circuit open")
    assert trouble.incident(seen, "email") == trouble.incident(seen)
    assert trouble.incident(seen, "money") is None
    seen["circuits"] += [
        sendgrid | {"provider": "stripe", "state": "half_open", "opened_at": NOW - 900_000},
        sendgrid | {"provider": "twilio", "state": "closed", "opened_at": NOW - 990_000},
    ]
    assert trouble.incident(seen) == (NOW - 900_000, "2 circuits open")
    assert trouble.incident(seen, "money") == (NOW - 900_000, "stripe circuit open")
    assert trouble.incident({**seen, "circuits": []}) is None


def test_15_the_charts_of_a_queue_show_wait_and_run_as_their_table_does(console: ConsoleWorld) -> None:
    laid = ConsoleJobs()
    for wait, run in ((1_000, 300), (4_000, 300), (90_000, 900)):
        made = laid.new(queue="workflow", job_type="run-workflow", ago=0)
        runs = claimed(made, made.created_at + wait)
        laid.lay(made, runs, runs.completed({}, made.created_at + wait + run))
    page = console.get("/console/queues/workflow?data=durations")
    table = page.text.partition('id="durations-table"')[2].partition("</table>")[0]
    rows = re.findall(r"<td[^>]*>([^<]*)</td>" * 5, table)
    assert len(rows) == 30
    (measured,) = [row for row in rows if set(row[1:]) != {NOTHING}]
    charts = [json.loads(one.replace("&#34;", '"')) for one in re.findall(r'data-chart="([^"]*)"', page.text)]
    for chart, shown in zip(charts, (measured[1:3], measured[3:]), strict=True):
        assert [value for series in chart.values() for value in series if value is not None] == [
            float(text.replace(",", "")) for text in shown
        ]
    assert next(iter(charts[0])).startswith("min ")
    assert next(iter(charts[1])).startswith("ms ")
    assert "Wait min, p50 and p95, last 60 min, UTC" in page.words
    idle = console.get("/console/queues/ai-seo").words
    assert "nothing was measured" in idle
