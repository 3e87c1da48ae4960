"""Calls of models and plugins: written as they were, read newest first between two moments, by staff."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.core import aws
from adbot_queue.core.errors import Invalid
from adbot_queue.core.instants import day_start, instant
from adbot_queue.platform.call_log import TTL_MS, CallKind, EventLog
from tests.builders.clocks import NOW, FakeClock
from tests.builders.payments import rows
from tests.builders.world import AwsHarness

DAY_S = 86_400
CALL = {"job": "j", "attempt": 1, "type": "generate-content", "tenant": "ada", "outcome": "answered", "duration_ms": 5}
AI = CALL | {"model": "m", "stop_reason": "tool_use", "input_tokens": 1, "output_tokens": 2, "request_id": "r"}
PLUGIN = CALL | {"type": "execute-plugin", "plugin": "shout", "input_bytes": 4, "output_bytes": 7}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log(system: AwsHarness, clock: FakeClock) -> EventLog:
    return EventLog(aws.dynamodb(), system.env["SYSTEM_TABLE"], clock)


def models(log: EventLog, since: int | None = None, until: int | None = None) -> list[str]:
    return [event["model"] for event in log.read(CallKind.AI, since, until, 100, None)[0]]


def test_an_event_is_kept_for_ninety_days_without_what_it_has_not(log: EventLog, system: AwsHarness) -> None:
    log.record(CallKind.AI, **AI, cost_microdollars=None)

    (item,) = rows(system.env["SYSTEM_TABLE"], "EVENTS#")
    assert item["expires_at"] == (NOW + TTL_MS) // 1000
    assert "cost_microdollars" not in item
    assert AI.items() <= item.items()


def test_events_are_read_newest_first_page_by_page_each_kind_by_itself(log: EventLog, clock: FakeClock) -> None:
    for number in range(5):
        log.record(CallKind.AI, model=f"m{number}")
        log.record(CallKind.PLUGIN, plugin="shout")
        clock.advance(1000)
    found, cursor = [], None
    while True:
        page, cursor = log.read(CallKind.AI, None, None, 2, cursor)
        found += [event["model"] for event in page]
        if cursor is None:
            break
    assert found == ["m4", "m3", "m2", "m1", "m0"]


def test_events_of_a_day_or_between_two_moments_are_read_both_ends_included(log: EventLog, clock: FakeClock) -> None:
    for number in range(3):
        log.record(CallKind.AI, model=f"m{number}")
        clock.advance(DAY_S * 1000)

    day = day_start("2025-11-23")
    assert models(log, day) == ["m2", "m1"]
    assert models(log, day, day + DAY_S * 1000 - 1) == ["m1"]
    assert models(log, None, instant("2025-11-22T00:00:00.000Z")) == ["m0"]
    assert models(log, instant("2025-11-23T00:00:00.001Z")) == ["m2"]


def test_what_is_no_cursor_is_refused(log: EventLog) -> None:
    with pytest.raises(Invalid):
        log.read(CallKind.AI, None, None, 10, "nonsense")


@pytest.mark.parametrize(
    ("path", "kind", "event"), [("/ai/events", CallKind.AI, AI), ("/plugins/executions", CallKind.PLUGIN, PLUGIN)]
)
def test_staff_see_events_over_http(
    system: AwsHarness, log: EventLog, path: str, kind: CallKind, event: dict[str, Any]
) -> None:
    log.record(kind, **event)

    answer = system.http("operations", f"GET {path}", role="viewer", query={"from": "2025-11-22", "limit": "1"})
    later = system.http("operations", f"GET {path}", role="viewer", query={"from": "2025-11-23"})
    bad = system.http("operations", f"GET {path}", role="viewer", query={"from": "yesterday"})

    (shown,) = answer.json["items"]
    renamed = {"job": "job_id", "tenant": "user_id"}
    assert {renamed.get(name, name): value for name, value in event.items()}.items() <= shown.items()
    assert shown["at"] == "2025-11-22T00:00:00.000Z"
    assert later.json == {"items": [], "next": None}
    assert (bad.status, bad.fields) == (422, ["from"])
