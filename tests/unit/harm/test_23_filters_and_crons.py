"""A filter that cannot match is refused, and a cron text of another scheduler with the part that does not fit."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from adbot_queue.schedules.advice import suggestion
from adbot_queue.schedules.plan import Recurrence
from local.openapi import all_routes, load_app
from tests.builders.console_world import console_world
from tests.builders.world import ROOT, AwsHarness

ROUTES = all_routes()
LISTS = {
    key: (function, sorted(field.alias or name for name, field in route.query.model_fields.items()))
    for key, (function, route) in ROUTES.items()
    if route.query
}
"""Every route with query parameters, and their names."""


def ask(on_aws: AwsHarness, key: str, query: Any, body: str | None = None) -> Any:
    function, route = ROUTES[key]
    path = dict.fromkeys(re.findall(r"{(\w+)}", route.path), "email" if "queues" in key else "x")
    role = "owner" if "owner" in route.roles else min(route.roles)
    return on_aws.http(function, key, role=role, query=query, body=body, **path)


def test_there_are_lists_to_ask() -> None:
    assert len(LISTS) > 15


def test_a_parameter_given_twice_is_refused_on_every_route(on_aws: AwsHarness) -> None:
    found = {}
    for key, (_, names) in LISTS.items():
        for name in names:
            for values in (("money", "email"), ("", ""), ("1", "1")):
                answer = ask(on_aws, key, [(name, value) for value in values])
                found[key, name, values] = (answer.status, answer.fields, "more than once" in answer.json["detail"])
    assert len(found) > 90
    assert {place: what for place, what in found.items() if what != (422, [place[1]], True)} == {}


def test_a_parameter_given_twice_or_in_another_encoding_is_refused_on_every_page() -> None:
    pages = [key for key in _pages() if "{" not in key]
    assert len(pages) > 15
    with console_world() as console:
        asked = {
            (page, query): console.get(f"{page}?{query}").status
            for page in pages
            for query in ("queue=money&queue=email", "q=&q=", "q=%FC", "%FC=1")
        }
    assert {place: status for place, status in asked.items() if status not in {400, 422}} == {}


def _pages() -> list[str]:
    console = load_app(ROOT / "functions" / "console" / "app.py").console
    return [route.key.removeprefix("GET ") for route in console.routes if route.key.startswith("GET ")]


def test_a_parameter_that_a_route_does_not_know_is_refused_on_every_route(on_aws: AwsHarness) -> None:
    found = {key: ask(on_aws, key, {"colour": "red"}) for key, (_, route) in ROUTES.items() if route.roles}
    assert len(found) > 60
    assert {
        key: answer.text for key, answer in found.items() if answer.status != 422 or "colour" not in answer.text
    } == {}


def test_public_pages_ignore_parameters_that_links_bring_along(on_aws: AwsHarness) -> None:
    assert on_aws.http("system", "GET /health", query={"session_id": "cs_1"}).status == 200


IMPOSSIBLE = [
    *(("GET /dead-letters", "queue", value) for value in ("moneyy", "Money", "", "money,email", "x" * 65)),
    *(("GET /dead-letters", "queue", value) for value in ("payments", "allocation", "tally")),
    *(("GET /dead-letters", "type", value) for value in ("send-mail", "Send-Email", "", "a,b", "message")),
    *(("GET /admin/queue/stats", "pool", value) for value in ("nowhere", "", "Standard")),
    *(("POST /admin/queue/reconcile", "pool", value) for value in ("nowhere", "")),
    *(("POST /admin/stock/sessions/bulk", "pool", value) for value in ("nowhere", "")),
    *(("GET /queues/{name}/jobs", "state", value) for value in ("done", "WAITING", "", "waiting,dead")),
    *(("GET /queues/{name}/jobs", "type", value) for value in ("send-mail", "Send-Email", "", "a,b", "message")),
    *(("GET /admin/ledger", name, "") for name in ("actor", "action", "target")),
    *(
        ("GET /admin/ledger", "action", value)
        for value in ("Pool.Create", "pool", "pool.*", "pool.create,x", " pool.create")
    ),
    *(("GET /orders", "status", value) for value in ("PAID", "review", "")),
    *(("GET /leads", "status", value) for value in ("New", "new,lost", "")),
    *(("GET /leads", "consent", value) for value in ("yes", "")),
    *(("GET /leads/queue", "owner_id", value) for value in ("", "a b")),
    *(("GET /admin/stock/uploads", "state", value) for value in ("done", "STAGED", "")),
    *(("GET /admin/queue", "pool", value) for value in ("nowhere", "", "Standard")),
    *(("DELETE /queues/{name}/clean", "state", value) for value in ("done", "waiting", "")),
    *(("GET /adbots", "status", value) for value in ("queued", "DONE", "")),
    *(("GET /admin/system/logs", "level", value) for value in ("error", "FATAL", "")),
    ("GET /suppressions", "channel", "pigeon"),
    ("GET /analytics", "by", "week"),
]


def test_a_filter_that_names_what_does_not_exist_is_refused(on_aws: AwsHarness) -> None:
    on_aws.pool()
    needed = {
        "DELETE /queues/{name}/clean": {"older_than_seconds": "0"},
        "GET /suppressions": {"address": "c@d.example"},
        "GET /queues/{name}/jobs": {"state": "waiting"},
    }
    found = {}
    for key, name, value in IMPOSSIBLE:
        answer = ask(on_aws, key, {**needed.get(key, {}), name: value}, body='{"session_id": "s1"}\n')
        named = answer.status == 422 and answer.fields[0] in {name, "body"} and name in answer.json["detail"]
        named = named and not re.search(r"[<>]|\w+\.[A-Z]|if absent", answer.json["detail"])  # words, no Python
        if not named:
            found[key, name, value] = answer.text
    assert found == {}


@pytest.mark.parametrize("value", ["nowhere", ""])
@pytest.mark.parametrize("name", ["queue", "type"])
def test_a_replay_of_letters_that_cannot_be_is_refused(on_aws: AwsHarness, name: str, value: str) -> None:
    body = {"filter": {name: value}, "dry_run": True}
    answer = on_aws.http("dead_letters", "POST /dead-letters/replays", role="admin", body=body)
    assert (answer.status, answer.fields) == (422, [f"filter.{name}"])


@pytest.mark.parametrize("queue", ["money", "accounts"])
def test_dead_letters_of_a_queue_can_be_asked_for(on_aws: AwsHarness, queue: str) -> None:
    assert on_aws.http("dead_letters", "GET /dead-letters", role="viewer", query={"queue": queue}).status == 200


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # Quartz and Spring: seconds first, with and without a year
        ("cron(0 0 12 * * ?)", ["seconds", "cron(0 12 * * ? *)"]),
        ("0 0 12 * * ?", ["seconds", "cron(0 12 * * ? *)"]),
        ("cron(0 15 10 ? * MON-FRI)", ["seconds", "cron(15 10 ? * MON-FRI *)"]),
        ("cron(0 0 9 * * MON-FRI)", ["seconds", "cron(0 9 ? * MON-FRI *)"]),
        ("cron(0 0 9 ? * 2-6 2027)", ["7", "seconds", "cron(0 9 ? * 2-6 2027)"]),
        ("cron(30 0/5 * * * ?)", ["'30'", "seconds"]),
        ("0 0 12 L-3 * ?", ["seconds", "L-3"]),
        ("cron(0 0 0 LW * ?)", ["seconds", "LW"]),
        ("* * * * * *", ["'*' as seconds"]),
        ("*/10 * * * * *", ["'*/10' as seconds", "minute"]),
        ("0/30 * * * * ?", ["'0/30' as seconds"]),
        ("0,30 0 12 ? * MON", ["'0,30' as seconds"]),
        ("0-29 0 12 * * ? 2027", ["'0-29' as seconds"]),
        ("0 0 9 ? * 0", ["seconds", "cron(0 9 ? * 1 *)"]),
        ("0 0 9 ? * 6-1", ["seconds", "cron(0 9 ? * 1,6,7 *)"]),
        ("0 0 9 ? * 2/2", ["seconds", "cron(0 9 ? * 2,4,6 *)"]),
        # Unix: five fields, Sunday is 0
        ("0 9 * * 1-5", ["six fields", "5", "cron(0 9 ? * 2-6 *)"]),
        ("cron(0 9 * * 1-5)", ["six fields", "cron(0 9 ? * 2-6 *)"]),
        ("cron(*/15 * * * *)", ["six fields", "cron(*/15 * * * ? *)"]),
        ("0 0 1 * *", ["six fields", "cron(0 0 1 * ? *)"]),
        ("0 0 * * 0,6", ["cron(0 0 ? * 1,7 *)"]),
        ("0 0 * * 7", ["cron(0 0 ? * 1 *)"]),
        ("0 0 * * sun", ["cron(0 0 ? * SUN *)"]),
        ("0 9 1 * MON", ["six fields", "5"]),
        ("0 9 * * 5-7", ["six fields", "cron(0 9 ? * 1,6,7 *)"]),
        ("0 9 * * 0-7", ["six fields", "cron(0 9 * * ? *)"]),
        ("0 9 * * 1-5/2", ["six fields", "cron(0 9 ? * 2,4,6 *)"]),
        ("0 9 * * 5L", ["six fields", "cron(0 9 ? * 6L *)"]),
        ("0 9 * * 1#2", ["six fields", "cron(0 9 ? * 2#2 *)"]),
        ("0 9 1-7 * 1", ["six fields", "or", "two schedules"]),
        ("H 9 * * *", ["six fields", "'H'", "Jenkins"]),
        ("H/15 * * * *", ["six fields", "'H/15'"]),
        ("@daily", ["@daily", "cron(0 0 * * ? *)"]),
        ("@every 5m", ["rate("]),
        ("CRON_TZ=Europe/Berlin 0 9 * * *", ["CRON_TZ=Europe/Berlin", "timezone"]),
        # six fields, with a part that is not understood here
        ("cron(0 9 L-3 * ? *)", ["day-of-month", "'L-3'"]),
        ("cron(0 9 LW * ? *)", ["day-of-month", "'LW'"]),
        ("cron(0 9 1W,15W * ? *)", ["day-of-month", "'1W,15W'"]),
        ("cron(0 9 0 * ? *)", ["day-of-month", "'0'"]),
        ("cron(H * * * ? *)", ["minutes", "'H'", "Jenkins"]),
        ("cron(H(0-29)/10 * * * ? *)", ["minutes", "'H(0-29)/10'", "Jenkins"]),
        ("cron(H/15 * * * ? *)", ["minutes", "'H/15'"]),
        ("cron(0~30 9 * * ? *)", ["minutes", "'0~30'"]),
        ("cron(60 * * * ? *)", ["minutes", "'60'", "0 to 59"]),
        ("cron(0 24 * * ? *)", ["hours", "'24'", "0 to 23"]),
        ("cron(0 9,25 * * ? *)", ["hours", "'9,25'", "'25'"]),
        ("cron(? 9 * * ? *)", ["minutes", "'?'"]),
        ("cron(0 9 * 13 ? *)", ["month", "'13'", "JAN to DEC"]),
        ("cron(0 9 * SEPT ? *)", ["month", "'SEPT'"]),
        ("cron(0 9 ? * 0 *)", ["day-of-week", "'0'", "Sunday"]),
        ("cron(0 9 ? * FRI-MON *)", ["day-of-week", "'FRI-MON'"]),
        ("cron(0 9 ? * MONDAY *)", ["day-of-week", "'MONDAY'"]),
        ("cron(0 9 ? * MON#1,FRI#2 *)", ["day-of-week", "'MON#1,FRI#2'"]),
        ("cron(0 9 ? * MON#6 *)", ["day-of-week", "'MON#6'", "1 to 5"]),
        ("cron(0 9 ? * 2/2 *)", ["day-of-week", "'2/2'"]),
        ("cron(0 9 * * ? 26)", ["year", "'26'"]),
        ("cron(0 9 * * * *)", ["'*'", "exactly one", "?"]),
        ("cron(0 9 ? * ? *)", ["'?'", "exactly one"]),
        ("cron(0 9 1 * MON *)", ["'1'", "'MON'", "exactly one"]),
        ("cron(*/0 9 * * ? *)", ["minutes", "'*/0'", "1 to 59"]),
        ("0 9 * * ? *", ["parentheses", "cron(0 9 * * ? *)"]),
        ("cron()", ["six fields", "0"]),
        # rates and moments
        ("rate(30 seconds)", ["'30 seconds'", "minutes, hours or days"]),
        ("rate(5m)", ["'5m'"]),
        ("rate(0 minutes)", ["'0 minutes'"]),
        ("rate(1.5 hours)", ["'1.5 hours'"]),
        ("rate(2 weeks)", ["'2 weeks'"]),
        ("rate(9999 days)", ["'9999 days'", "ten years"]),
        ("at(2026-02-30T00:00:00)", ["2026-02-30T00:00:00", "does not exist"]),
        ("at(2026-12-31T23:00:00Z)", ["'2026-12-31T23:00:00Z'", "offset", "timezone"]),
        ("at(2026-12-31)", ["'2026-12-31'"]),
        ("every 5 minutes", ["cron(...)", "rate(...)", "'every 5 minutes'"]),
        ("@reboot", ["'@reboot'", "cron(...)"]),
        ("@every 1h30m", ["'@every 1h30m'", "rate(...)"]),
        ("FREQ=DAILY;INTERVAL=1", ["'FREQ=DAILY;INTERVAL=1'", "cron(...)"]),
        ("R/2026-11-28T00:00:00Z/PT5M", ["'R/2026-11-28T00:00:00Z/PT5M'"]),
        ("Mon *-*-* 09:00:00", ["'Mon *-*-* 09:00:00'"]),
        ("CRON(0 9 * * ? *)", ["must be written cron(0 9 * * ? *)"]),
        ("cron (0 9 * * ? *)", ["must be written cron(0 9 * * ? *)"]),
        ("cron(0 9 * * ? *", ["must be written cron(0 9 * * ? *)"]),
        ("Rate(5 minutes)", ["must be written rate(5 minutes)"]),
        ("", ["cron(...)"]),
    ],
)
def test_an_expression_of_another_scheduler_is_refused_with_the_part_that_does_not_fit(
    text: str, says: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"\S") as refused:
        Recurrence.parse(text, "UTC", None, None, 0)
    assert [part for part in says if part not in str(refused.value)] == [], str(refused.value)
    for offered in re.findall(r"(?:it is|write|parentheses:) (cron\([^)]*\))", str(refused.value)):
        Recurrence.parse(offered, "UTC", None, None, 0)


UNIX_DAYS = [
    *(f"{first}-{last}{step}" for first in range(8) for last in range(first, 8) for step in ("", "/2", "/3")),
    *map(str, range(8)),
    *("*/2", "*/3", "1,3,5", "0,7", "5,6,0", "1-3,5", "6-7,2/2"),
]


@pytest.mark.parametrize("seconds", ["", "0 "])
def test_weekdays_of_unix_and_spring_are_offered_as_the_same_days(seconds: str) -> None:
    wrong = {}
    for text in UNIX_DAYS:
        days: set[int] = set()
        for part in text.split(","):
            span, _, step = part.partition("/")
            first, _, last = ("0-6" if span == "*" else f"{span}-6" if step and "-" not in span else span).partition(
                "-"
            )
            days |= {day % 7 for day in range(int(first), int(last or first) + 1, int(step or 1))}
        offered = suggestion(f"{seconds}0 9 * * {text}")
        assert offered, text
        ticks = islice(Recurrence.parse(offered, "UTC", None, None, 0).after(0), 14)
        found = {datetime.fromtimestamp(tick // 1000, UTC).isoweekday() % 7 for tick in ticks}
        if found != days:
            wrong[text] = offered
    assert wrong == {}


def test_the_api_names_the_expression_and_the_part(on_aws: AwsHarness) -> None:
    body = {"name": "n", "expression": "cron(0 9 L-3 * ? *)", "type": "process-snapshot"}
    answer = on_aws.http("schedules", "POST /schedules", role="admin", body=body)
    assert (answer.status, answer.fields) == (422, ["expression"])
    assert "'L-3'" in answer.json["detail"]
