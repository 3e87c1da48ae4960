"""A time names one moment: the same entries in every offset, no date that does not exist, nothing rounded."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.analytics.service import Analytics
from adbot_queue.core.clock import iso
from adbot_queue.platform import call_log as event_log
from adbot_queue.platform.call_log import CallKind
from local.openapi import all_routes
from tests.builders.clocks import FakeClock
from tests.builders.world import AwsHarness

NOON = 1_795_780_800_000  # 2026-11-27T12:00:00Z
HOUR = 3_600_000

LISTS = [
    ("system", "GET /admin/ledger", {"action": "pool.create"}),
    ("operations", "GET /ai/events", {}),
    ("operations", "GET /plugins/executions", {}),
    ("dead_letters", "GET /dead-letters", {}),
]
"""Every list that is filtered by time."""


def forms(moment: int) -> list[str]:
    """The same moment as people and programs write it."""
    zones = [timezone(timedelta(minutes=minutes)) for minutes in (360, -300, 330, 765, -720, 0)]
    local = [datetime.fromtimestamp(moment / 1000, zone).isoformat(timespec="milliseconds") for zone in zones]
    short = datetime.fromtimestamp(moment // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment % 1000:03d}Z"
    unescaped = [text.replace("+", " ") for text in local if "+" in text]
    return [*local, short, short.lower(), short.replace("Z", "000Z"), short.replace("Z", "+0000"), *unescaped]


def times_of(answer: Any) -> list[str]:
    assert answer.status == 200, answer.text
    return [item["at"] for item in answer.json["items"]]


@pytest.mark.parametrize("end", ["from", "to"])
def test_every_form_of_a_moment_finds_the_same_ledger_entries(on_aws: AwsHarness, end: str) -> None:
    clock = FakeClock(NOON - 3 * HOUR)
    on_aws.adbots.ledger.now = clock
    on_aws.adbots.pools._now = clock
    for number in range(7):
        on_aws.pool(f"pool-{number}")
        clock.advance(HOUR)

    found = {
        form: times_of(
            on_aws.http(
                "system", "GET /admin/ledger", role="viewer", query={"action": "pool.create", end: form, "limit": "100"}
            )
        )
        for form in forms(NOON)
    }

    expected = [iso(NOON + HOUR * hours) for hours in (range(3, -1, -1) if end == "from" else range(0, -4, -1))]
    assert set(map(tuple, found.values())) == {tuple(expected)}


@pytest.mark.parametrize("end", ["from", "to"])
def test_every_form_of_a_moment_finds_the_same_calls(on_aws: AwsHarness, end: str) -> None:
    log = event_log.from_env()
    for hours in range(-2, 3):
        log.now = lambda at=NOON + hours * HOUR: at
        log.record(CallKind.AI, model="m", job="j", attempt=1, type="t", tenant="u", outcome="answered", duration_ms=1)

    found = {
        tuple(item["at"] for item in log_items)
        for form in forms(NOON)
        if (log_items := on_aws.http("operations", "GET /ai/events", role="viewer", query={end: form}).json["items"])
    }

    hours = range(2, -1, -1) if end == "from" else range(0, -3, -1)
    assert found == {tuple(iso(NOON + HOUR * hour) for hour in hours)}


NO_MOMENT = [
    "2026-02-30T00:00:00Z",
    "2026-02-29",
    "2026-13-01T00:00:00Z",
    "2026-00-10",
    "2026-11-31T10:00:00+01:00",
    "2026-11-27T24:00:00Z",
    "2026-11-27T23:60:00Z",
    "2026-11-27T23:59:60Z",
    "2026-11-27T10:00:00",
    "2026-11-27T10",
    "2026-11-27T10:00:00+25:00",
    "2026-11-27T10:00:00+01:75",
    "2026-11-27T10:00:00 Europe/Berlin",
    "20261127T100000Z",
    "2026-W48-5",
    "20261127",
    "1795780800",
    "\u0662\u0660\u0662\u0666-11-27",
    "27.11.2026",
    "2026-11-27x",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "yesterday",
    "",
]


def test_what_names_no_moment_is_refused_by_name_on_every_list(on_aws: AwsHarness) -> None:
    found = {}
    for function, route, more in LISTS:
        for text in NO_MOMENT:
            for end in ("from", "to"):
                answer = on_aws.http(function, route, role="viewer", query={**more, end: text})
                if answer.status != 422 or answer.fields != [end]:
                    found[route, text, end] = answer.text
    assert found == {}


DAYS = {
    "GET /analytics": {"from": "2026-11-01", "to": "2026-11-02"},
    "GET /leads/queue": {"date": "2026-11-01"},
    "GET /leads/queue/export.csv": {"date": "2026-11-01"},
    "GET /leads/figures": {"from": "2026-11-01", "to": "2026-11-02"},
}
"""Lists of whole days, and days that they take."""
ROUTES = all_routes()
IN_WORDS = re.compile(r".+ does not exist|must be (a date|an hour) .*like .*|.*the year must be between .*")


def test_every_time_of_a_query_is_known_here() -> None:
    times = {"from", "to", "date", "cut_off"}
    asked = {
        key
        for key, (_, route) in ROUTES.items()
        if route.query and {*_names(route.query)} & times and "clean" not in key
    }
    assert asked == {route for _, route, _ in LISTS} | DAYS.keys()


def _names(query: Any) -> list[str]:
    return [field.alias or name for name, field in query.model_fields.items()]


@pytest.mark.parametrize("key", DAYS)
def test_what_is_no_day_is_refused_in_words_on_every_list_of_days(on_aws: AwsHarness, key: str) -> None:
    function, route = ROUTES[key]
    role, wrong = "owner" if "owner" in route.roles else min(route.roles), {}
    for text in [*NO_MOMENT, "2026-11-27T10:00:00Z", " 2026-11-27", "2026-11-27T10", "-2026-11-27", "2026-1-1"]:
        for name in DAYS[key]:
            answer = on_aws.http(function, key, role=role, query={**DAYS[key], name: text})
            if (answer.status, answer.fields) != (422, [name]) or not IN_WORDS.fullmatch(_said(answer)):
                wrong[name, text] = answer.text
    assert wrong == {}


def _said(answer: Any) -> str:
    return str(answer.json["errors"][0]["message"])


PAYLOADS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "process-snapshot": ({"from": "2026-11-01T05", "to": "2026-11-01"}, ["from", "to"]),
    "rebuild-article-stats": ({"from": "2026-11-01", "to": "2026-11-02"}, ["from", "to"]),
    "generate-report": ({"report": "orders", "from": "2026-11-01", "to": "2026-11-02"}, ["from", "to"]),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_job_refuses_what_names_no_time_in_words(on_aws: AwsHarness, name: str) -> None:
    payload, fields = PAYLOADS[name]
    assert on_aws.http("jobs", "POST /jobs", role="admin", body={"type": name, "payload": payload}).status == 202
    wrong = {}
    for text in [*NO_MOMENT, "2026-11-27T24", "2026-11-27T5", "2026-02-30T05"]:
        if name == "process-snapshot" and text == "2026-11-27T10":
            continue  # an hour of it
        for field in fields:
            body = {"type": name, "payload": payload | {field: text}}
            answer = on_aws.http("jobs", "POST /jobs", role="admin", body=body)
            refused = (answer.status, answer.fields) == (422, [f"payload.{field}"])
            if not refused or not IN_WORDS.fullmatch(_said(answer)):
                wrong[field, text] = answer.text
    assert wrong == {}


def test_a_period_that_ends_before_it_begins_is_refused_on_every_list(on_aws: AwsHarness) -> None:
    period = {"from": "2026-11-27T13:00:00+01:00", "to": "2026-11-27T11:59:59.999Z"}
    for function, route, more in LISTS:
        answer = on_aws.http(function, route, role="viewer", query={**more, **period})
        assert (answer.status, answer.fields) == (422, ["to"]), route


@pytest.mark.parametrize("text", ["2026-02-30T00:00:00Z", "2026-11-27T10:00:00", 1_795_780_800, "2026-11-27T24:00:00Z"])
def test_a_replay_a_job_and_a_schedule_refuse_what_names_no_moment(on_aws: AwsHarness, text: Any) -> None:
    job = {"type": "send-email", "payload": {"to": "c@example.com", "subject": "s", "text": "t"}}
    schedule = {"name": "n", "expression": "rate(5 minutes)", "type": "process-snapshot"}
    asked = [
        on_aws.http("dead_letters", "POST /dead-letters/replays", role="admin", body={"filter": {"from": text}}),
        on_aws.http("dead_letters", "POST /dead-letters/replays", role="admin", body={"filter": {"to": text}}),
        on_aws.http("jobs", "POST /jobs", role="admin", body=job | {"run_at": text}),
        on_aws.http("schedules", "POST /schedules", role="admin", body=schedule | {"start": text}),
        on_aws.http("schedules", "POST /schedules", role="admin", body=schedule | {"end": text}),
    ]
    assert [answer.status for answer in asked] == [422] * 5
    assert [answer.fields for answer in asked] == [["filter.from"], ["filter.to"], ["run_at"], ["start"], ["end"]]


@given(
    moment=st.integers(0, 253_402_300_799_999),
    finer=st.text("0123456789", max_size=6),
    minutes=st.integers(-14 * 60, 14 * 60),
)
def test_a_tracked_event_keeps_its_millisecond_in_every_offset(moment: int, finer: str, minutes: int) -> None:
    class Store:
        def record(self, event: Any, now: int) -> bool:
            self.event = event
            return True

    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment)
    try:
        text = local.astimezone(timezone(timedelta(minutes=minutes))).isoformat(timespec="milliseconds")
    except OverflowError:
        return  # the calendar ends
    if text < "1970" or len(text) != len("2026-11-27T12:00:00.000+00:00"):
        return
    store = Store()
    Analytics(store, lambda: 253_402_300_799_999).record(
        "e", "n", user_id="u", anonymous_id=None, properties={}, occurred_at=text[:23] + finer + text[23:]
    )
    assert iso(store.event.at) == iso(moment)


def test_the_last_instant_of_a_day_is_of_that_day(on_aws: AwsHarness) -> None:
    class Store:
        def record(self, event: Any, now: int) -> bool:
            self.event = event
            return True

    store = Store()
    Analytics(store, lambda: NOON).record(
        "e", "n", user_id="u", anonymous_id=None, properties={}, occurred_at="2026-11-26T23:59:59.999999Z"
    )
    assert store.event.hour == "2026-11-26T23"
    job = {"type": "process-snapshot", "run_at": "2027-06-30T23:59:59.9999Z"}
    answer = on_aws.http("jobs", "POST /jobs", role="admin", body=json.dumps(job))
    assert answer.json["run_at"] == "2027-06-30T23:59:59.999Z"
