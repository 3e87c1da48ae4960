"""Schedules: words, next runs in their zone, the form with its preview, and what people do about one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from adbot_queue.console import schedule_words
from adbot_queue.jobs import service as job_service
from adbot_queue.schedules import advice, service
from adbot_queue.schedules.model import Schedule
from adbot_queue.schedules.plan import Recurrence
from adbot_queue.schedules.ticks import TickOutcome
from tests.builders.console_world import ConsoleWorld, counted_calls
from tests.builders.payments import configure

FIELDS = {
    "name": "nightly",
    "expression": "cron(15 3 * * ? *)",
    "timezone": "Europe/Berlin",
    "type": "analytics-track",
    "payload": '{"event": "tick", "user_id": "u"}',
    "missed_policy": "once",
    "priority": "0",
}


@pytest.fixture(scope="module", autouse=True)
def _credentials(console: ConsoleWorld) -> None:
    """Providers have credentials: a schedule of a job without a chance is refused."""
    configure()


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("rate(1 hour)", "Every hour"),
        ("rate(5 minutes)", "Every 5 minutes"),
        ("at(2026-12-31T23:00:00)", "Once, on 31 Dec 2026 at 23:00"),
        ("cron(15 3 * * ? *)", "Every day at 03:15"),
        ("cron(15 3,15 ? * * *)", "Every day at 03:15 and 15:15"),
        ("cron(45 7 ? * MON-FRI *)", "Monday to Friday at 07:45"),
        ("cron(0 9 ? * 2,4 *)", "Monday and Wednesday at 09:00"),
        ("cron(0 9 ? * 6#3 *)", "The third Friday of the month at 09:00"),
        ("cron(0 9 ? * FRIL *)", "The last Friday of the month at 09:00"),
        ("cron(30 2 28 * ? *)", "The 28th of the month at 02:30"),
        ("cron(30 2 1,15,22 * ? *)", "The 1st, 15th and 22nd of the month at 02:30"),
        ("cron(0 0 L * ? *)", "The last day of the month at 00:00"),
        ("cron(0 8 15W * ? *)", "The working day closest to the 15th at 08:00"),
        ("cron(0 0/6 * * ? *)", "Every 6 hours"),
        ("cron(5 */2 * * ? *)", "Every 2 hours at minute 5"),
        ("cron(0 * * * ? *)", "Every hour"),
        ("cron(20 * * * ? *)", "Every hour at minute 20"),
        ("cron(*/10 * ? * MON *)", "Every 10 minutes, Monday"),
        ("cron(* * * * ? *)", "Every minute"),
        ("cron(0 9 1 JAN,7 ? 2027)", "The 1st of the month at 09:00 in January and July in 2027"),
        ("cron(0 9 1-5/2 3-4 ? *)", "The days 1-5/2 of the month at 09:00 in March to April"),
        ("cron(0,30 9-17 ? * MON-FRI *)", "Monday to Friday at the minutes 0,30 of the hours 9-17"),
    ],
)
def test_an_expression_has_words(expression: str, text: str) -> None:
    Recurrence.parse(expression, "UTC", None, None, 0)
    assert schedule_words.words(expression) == text


def test_a_time_that_clocks_skip_is_listed_between_the_runs() -> None:
    recurrence = Recurrence.parse("cron(30 2 28 * ? *)", "Europe/Berlin", None, None, 0)
    found = schedule_words.planned(recurrence, ms("2027-01-01T00:00:00"), 3)
    assert [(one.local, one.utc, one.at is None) for one in found] == [
        ("Thu 28 Jan 2027 02:30", "01:30", False),
        ("Sun 28 Feb 2027 02:30", "01:30", False),
        ("Sun 28 Mar 2027 02:30", "", True),
        ("Wed 28 Apr 2027 02:30", "00:30", False),
    ]


@pytest.mark.parametrize("expression", ["rate(1 hour)", "cron(0/20 * * * ? *)", "at(2027-04-01T00:00:00)"])
def test_intervals_skip_nothing_when_clocks_change(expression: str) -> None:
    recurrence = Recurrence.parse(expression, "Europe/Berlin", None, None, 0)
    assert recurrence.skipped(ms("2027-03-27T00:00:00"), ms("2027-03-29T00:00:00")) == []


@pytest.mark.parametrize(
    ("text", "offer"),
    [
        ("30 9 * * 1-5", "cron(30 9 ? * 2-6 *)"),
        ("cron(30 9 * * 1-5)", "cron(30 9 ? * 2-6 *)"),
        ("@daily", "cron(0 0 * * ? *)"),
        ("0 30 9 ? * MON-FRI", "cron(30 9 ? * MON-FRI *)"),
        ("99 9 * * *", None),
        ("1 2 3 4 5", None),
        ("every day", None),
    ],
)
def test_a_form_of_another_scheduler_is_offered_as_one_of_ours(text: str, offer: str | None) -> None:
    assert advice.suggestion(text) == offer


def test_every_outcome_of_a_run_has_a_shape_of_its_own() -> None:
    assert schedule_words.OUTCOMES.keys() == set(TickOutcome)
    assert len({icon for icon, _, _ in schedule_words.OUTCOMES.values()}) == len(TickOutcome)


# Pages


def made(console: ConsoleWorld, name: str, **changed: str) -> Schedule:
    answer = console.post("/console/schedules", FIELDS | {"name": name, **changed}, role="admin")
    assert answer.status == 200, answer.words
    return service.from_env().get(name)


def test_a_preview_shows_words_and_runs_and_writes_nothing(console: ConsoleWorld) -> None:
    page = console.post("/console/schedule-form", FIELDS, role="admin", script=False)
    assert page.status == 200
    assert "Every day at 03:15" in page.words
    assert "1 in the next 24 hours" in page.words
    assert page.text.count('<tr id="run-') == 5
    assert page.field("save", "expression") == FIELDS["expression"]
    assert "nightly" not in console.get("/console/schedules").words


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "Big Name", "name: "),
        ("expression", "30 9 * * 1-5", "as Unix cron it is cron(30 9 ? * 2-6 *) here"),
        ("expression", "cron(0 0 31 2 ? *)", "expression: never ticks"),
        ("expression", "cron(0 0 1 1 ? 2020)", "expression: never ticks"),
        ("expression", f"cron({','.join(['1'] * 500)} 0 * * ? *)", "expression: must have at most 256 characters"),
        ("timezone", "Mars/Base", "timezone: 'Mars/Base' is not an IANA time zone"),
        ("type", "none", "type: does not exist"),
        ("payload", "{", "payload: must be JSON"),
        ("payload", "{}", "payload.event: is required"),
        ("missed_policy", "never", "missed_policy: must be one of"),
        ("priority", "high", "priority: must be a whole number"),
        ("start", "tomorrow", "start: "),
    ],
)
def test_an_error_is_shown_at_its_field_and_the_text_stays(
    console: ConsoleWorld, field: str, value: str, words: str
) -> None:
    page = console.post("/console/schedule-form", FIELDS | {field: value}, role="admin", script=False)
    assert page.status == 422
    assert words in page.words, page.words
    part = page.text.partition(f'name="{field}"')[2]
    assert 'class="error"' in part.partition("</div>")[0]
    assert 'id="save"' not in page.text


def test_an_offered_expression_is_taken_with_one_button(console: ConsoleWorld) -> None:
    typed = FIELDS | {"expression": "30 9 * * 1-5"}
    page = console.post("/console/schedule-form", typed, role="admin", script=False)
    assert 'name="use" value="cron(30 9 ? * 2-6 *)"' in page.text
    taken = console.post("/console/schedule-form", typed | {"use": "cron(30 9 ? * 2-6 *)"}, role="admin", script=False)
    assert "Monday to Friday at 09:30" in taken.words


def test_a_schedule_is_made_once_listed_and_shown(console: ConsoleWorld) -> None:
    key = "k-schedule-1"
    first, again = (
        console.post("/console/schedules", FIELDS | {"name": "report", "key": key, "reason": "asked for"}, role="admin")
        for _ in range(2)
    )
    assert first.headers["hx-redirect"] == again.headers["hx-redirect"] == f"/console/schedules/report?answer={key}"
    (entry,) = console.world.ledger(target="schedule:report")
    assert (entry["actor"], entry["action"], entry["reason"]) == ("sub-admin", "schedule.create", "asked for")
    row = console.get("/console/schedules").text.partition('id="schedule-report"')[2].partition("</tr>")[0]
    assert "Every day at 03:15" in row
    assert "On time" in row
    assert "Europe/Berlin" in row
    page = console.get("/console/schedules/report")
    assert "It has not run yet" in page.words
    assert page.text.count('<tr id="run-') == 5


def test_a_second_person_reads_that_the_first_has_changed_it(console: ConsoleWorld) -> None:
    made(console, "shared")
    preview = console.post("/console/schedule-form?name=shared", FIELDS, role="admin", script=False)
    sent = {name: preview.field("save", name) for name in ("version", "key", *FIELDS)}
    moved = console.post("/console/schedules/shared", sent | {"key": "k-other-1", "expression": "rate(2 hours)"})
    assert moved.headers["hx-redirect"].startswith("/console/schedules/shared?")
    late = console.post("/console/schedules/shared", sent, role="admin")
    assert (late.status, "has version 2 by now" in late.words) == (409, True), late.words
    assert service.from_env().get("shared").spec.expression == "rate(2 hours)"


def test_a_schedule_is_switched_off_and_on_with_a_way_back(console: ConsoleWorld) -> None:
    made(console, "switched")
    off = console.post("/console/schedules/switched/disable", role="admin")
    assert "Disabled switched." in off.words
    assert "Undo" in off.words
    page = console.get("/console/schedules/switched")
    assert "It runs when it is enabled again." in page.words
    saved = console.post("/console/schedules/switched", FIELDS | {"version": "2", "expression": "rate(3 hours)"})
    assert saved.status == 200
    assert not service.from_env().get("switched").spec.enabled  # a form does not switch it on
    assert "Enabled switched: every 3 hours" in console.post("/console/schedules/switched/enable", role="admin").words
    assert service.from_env().get("switched").spec.enabled


def test_a_schedule_runs_now_once_for_each_click(console: ConsoleWorld) -> None:
    made(console, "byhand")
    answers = [
        console.post("/console/schedules/byhand/run", {"key": "k-run-now-1"}, role="admin").words for _ in range(2)
    ]
    assert answers[0] == answers[1]
    (tick,) = service.from_env().ticks("byhand")
    assert tick.job_id
    assert tick.job_id in answers[0]
    assert job_service.from_env().job(tick.job_id).type == "analytics-track"
    assert "Run by hand" in console.get("/console/schedules/byhand").words


def test_a_schedule_is_deleted_with_a_reason(console: ConsoleWorld) -> None:
    made(console, "gone")
    path = "/console/schedules/gone/delete"
    assert "reason: must have" in console.post(path, {"in": "delete-schedule"}, role="admin").words
    answer = console.post(path, {"reason": "moved"}, role="admin")
    assert answer.headers["hx-redirect"].startswith("/console/schedules?")
    assert console.get("/console/schedules/gone").status == 404
    assert console.world.ledger(target="schedule:gone")[0]["reason"] == "moved"


def test_secrets_of_a_payload_are_masked_and_stay_when_they_are_left(console: ConsoleWorld) -> None:
    payload = '{"url": "https://hooks.example.com/x", "method": "POST", "headers": {"authorization": "Bearer s3cret"}}'
    made(console, "hook", type="http-request", payload=payload)
    page = console.get("/console/schedule-form?name=hook", role="admin")
    assert "s3cret" not in page.text + console.get("/console/schedules/hook").text
    kept = payload.replace("Bearer s3cret", "********")
    sent = FIELDS | {"type": "http-request", "payload": kept, "expression": "rate(2 hours)", "version": "1"}
    assert console.post("/console/schedules/hook", sent, role="admin").status == 200
    assert service.from_env().get("hook").spec.payload["headers"]["authorization"] == "Bearer s3cret"


def test_money_above_the_limit_needs_the_owner(console: ConsoleWorld) -> None:
    sent = FIELDS | {"name": "refunds", "type": "refund-process", "payload": '{"transaction_id": "pi_1"}'}
    assert "Next runs" in console.post("/console/schedule-form", sent, role="owner", script=False).text
    refused = console.post("/console/schedules", sent, role="admin")
    assert (refused.status, "needs the role owner" in refused.words) == (403, True), refused.words


def test_viewers_see_schedules_and_find_no_action(console: ConsoleWorld) -> None:
    made(console, "seen")
    for path in ("/console/schedules", "/console/schedules/seen"):
        page = console.get(path, role="viewer")
        assert page.status == 200
        assert "schedule-form" not in page.text
        forms = [form for form in page.text.split("<form") if 'method="post"' in form.partition(">")[0]]
        assert all("/console/sign-out" in form or "/console/theme" in form for form in forms), path


@pytest.mark.parametrize("path", ["/console/schedules", "/console/schedules/cheap"])
def test_a_page_is_two_reads_after_session_and_snapshot(
    console: ConsoleWorld, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.endswith("cheap"):
        made(console, "cheap")
    monkeypatch.setattr("adbot_queue.console.snapshot.FRESH_MS", 3_600_000)
    console.get(path)
    with counted_calls() as calls:
        console.get(path)
    assert len(calls) <= 4, calls
