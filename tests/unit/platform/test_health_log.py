"""The health log: entries come back newest first, page by page, and writing one never breaks anybody."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.core import aws, settings
from adbot_queue.core.cursors import make_cursor
from adbot_queue.core.errors import Invalid
from adbot_queue.platform import health_log
from adbot_queue.platform.health_log import MAX_ENTRIES, PERIOD_S, HealthLog, LogLevel
from tests.builders.clocks import NOW, FakeClock
from tests.builders.crash import crash_after
from tests.builders.payments import failing, rows
from tests.builders.world import AwsHarness

DAY_MS = 86_400_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log(system: AwsHarness, clock: FakeClock) -> HealthLog:
    return HealthLog(aws.dynamodb(), system.env["SYSTEM_TABLE"], clock, clock.seconds)


def pages(log: HealthLog, level: LogLevel | None, limit: int) -> list[list[str]]:
    """Events of every page to the last."""
    found, cursor = [], None
    while True:
        page, cursor = log.read(level, limit, cursor)
        found.append([entry["event"] for entry in page])
        if cursor is None:
            return found


def test_an_entry_is_read_as_it_was_written(log: HealthLog) -> None:
    log.record(LogLevel.WARNING, "fallback", "SQS refused; executed directly", queue="money", error="Throttled")
    (entry,), following = log.read(None, 10, None)
    assert entry == {
        "at": "2025-11-22T00:00:00.000Z",
        "level": "WARNING",
        "event": "fallback",
        "message": "SQS refused; executed directly",
        "detail": {"queue": "money", "error": "Throttled"},
    }
    assert following is None


def test_pages_go_newest_first_over_levels_and_days_without_gap_or_repetition(log: HealthLog, clock: FakeClock) -> None:
    levels = [LogLevel.INFO, LogLevel.WARNING, LogLevel.ERROR]
    for number in range(12):
        log.record(levels[number % 3], f"e{number}", "")
        clock.advance(DAY_MS // 2)
    newest_first = [f"e{number}" for number in reversed(range(12))]
    for limit in (1, 4, 5, 12, 100):
        got = pages(log, None, limit)
        assert [event for page in got for event in page] == newest_first
        assert all(len(page) == limit for page in got[:-1])
    assert [event for page in pages(log, LogLevel.WARNING, 3) for event in page] == ["e10", "e7", "e4", "e1"]


def test_entries_of_one_millisecond_are_paged_without_gap_or_repetition(log: HealthLog) -> None:
    for number in range(8):
        log.record(list(LogLevel)[number % 4], f"e{number}", "")
    got = pages(log, None, 3)
    assert sorted(event for page in got for event in page) == [f"e{number}" for number in range(8)]


def test_a_page_is_one_query_for_a_level_and_four_for_all_however_many_days_it_spans(
    log: HealthLog, clock: FakeClock
) -> None:
    for number in range(6):
        log.record(LogLevel.INFO, f"e{number}", "")
        clock.advance(DAY_MS)
    for level, queries in ((LogLevel.INFO, 1), (None, 4)):
        with crash_after(None) as calls:
            log.read(level, 50, None)
        assert calls.names == ["Query"] * queries


def test_entries_are_kept_seven_days_even_when_ttl_is_late(
    log: HealthLog, system: AwsHarness, clock: FakeClock
) -> None:
    log.record(LogLevel.INFO, "old", "")
    assert rows(system.env["SYSTEM_TABLE"])[0]["expires_at"] == NOW // 1000 + 7 * 86_400
    clock.advance(7 * DAY_MS)
    assert len(log.read(None, 10, None)[0]) == 1
    clock.advance(1)
    assert log.read(None, 10, None) == ([], None)


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException", None])
def test_an_entry_that_cannot_be_written_breaks_no_caller(log: HealthLog, code: str | None) -> None:
    with failing(aws.dynamodb(), "PutItem", code=code) as calls:
        log.record(LogLevel.ERROR, "e", "")
    assert calls


def test_a_process_without_settings_breaks_no_caller_either(
    system: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SYSTEM_TABLE")
    settings.settings.cache_clear()
    health_log.from_env.cache_clear()
    health_log.record(LogLevel.ERROR, "e", "")
    monkeypatch.undo()
    settings.settings.cache_clear()


def test_detail_of_any_kind_is_kept_as_text(log: HealthLog) -> None:
    detail: dict[str, Any] = {
        "share": 0.5,
        "error": ValueError("x"),
        "none": None,
        "count": 3,
        "on": True,
        "ids": {"a"},
    }
    log.record(LogLevel.INFO, "e", "m" * 2_000, **detail, long="x" * 2_000)
    (entry,), _ = log.read(None, 1, None)
    assert entry["detail"] == {
        "share": "0.5",
        "error": "x",
        "count": 3,
        "on": True,
        "ids": "{'a'}",
        "long": "x" * 1_000,
    }
    assert len(entry["message"]) == 1_000


def test_a_storm_writes_a_few_and_says_how_many_it_left_out(log: HealthLog, clock: FakeClock) -> None:
    with crash_after(None) as calls:
        for _ in range(100):
            log.record(LogLevel.WARNING, "fallback", "")
        log.record(LogLevel.WARNING, "other", "")
    assert len(calls.names) == MAX_ENTRIES + 1
    clock.advance(PERIOD_S * 1000)
    log.record(LogLevel.WARNING, "fallback", "")
    log.record(LogLevel.WARNING, "fallback", "")
    entries, _ = log.read(LogLevel.WARNING, 2, None)
    assert sorted(str(entry["detail"].get("left_out", "")) for entry in entries) == ["", "95"]


@pytest.mark.parametrize("cursor", ["!", make_cursor({"before": "zz"}), make_cursor({"before": 7}), make_cursor({})])
def test_a_cursor_of_another_list_is_refused(log: HealthLog, cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor"):
        log.read(None, 10, cursor)


def test_a_cursor_older_than_the_log_leads_to_its_end(log: HealthLog) -> None:
    log.record(LogLevel.INFO, "e", "")
    assert log.read(None, 10, make_cursor({"before": "0" * 26})) == ([], None)
