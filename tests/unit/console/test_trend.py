"""The overview's figures against the same hour yesterday."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from adbot_queue.console import figures, snapshot, trend
from adbot_queue.console.figures import Snapshot
from adbot_queue.core.clock import system_clock
from tests.builders.console_world import ConsoleWorld, busy, counted_calls

NOW = 1_800_000_000_000
HOUR = 3_600_000


def test_an_hour_has_one_sample_its_first_and_a_day_is_kept() -> None:
    past: list[list[int]] = []
    for minutes in range(0, 60 * 30, 7):
        past = trend.carried(past, NOW + minutes * 60_000, busy(NOW))
    hours = [sample[0] for sample in past]
    assert hours == list(range(hours[0], hours[0] + 25))
    assert hours[-1] == (NOW + 60 * 30 * 60_000 - 1) // HOUR
    again = trend.carried(past, NOW + 60 * 30 * 60_000 - 1, busy(NOW) | {"queues": []})
    assert again == past


def test_samples_of_a_clock_that_was_ahead_go() -> None:
    ahead = [[NOW // HOUR + 3, 1, 1, 1, 1, 1, 1]]
    assert [sample[0] for sample in trend.carried(ahead, NOW, busy(NOW))] == [NOW // HOUR]


@pytest.mark.parametrize(("ago", "is_known"), [(23, False), (24, True), (25, False)])
def test_only_the_same_hour_yesterday_is_compared(ago: int, *, is_known: bool) -> None:
    seen = busy(NOW)
    before = [value - 5 for value in trend.values(seen, NOW)]
    found = trend.since_yesterday(seen | {"past": [[NOW // HOUR - ago, *before]]}, NOW)
    assert found == (dict.fromkeys(trend.NAMES, 5) if is_known else {})


@pytest.mark.parametrize(
    ("change", "text"),
    [(None, ""), (0, "unchanged in 24 h"), (5, "+5 in 24 h"), (-1_080, "\N{MINUS SIGN}1,080 in 24 h")],
)
def test_a_change_has_its_words(change: int | None, text: str) -> None:
    assert trend.words(change) == text


def test_the_overview_shows_the_changes_at_no_call(console: ConsoleWorld) -> None:
    now = system_clock()
    first = figures.gather(now - 24 * HOUR)
    assert [sample[0] for sample in first["past"]] == [now // HOUR - 24]
    with counted_calls() as calls:
        figures.gather(now)
    with counted_calls() as carrying:
        later = figures.gather(now, Snapshot(now - 24 * HOUR, first))
    assert len(carrying) <= len(calls)
    assert [sample[0] for sample in later["past"]] == [now // HOUR - 24, now // HOUR]
    with patch.object(snapshot.from_env(), "_gather", lambda *_, **__: later):
        page = console.get("/console", x_acted="1")
    assert page.words.count("unchanged in 24 h") == 6
