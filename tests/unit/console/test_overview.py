"""What the overview says of a system in trouble, and of one without."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from adbot_queue.console import figures, snapshot, trouble
from adbot_queue.console.charts import FLOOR, Hour, Spark, top_of
from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.clock import system_clock
from adbot_queue.core.settings import settings
from tests.builders.console_world import ConsoleWorld, busy

NOW = 1_800_000_000_000


def forget_snapshot() -> None:
    aws.dynamodb().delete_item(TableName=settings().system_table, Key=encode(snapshot.KEY))


def test_14_alarms_come_with_cause_count_age_and_the_next_step_money_first(console: ConsoleWorld) -> None:
    forget_snapshot()
    with patch.object(snapshot.from_env(), "_gather", lambda now, _before, **_: busy(now)):
        page = console.get("/console")
    found = [alarm.what for alarm in trouble.alarms(busy(NOW), NOW)]
    assert found[0].endswith("dead letters of money.")
    assert found[1] == "sendgrid is failing: circuit open."
    assert any(what.startswith("A job in messages waits") for what in found)
    assert "The oldest bot waits 1 d 3 h (limit 1 d)." in found
    for what in found:
        assert what.split(" waits ")[0] in page.words
    assert 'href="/console/health">Open health</a>' in page.text


def test_a_queue_that_does_not_move_says_why_and_comes_first() -> None:
    rows = trouble.by_trouble(busy(NOW), NOW)
    assert [reason.word for _, reason in rows[:4]] == ["Circuit open", "Circuit open", "Paused", "Slow"]
    assert {queue["name"] for queue, _ in rows[:2]} == {"email", "accounts"}
    assert rows[0][1].why == "sendgrid, next probe in 33 s"
    assert rows[2][1].why == "the import runs until 16:00"
    assert {reason.word for _, reason in rows[4:]} == {"Flowing"}


def test_nothing_wrong_is_one_grey_line(console: ConsoleWorld) -> None:
    forget_snapshot()
    page = console.get("/console")
    assert "All clear No alarm is on." in page.words
    assert trouble.alarms(figures.gather(system_clock()), system_clock()) == []


def test_changes_are_named_after_the_people_who_made_them(console: ConsoleWorld) -> None:
    console.person("owner")
    console.post(
        "/console/health/mode",
        {"mode": "sync_direct", "confirm": "sync_direct", "version": "0", "reason": "tables are slow"},
        "owner",
    )
    forget_snapshot()
    page = console.get("/console")
    assert "mode.set system:mode Owner, " in page.words
    assert "by Owner: tables are slow." in console.get("/console/health").words
    assert "sync_direct since" in page.words


@pytest.mark.parametrize(("highest", "top"), [(0, 4), (4, 4), (5, 8), (100, 120), (401, 800), (5_000, 8_000)])
def test_an_axis_ends_at_a_number_whose_quarters_are_round(highest: float, top: int) -> None:
    assert top_of(highest) == top
    assert top_of(highest) % 4 == 0


def test_15_a_chart_has_its_values_and_its_times() -> None:
    hour = Hour.of([2] * 60, [1] * 59 + [4], [0] * 59 + [3], NOW)
    assert (hour.top, hour.strip_top, hour.width) == (4, 4, 59)
    assert hour.completed.startswith("M0 75l1 0 1 0 ")
    assert hour.completed.endswith(" 1-75")
    assert hour.failed == [(59, 75)]
    assert hour.rows[-1] == ("08:00", 2, 4, 3)
    assert [text for _, text in hour.times] == ["07:01", "07:16", "07:31", "07:45", "08:00"]


def test_the_noise_of_a_sparkline_stays_flat() -> None:
    spark = Spark.of([0, 1, 0, FLOOR], [0, 1, 0, 0])
    assert (spark.line, spark.last, spark.bad) == ("M0 15l1-1 1 1 1-13", 2, [1])
