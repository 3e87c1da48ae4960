"""*Prepare tomorrow's queue*: what fits enters once, what does not is counted by its reason."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adbot_queue.core.attribute_values import encode
from adbot_queue.core.clock import iso
from adbot_queue.core.errors import AppError, Conflict, Invalid
from adbot_queue.core.instants import instant
from adbot_queue.leads import items, store
from adbot_queue.leads.handling import Handling
from adbot_queue.leads.items import ENTRIES
from adbot_queue.leads.model import (
    ENTRY_MOVES,
    OPEN,
    Consent,
    ConsentState,
    DayState,
    Entry,
    EntryState,
    Lead,
    Reach,
)
from adbot_queue.leads.prepare import Preparer, render
from adbot_queue.leads.references import Client
from adbot_queue.leads.settings import Category, Step
from tests.builders.crash import Killed, before_transactions, crash_after, every_call
from tests.builders.leads import ALWAYS, TEMPLATE, TOMORROW, LeadsApi, Team, phone
from tests.builders.payments import snapshot
from tests.builders.world import empty


def test_a_hundred_leads_are_prepared_in_ten_calls(team: Team) -> None:
    team.fill(range(100))
    with crash_after(None) as calls:
        prepared = team.prepare()
    assert (prepared.prepared, dict(prepared.skipped), prepared.failed) == (100, {}, {})
    assert len(calls.names) <= 10
    assert [entry.key.place for entry in team.entries()] == list(range(100))
    assert team.entries()[0].variables == {"1": "Lead 0"}
    day = team.day()
    assert (day.state, day.load, day.counts["queued"], day.counts["prepared"]) == (DayState.PREPARED, 100, 100, 100)
    team.audit()


def test_a_second_call_adds_nothing_and_a_larger_capacity_adds_the_rest(team: Team) -> None:
    user = team.user(capacity=10)
    team.fill(range(15))
    first = team.prepare()
    assert (first.prepared, dict(first.skipped), first.eligible) == (10, {"over_capacity": 5}, 15)
    again = team.prepare()
    assert (again.prepared, dict(again.skipped)) == (0, {"over_capacity": 5})
    team.put(replace(user, capacity=12))
    assert team.prepare().prepared == 2
    assert team.day().capacity == 12
    team.audit()


def test_an_owner_with_many_leads_is_counted_up_to_a_limit(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "COUNT_PAGE_SIZE", 2)
    team.user(capacity=1)
    team.fill(range(5))
    exact = team.prepare()
    assert (exact.eligible, exact.is_exact, dict(exact.skipped)) == (5, True, {"over_capacity": 4})
    team.fill(range(5, 10))
    capped = team.prepare()
    assert (capped.eligible, capped.is_exact) == (6, False)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"consent": Consent()}, "consent_unknown"),
        ({"phone": "+12025550123"}, "us_marketing"),
        ({"fields": {}}, "empty_variable"),
        ({"fields": {"city": " \n\t "}}, "empty_variable"),
    ],
)
def test_a_lead_that_may_not_be_written_to_is_counted_by_its_reason(
    team: Team, spec: dict[str, Any], reason: str
) -> None:
    team.user(steps={"first": Step(TEMPLATE, variables={"1": "name", "2": "city"})})
    team.lead(1, **({"fields": {"city": "Bonn"}} | spec))
    team.lead(2, fields={"city": "Köln"})
    previewed = Preparer(team.leads).preview("sam", None)
    prepared = team.prepare()
    assert (prepared.prepared, dict(prepared.skipped)) == (1, {reason: 1})
    assert (previewed.prepared, previewed.skipped) == (prepared.prepared, prepared.skipped)
    assert [entry.variables for entry in team.entries()] == [{"1": "Lead 2", "2": "Köln"}]


@pytest.mark.parametrize(("known", "skipped"), [("MARKETING", 1), ("UTILITY", 0), (None, 0)])
def test_a_template_is_marketing_if_whatsapp_says_so_whatever_the_settings_say(
    team: Team, known: str | None, skipped: int
) -> None:
    team.user(steps={"first": Step(TEMPLATE, Category.UTILITY, {"1": "name"})})
    team.lead(1, phone="+12025550123")
    if known:
        item = items.template_key(TEMPLATE) | {"category": known}
        team.client.put_item(TableName=team.table, Item=encode(item))
    assert team.prepare().skipped == Counter({"us_marketing": skipped} if skipped else {})


@pytest.mark.parametrize(
    "changes",
    [
        {"consent": Consent(ConsentState.DENIED)},
        {"reach": Reach.NONE},
        {"touches": 1},
        {"taken_by": "sam"},
    ],
)
def test_a_lead_that_automation_is_done_with_is_not_eligible(team: Team, changes: dict[str, Any]) -> None:
    lead = team.lead(1)
    writer = team.store.writer()
    writer.lead(lead, lead.changed(team.clock(), **changes))
    writer.commit()
    prepared = team.prepare()
    assert (prepared.prepared, prepared.eligible, dict(prepared.skipped)) == (0, 0, {})


def test_utility_templates_may_go_to_the_united_states(team: Team) -> None:
    team.user(steps={"first": Step(TEMPLATE, Category.UTILITY, {"1": "name"})})
    team.lead(1, phone="+12025550123")
    assert team.prepare().prepared == 1


def test_variables_may_be_names_of_client_and_project(team: Team) -> None:
    team.user(steps={"first": Step(TEMPLATE, variables={"1": "client", "2": "project"})})
    team.put(Client("acme", "Acme\nInc."))
    team.lead(1, project_id="roof")
    team.lead(2)
    prepared = team.prepare()
    assert (prepared.prepared, dict(prepared.skipped)) == (1, {"empty_variable": 1})
    assert team.entries()[0].variables == {"1": "Acme Inc.", "2": "Roofs"}


texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(st.sampled_from("123"), st.sampled_from(["name", "city", "gone"])), texts, texts)
def test_no_message_has_a_variable_that_twilio_refuses(variables: dict[str, str], name: str, city: str) -> None:
    rendered = render(Step(TEMPLATE, variables=variables), {"name": name, "city": city})
    if rendered is not None:
        assert rendered.keys() == variables.keys()
        assert all(text and "\n" not in text and "\t" not in text and "     " not in text for text in rendered.values())


def test_priority_comes_first_then_age(team: Team) -> None:
    team.user(capacity=3)
    ids = [team.lead(number, priority=priority).id for number, priority in enumerate((1, 9, 5, 9))]
    team.prepare()
    assert [entry.key.lead_id for entry in team.entries()] == [ids[1], ids[3], ids[2]]


def test_a_person_is_in_one_owners_queue_of_a_day(team: Team) -> None:
    team.user("tom", exclusive=False)
    first = team.lead(1)
    assert team.lead(1, "tom").shared
    trail, _ = team.store.trail(first.id, 1, None)
    assert trail[0]["what"] == "shared"
    team.user("tom")
    assert team.prepare().prepared == 1
    later = team.prepare("tom")
    assert (later.prepared, dict(later.skipped)) == (0, {"owner_elsewhere": 1})
    team.audit()


@pytest.mark.parametrize(
    ("changes", "date", "field", "message"),
    [
        ({"steps": {}}, None, "steps.first", "no template is set: PUT /leads/settings"),
        ({"week": {}}, None, "week", "no hours in the next 7 days that the pause leaves open"),
        ({"week": {}}, TOMORROW, "date", "2025-11-23 has no hours in the settings"),
        ({}, "2025-11-21", "date", "must be between 2025-11-22 and 2025-11-29"),
        ({}, "2025-12-01", "date", "must be between 2025-11-22 and 2025-11-29"),
        (
            {"pause_until": instant("2025-11-25T00:00Z")},
            TOMORROW,
            "date",
            "the hours of 2025-11-23 are over, or paused, at 2025-11-24T00:00:00.000Z",
        ),
    ],
)
def test_a_day_that_cannot_be_prepared_is_refused(
    team: Team, changes: dict[str, Any], date: str | None, field: str, message: str
) -> None:
    team.user(**changes)
    team.fill([1])
    with pytest.raises(Invalid) as refused:
        team.prepare(date=date)
    assert [(error.field, error.message) for error in refused.value.errors] == [(field, message)]
    assert team.rows("DAY#") == []


def test_an_unknown_user_and_a_day_that_is_over_are_refused(team: Team) -> None:
    with pytest.raises(Invalid, match="owner_id: user eve does not exist"):
        team.prepare("eve")
    team.fill([1])
    team.prepare()
    change(team, state=DayState.DONE)
    team.fill([2])
    with pytest.raises(Conflict, match="the queue of 2025-11-23 is over"):
        team.prepare()


def change(team: Team, **changes: Any) -> None:
    writer, day = team.store.writer(), team.day()
    writer.day(day, day.changed(**changes))
    writer.commit()


def test_a_running_day_keeps_its_capacity_and_hours_while_settings_change(team: Team) -> None:
    team.user(capacity=2)
    team.fill(range(5))
    before = team.prepare().plan.day
    change(team, state=DayState.RUNNING)
    team.user(capacity=5, week=dict.fromkeys(ALWAYS, "10:00-11:00"), zone="Asia/Kathmandu")
    assert team.prepare(date=TOMORROW).prepared == 0
    after = team.day()
    assert before
    assert (after.capacity, after.window_from, after.zone) == (2, before.window_from, "UTC")
    team.audit()


def test_the_pause_moves_the_next_day(team: Team) -> None:
    team.user(pause_until=instant("2025-11-25T12:00Z"))
    team.fill([1])
    assert team.prepare().plan.date == "2025-11-25"


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_tomorrow_is_the_owners_own(team: Team, zone: str) -> None:
    team.clock.now = instant("2026-03-01T18:30Z")
    team.user(zone=zone, week=dict.fromkeys(ALWAYS, "09:00-10:00"))
    team.fill([1])
    plan = team.prepare().plan
    local = {"Asia/Kathmandu": "2026-03-03", "Pacific/Kiritimati": "2026-03-03", "Pacific/Pago_Pago": "2026-03-02"}
    assert plan.date == local[zone]
    assert (
        iso(plan.window.start)[:16]
        == {
            "Asia/Kathmandu": "2026-03-03T03:15",
            "Pacific/Kiritimati": "2026-03-02T19:00",
            "Pacific/Pago_Pago": "2026-03-02T20:00",
        }[zone]
    )


def test_what_time_does_not_allow_is_left_to_the_next_call(team: Team) -> None:
    team.fill(range(50))
    left = iter([60_000, 3_000])
    cut = Preparer(team.leads).prepare("sam", None, team.by(), lambda: next(left))
    assert (cut.prepared, cut.is_complete) == (32, False)
    rest = team.prepare()
    assert (rest.prepared, rest.is_complete) == (18, True)
    team.audit()


def others_first(team: Team, act: Any) -> Any:
    """Return a hook that has `act` done before the first transaction."""
    pending = [act]

    def seen(_: dict[str, Any]) -> None:
        if pending:
            pending.pop()()

    return before_transactions(seen)


def test_two_calls_at_once_queue_each_lead_once_and_keep_the_capacity(team: Team) -> None:
    team.user(capacity=30)
    team.fill(range(60))
    with others_first(team, team.prepare):
        prepared = team.prepare()
    assert prepared.prepared == 0
    assert len(team.entries()) == 30
    team.audit()


def test_a_lead_that_is_taken_while_it_is_queued_is_left_out_and_the_others_enter(team: Team) -> None:
    leads = team.fill(range(5))
    with others_first(team, lambda: Handling(team.leads).take(leads[2].id, team.by())):
        prepared = team.prepare()
    assert (prepared.prepared, prepared.failed) == (4, {leads[2].id: "changed at the same time"})
    team.audit()


def take(team: Team, lead_id: str, user_id: str = "sam") -> str:
    return str(Handling(team.leads).take(lead_id, team.by(user_id)).message)


def move(team: Team, entry: Entry, *states: EntryState, **changes: Any) -> None:
    for state in states:
        after = entry.moved(state, team.clock(), **changes)
        writer = team.store.writer()
        writer.entry(entry, after)
        writer.commit()
        entry = after


@pytest.mark.parametrize(
    ("states", "message", "count"),
    [
        ((), "cancelled", "cancelled"),
        ((EntryState.HANDED,), "cancelled", "cancelled"),
        ((EntryState.HANDED, EntryState.SENDING), "handed_over", "sending"),
    ],
)
def test_a_queued_lead_is_taken_in_three_calls(
    team: Team, states: tuple[EntryState, ...], message: str, count: str
) -> None:
    (lead,) = team.fill([1])
    team.prepare()
    move(team, team.entries()[0], *states, sid="SM1")
    team.clock.advance(1)
    with crash_after(None) as calls:
        handled = Handling(team.leads).take(lead.id, team.by())
    assert calls.names == ["GetItem", "GetItem", "TransactWriteItems"]
    assert (handled.message, handled.sid) == (message, "SM1" if message == "handed_over" else None)
    day = team.day()
    assert (day.counts[count], day.counts["taken"], day.load) == (1, 1, message == "handed_over")
    team.audit()
    trail, _ = team.store.trail(lead.id, 10, None)
    whats = [entry["what"] for entry in trail]
    assert whats == ["taken", "cancelled", "prepared"] if message == "cancelled" else ["taken", "prepared"]
    assert team.prepare().prepared == 0


def test_a_lead_handed_over_between_read_and_write_is_cancelled_all_the_same(team: Team) -> None:
    (lead,) = team.fill([1])
    team.prepare()
    with others_first(team, lambda: move(team, team.entries()[0], EntryState.HANDED)):
        assert take(team, lead.id) == "cancelled"
    assert team.entries()[0].state is EntryState.CANCELLED
    team.audit()


def test_a_cancelled_lead_is_not_queued_again_for_the_same_day(team: Team) -> None:
    team.user("tom")
    (lead,) = team.fill([1])
    team.prepare()
    Handling(team.leads).assign(lead.id, "tom", team.by())
    later = team.prepare("tom", TOMORROW)
    assert (later.prepared, dict(later.skipped)) == (0, {"already_today": 1})
    team.clock.advance(86_400_000)
    assert team.prepare("tom").prepared == 1
    team.audit()


def test_a_lead_whose_message_is_being_sent_is_not_handed_to_a_colleague(team: Team) -> None:
    team.user("tom")
    (lead,) = team.fill([1])
    team.prepare()
    move(team, team.entries()[0], EntryState.HANDED, EntryState.SENDING)
    with pytest.raises(Conflict, match="is being sent"):
        Handling(team.leads).assign(lead.id, "tom", team.by())


def test_the_phone_of_a_queued_lead_stays(team: Team) -> None:
    (lead,) = team.fill([1])
    team.prepare()
    with pytest.raises(Conflict, match="phone: cannot change while a message is queued for 2025-11-23"):
        team.leads.change(lead.id, {"phone": phone(2)}, None, team.by())


def test_killed_after_any_call_of_preparing_a_second_call_ends_it(team: Team) -> None:
    team.fill(range(40))
    restore = snapshot()
    with crash_after(None) as calls:
        assert team.prepare().prepared == 40
    for call in every_call(len(calls.names)):
        restore()
        with crash_after(call), pytest.raises(Killed):
            team.prepare()
        team.audit()
        team.prepare()
        assert len(team.entries()) == 40
        assert team.day().load == 40
        team.audit()


@pytest.mark.parametrize("act", ["take", "assign"])
def test_killed_after_any_call_of_an_act_the_repetition_ends_it(team: Team, act: str) -> None:
    team.user("tom")
    (lead,) = team.fill([1])
    team.prepare()
    restore = snapshot()

    def done(by: str) -> Lead:
        handling = Handling(team.leads)
        if act == "take":
            return handling.take(lead.id, team.by(by)).lead
        return handling.assign(lead.id, "tom", team.by(by, sees_all=True)).lead

    with crash_after(None) as calls:
        wanted = done("sam")
    assert len(calls.names) <= 5
    for call in every_call(len(calls.names)):
        restore()
        with crash_after(call), pytest.raises(Killed):
            done("sam")
        assert done("sam") == wanted
        assert [entry.state for entry in team.entries()] == [EntryState.CANCELLED]
        assert len([row for row in team.rows("LEAD#") if row.get("what") in {"taken", "assigned"}]) == 1
        team.audit()


acts = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 3)),
        st.tuples(st.just("prepare"), st.sampled_from(["sam", "tom"])),
        st.tuples(st.just("take"), st.integers(0, 20)),
        st.tuples(st.just("move"), st.integers(0, 200)),
        st.tuples(st.just("capacity"), st.integers(1, 6)),
        st.tuples(st.just("assign"), st.integers(0, 20)),
        st.tuples(st.just("sleep"), st.integers(1, 30)),
    ),
    min_size=5,
    max_size=20,
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(acts)
def test_whatever_people_do_no_day_exceeds_its_capacity_and_no_lead_is_twice_in_a_day(
    team: Team, script: list[tuple[str, Any]]
) -> None:
    empty()
    team.__post_init__()
    for user in ("sam", "tom"):
        team.user(user, capacity=3)
    limit = 3
    for act, value in script:
        limit = max(limit, value) if act == "capacity" else limit
        with suppress(AppError):  # a refusal changes nothing, which the audit shows
            perform(team, act, value)
        team.audit()
        assert all(row["load"] <= limit for row in team.rows("DAY#") if row["sk"] == "HDR")


def perform(team: Team, act: str, value: Any) -> None:
    """Do one thing that a person, the automation or the clock may do."""
    leads = sorted(row["pk"].removeprefix("LEAD#") for row in team.rows("LEAD#") if row["sk"] == "L")
    chosen = leads[value % len(leads)] if leads and isinstance(value, int) else ""
    match act:
        case "add":
            team.fill(range(len(leads), len(leads) + value))
        case "prepare":
            team.prepare(value)
        case "sleep":
            team.clock.advance(value * 3_600_000)
        case "capacity":
            team.user(capacity=value)
        case "move":
            step(team, [ENTRIES.read(row) for row in team.rows("DAY#") if row["sk"] != "HDR"], value)
        case "take":
            take(team, chosen)
        case _:
            Handling(team.leads).assign(chosen, "tom", team.by(sees_all=True))


def step(team: Team, entries: list[Entry], choice: int) -> None:
    """Move an entry as the automation would."""
    movable = [entry for entry in entries if ENTRY_MOVES[entry.state]]
    if not movable:
        return
    entry = movable[choice % len(movable)]
    states = sorted(ENTRY_MOVES[entry.state])
    after = entry.moved(states[choice % len(states)], team.clock())
    lead = team.store.lead(entry.key.lead_id)
    assert lead
    writer = team.store.writer()
    writer.entry(entry, after)
    if lead.open_entry == entry.key:
        sent = {"touches": lead.touches + 1} if after.state is EntryState.SENDING else {}
        is_open = after.state in OPEN
        writer.lead(lead, lead.changed(team.clock(), open_entry=entry.key if is_open else None, **sent))
    writer.commit()


def test_the_queue_is_prepared_and_shown_over_http(api: LeadsApi) -> None:
    settings = {"week": ALWAYS, "steps": {"first": {"content_sid": TEMPLATE, "variables": {"1": "name"}}}}
    assert api("PUT /leads/settings", body=settings).status == 200
    api.add(1)
    api.add(2, consent=None)
    previewed = api("GET /leads/queue", query={"preview": "true"}).json
    assert (previewed["state"], previewed["preview"]["prepared"], previewed["preview"]["eligible"]) == ("none", 1, 2)
    prepared = api("POST /leads/queue/prepare", body={}).json
    assert (prepared["prepared"], prepared["skipped"]) == (1, {"consent_unknown": 1})
    queue = api("GET /leads/queue").json
    assert (queue["state"], queue["counts"]["queued"], queue["items"][0]["phone"]) == ("prepared", 1, phone(1))
    figures = api("GET /leads/figures", query={"from": queue["date"]}).json["items"]
    assert figures[0]["counts"] == queue["counts"]
    team = api("GET /leads/figures", role="admin", user="ada", query={"from": queue["date"]}).json["items"]
    assert [(day["owner_id"], day["state"]) for day in team] == [("sam", "prepared")]
    (signed,) = api.world.ledger(action="lead-day.prepare")
    assert (signed["target"], signed["after"]) == (f"lead-day:sam#{queue['date']}", {"added": 1})


@pytest.mark.parametrize(
    ("route", "options", "field"),
    [
        ("POST /leads/queue/prepare", {"body": {"date": "tomorrow"}}, "date"),
        ("POST /leads/queue/prepare", {"body": {"owner_id": "tom"}}, "owner_id"),
        ("GET /leads/queue", {"query": {"date": "2026-02-30"}}, "date"),
        ("GET /leads/figures", {"query": {"from": "2026-01-01", "to": "2026-02-01"}}, "to"),
        ("GET /leads/figures", {"query": {"from": "2026-01-02", "to": "2026-01-01"}}, "to"),
        ("GET /leads/figures", {"query": {}}, "from"),
    ],
)
def test_a_bad_request_about_a_queue_names_the_field(
    api: LeadsApi, route: str, options: dict[str, Any], field: str
) -> None:
    refused = api(route, **options)
    assert (refused.status, refused.fields) == (422, [field])


def test_owners_who_add_a_person_at_once_both_know_that_they_share_it(team: Team) -> None:
    team.user("tom", exclusive=False)
    with others_first(team, lambda: team.lead(1)):
        team.lead(1, "tom")
    assert [lead.shared for lead in team.store.find([phone(1)])] == [True, True]
