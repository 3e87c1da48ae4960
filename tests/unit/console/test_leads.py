"""Pages of leads: the four buttons, one lead as a conversation, the inbox, templates, the team."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

import pytest

from adbot_queue.console.views import lead_day
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import iso, system_clock
from adbot_queue.leads import inbound, service, templates
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.inbound_messages import Inbound
from adbot_queue.leads.model import COUNTS, Consent, ConsentState, Day, DayState, EntryState, Lead
from adbot_queue.leads.prepare import Preparer
from adbot_queue.leads.settings import Category, Spread, Step
from adbot_queue.providers.twilio_content import Template
from tests.builders.clocks import FakeClock
from tests.builders.console_world import ConsoleWorld, Shown, counted_calls
from tests.builders.leads import TEMPLATE, Team, phone
from tests.builders.payments import configure


@dataclass
class Sales:
    """A console, and two people with leads."""

    console: ConsoleWorld
    team: Team

    def lead(self, number: int, owner: str = "sub-sam", **spec: object) -> Lead:
        return self.team.lead(number, owner, **spec)

    def day(self, owner: str = "sub-sam") -> str:
        """The day that is prepared next."""
        following = self.team.store.user(owner)
        assert following
        found = following.next_day(system_clock())
        assert found
        return found[0]


@pytest.fixture(scope="module")
def sales(console: ConsoleWorld) -> Sales:
    configure()
    team = Team(FakeClock(system_clock()))
    team.store = lead_store.from_env()
    team.leads = service.from_env()
    team.user("sub-sam")
    team.user("sub-uma")
    console.person("sam", "sales")
    console.person("uma", "sales")
    known = templates.from_env()
    approved = Template(TEMPLATE, "hello", "en", "MARKETING", "approved", "", ("1",), "Hello {{1}}, shall we talk?")
    known._put(templates.KnownTemplate(approved))
    row = {"pk": "TEMPLATE", "sk": "#", "refreshed_at": system_clock() + 3_600_000}
    dynamodb.put_if(aws.dynamodb(), team.table, row, condition="attribute_not_exists(pk)")
    return Sales(console, team)


def posted(sales: Sales, path: str, page: Shown, form: str = "", role: str = "sam", **fields: str) -> Shown:
    """Send the form of a page that posts to `path`."""
    text = page.text.partition(f'action="{path}"')[2] or pytest.fail(f"there is no form of {path}")
    found = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', text.partition("</form>")[0]))
    return sales.console.post(path, found | fields, role)


def test_the_four_buttons_say_what_each_will_do_now_and_do_it(sales: Sales) -> None:
    for number in range(3):
        sales.lead(number)
    sales.lead(3, consent=Lead.__dataclass_fields__["consent"].default)
    page = sales.console.get("/console/leads/queue", "sam")

    for name in ("Prepare tomorrow&#39;s queue", "Start automation", "Export queue data", "Take lead"):
        assert name in page.text
    assert "Adds 3 of 4 eligible" in page.words
    assert "Consent unknown" in page.words
    made = posted(sales, "/console/leads/queue/prepare", page)
    assert sales.team.day("sub-sam", sales.day()).counts["prepared"] == 3

    after = sales.console.tick("/console/leads/queue", "sam", x_acted="1")
    assert f"Prepared 3 for {sales.day()}. 1 were left out." in made.words
    assert "Adds 0 of" in after.words
    rows = sales.console.get(f"/console/leads/queue/export.csv?date={sales.day()}", "sam")
    assert rows.headers["content-type"] == "text/csv; charset=utf-8"
    assert rows.text.count("\r\n") == 4


def test_a_run_is_started_and_stopped_and_says_what_is_left(sales: Sales) -> None:
    date = iso(system_clock())[:10]
    lead = sales.lead(20, "sub-uma")
    Preparer(sales.team.leads).prepare("sub-uma", date, sales.team.by("sub-uma"), lambda: 60_000)
    page = sales.console.get("/console/leads/queue", "uma")
    assert "Sends 1 messages" in page.words
    assert f"{lead.name} is next." in page.words

    started = posted(sales, "/console/leads/queue/start", page, role="uma")
    running = sales.console.get("/console/leads/queue", "uma")
    stopped = posted(sales, "/console/leads/queue/stop", running, role="uma")

    assert "Automation runs: 1 queued" in started.words
    assert "Hands over nothing more." in running.words
    assert "Stopped. Nothing more is handed over; 0 are with Twilio" in stopped.words
    assert sales.team.day("sub-uma", date).state is DayState.STOPPING


def test_a_tick_reads_four_rows_or_pages_at_most_and_never_the_leads_that_could_be_prepared(sales: Sales) -> None:
    sales.console.get("/console/leads/queue", "uma")
    with counted_calls() as calls:
        assert sales.console.get("/console/leads/queue", "uma", hx_request="true", x_tick="1").status == 200
    assert len(calls) <= 5, calls  # the session, and four


def test_a_lead_is_taken_once_and_the_loser_reads_who_was_faster(sales: Sales) -> None:
    lead = sales.lead(30)
    page = sales.console.get(f"/console/leads/{lead.id}", "sam")
    admin = sales.console.get(f"/console/leads/{lead.id}", "admin")

    first = posted(sales, f"/console/leads/{lead.id}/take", page)
    second = posted(sales, f"/console/leads/{lead.id}/take", admin, role="admin")

    assert (first.status, second.status) == (200, 409)
    assert "Taken." in first.words
    assert "sub-sam" in second.words
    assert "Taken over" in sales.console.get(f"/console/leads/{lead.id}", "sam").words


def test_a_lead_shows_consent_phone_and_what_happened(sales: Sales) -> None:
    lead = sales.lead(31, name="<script>alert(1)</script>")
    page = sales.console.get(f"/console/leads/{lead.id}", "sam")

    assert "&lt;script&gt;" in page.text
    assert "<script>alert" not in page.text
    for said in (lead.phone, "granted", "https://proof.example.com/1", "Created"):
        assert said in page.words


def test_free_text_is_offered_only_while_the_window_is_open(sales: Sales) -> None:
    lead = sales.lead(32)
    closed = sales.console.get(f"/console/leads/{lead.id}", "sam")
    inbound.from_env().receive(Inbound("SM32", "whatsapp", lead.phone, None, "Yes, please", None, "Noor", 0))
    page = sales.console.get(f"/console/leads/{lead.id}", "sam")

    assert 'id="write"' not in closed.text
    assert "Yes, please" in page.words
    assert "wrote" in page.words
    sent = posted(sales, f"/console/leads/{lead.id}/messages", page, text="Monday at nine?")
    assert "On its way" in sales.console.get(sent.headers["hx-redirect"], "sam").words
    assert "Monday at nine?" in sales.console.get(f"/console/leads/{lead.id}", "sam").words
    empty = posted(sales, f"/console/leads/{lead.id}/messages", page, text=" ", key="another-key-1")
    assert (empty.status, "text" in empty.words) == (422, True)


def test_statuses_and_consent_change_under_the_version_that_was_seen(sales: Sales) -> None:
    lead = sales.lead(33)
    path = f"/console/leads/{lead.id}"
    stale = sales.console.get(path, "sam")
    consented = posted(sales, f"{path}/consent", stale, state="granted", source="call", proof="call 7")
    late = posted(sales, f"{path}/status", stale)

    assert (consented.status, late.status) == (200, 409)
    bad = posted(sales, f"{path}/consent", sales.console.get(path, "sam"), state="granted", source="", proof="")
    assert (bad.status, "granted needs a source and a proof" in bad.words) == (422, True)
    lost = posted(sales, f"{path}/status", sales.console.get(path, "sam"))
    assert lost.status == 200
    assert sales.team.leads.get(lead.id, None).status == "lost"


def test_a_message_of_a_stranger_waits_in_the_inbox_until_it_is_matched(sales: Sales) -> None:
    inbound.from_env().receive(Inbound("SM90", "whatsapp", None, "US.90", "Who are you?", None, "Hidden", 0))
    lead = sales.lead(34)
    page = sales.console.get("/console/leads/inbox", "sam")

    assert "Who are you?" in page.words
    matched = posted(sales, "/console/leads/inbox/SM90/match", page, lead_id=lead.id)
    assert matched.headers["hx-redirect"].startswith(f"/console/leads/{lead.id}")
    assert "Who are you?" not in sales.console.get("/console/leads/inbox", "sam").words
    assert "Who are you?" in sales.console.get(f"/console/leads/{lead.id}", "sam").words


def test_sales_see_their_own_leads_and_only_these_pages(sales: Sales) -> None:
    theirs = sales.lead(40, "sub-uma")

    assert sales.console.get(f"/console/leads/{theirs.id}", "sam").status == 404
    assert sales.console.get("/console/leads?owner_id=sub-uma", "sam").status == 404
    assert sales.console.get("/console/leads/queue?owner_id=sub-uma", "sam").status == 404
    assert sales.console.get("/console/leads/queue?owner_id=sub-uma", "viewer").status == 200
    nav = sales.console.get("/console/leads", "sam").text.partition('id="nav"')[2].partition("</nav>")[0]
    links = set(re.findall(r'<a [^>]*?href="(/console[^"]*)"', nav))
    assert links == {"/console", "/console/templates", "/console/leads"} | {
        f"/console/leads/{one}" for one in ("queue", "inbox", "team")
    }
    for path in ("/console/queues", "/console/health", "/console/dead-letters"):
        assert sales.console.get(path, "sam").status == 403


def test_viewers_read_and_have_no_forms(sales: Sales) -> None:
    lead = sales.lead(41)
    for path in ("/console/leads/queue?owner_id=sub-sam", f"/console/leads/{lead.id}", "/console/leads/inbox"):
        page = sales.console.get(path, "viewer")
        assert page.status == 200
        assert 'action="/console/leads' not in page.text.replace('method="get" action', "")


def test_filters_are_in_the_address_and_in_the_export(sales: Sales) -> None:
    denied = sales.lead(42, fields={"x": "=1+1"})
    lead = sales.team.leads.get(denied.id, None)
    page = sales.console.get("/console/leads?status=new&taken=false", "sam")
    other = sales.console.get("/console/leads?status=booked", "sam")
    wrong = sales.console.get("/console/leads?status=sold", "sam")
    rows = sales.console.get("/console/leads/export.csv?status=new&taken=false", "sam")

    assert lead.name in page.words
    assert "No lead matches" in other.words
    assert wrong.status == 422
    assert rows.text.startswith("\ufeff")
    assert lead.id in rows.text


def test_settings_are_made_by_the_form_and_say_what_is_wrong(sales: Sales) -> None:
    sales.console.person("nia", "sales")
    empty = sales.console.get("/console/leads/queue", "nia")
    page = sales.console.get("/console/leads/settings", "nia")
    fields = {
        "name": "Nia",
        "capacity": "30",
        "batch": "5",
        "zone": "Europe/Berlin",
        "hours-mon": "09:00-18:00",
        "spread": "even",
        "pause_until": "2030-01-02T08:00:00Z",
        "content_sid": TEMPLATE,
        "category": "marketing",
        "variables": "1=name\n",
    }

    assert "No settings yet" in empty.words
    for name, value in (
        *(("zone", "Mars/One"), ("zone", ""), ("capacity", "2001"), ("capacity", ""), ("batch", "many")),
        *(("hours-mon", "9-5"), ("content_sid", "HX1"), ("pause_until", "tomorrow"), ("spread", "never")),
    ):
        wrong = posted(sales, "/console/leads/settings", page, role="nia", **{**fields, name: value})
        assert wrong.status == 422, name
    saved = posted(sales, "/console/leads/settings", page, role="nia", **fields)
    assert saved.headers["hx-redirect"].startswith("/console/leads/queue")
    known = sales.team.store.user("sub-nia")
    assert known
    assert (known.capacity, known.zone, known.week["tue"]) == (30, "Europe/Berlin", None)
    assert known.steps["first"].variables == {"1": "name"}
    assert (known.pause_until, known.exclusive) == (1_893_571_200_000, False)


def test_saving_settings_as_they_are_shown_changes_none_of_them(sales: Sales) -> None:
    sales.console.person("ana", "sales")
    made = sales.team.user(
        "sub-ana",
        name="Ana",
        capacity=7,
        batch=3,
        zone="Europe/Berlin",
        spread=Spread.BURST,
        pause_until=1_893_571_200_000,
        exclusive=False,
        steps={"first": Step(TEMPLATE, Category.UTILITY, {"1": "name", "2": "city"})},
    )
    page = sales.console.get("/console/leads/settings", "ana")

    assert posted(sales, "/console/leads/settings", page, role="ana", **shown_fields(page)).status == 200
    assert sales.team.store.user("sub-ana") == made


def shown_fields(page: Shown) -> dict[str, str]:
    """What a browser sends of the settings' form when nothing is changed."""
    form = page.text.partition('id="settings"')[2].partition("</form>")[0]
    found = dict(re.findall(r'name="([^"]+)" type="\w+" value="([^"]*)"', form))
    found |= dict(re.findall(r'<textarea [^>]*name="(\w+)"[^>]*>(.*?)</textarea>', form, re.DOTALL))
    for name, options in re.findall(r'<select [^>]*name="(\w+)">(.*?)</select>', form):
        chosen = re.findall(r'value="(\w+)" selected', options) or re.findall(r'value="(\w+)"', options)
        found[name] = chosen[0]
    if re.search(r'name="exclusive"[^>]* checked', form):
        found["exclusive"] = "yes"
    return {name: html.unescape(value) for name, value in found.items()}


def test_the_next_to_go_out_are_shown_however_many_went_before(sales: Sales) -> None:
    sales.console.person("max", "sales")
    sales.team.user("sub-max")
    date = iso(system_clock())[:10]
    sales.team.fill(range(500, 530), "sub-max")
    Preparer(sales.team.leads).prepare("sub-max", date, sales.team.by("sub-max"), lambda: 60_000)
    entries = sales.team.entries("sub-max", date)
    for entry in entries[:25]:
        sent = entry.moved(EntryState.HANDED, 1).moved(EntryState.SENDING, 1)
        writer = sales.team.store.writer()
        writer.entry(entry, entry.moved(EntryState.HANDED, 1))
        writer.commit()
        writer = sales.team.store.writer()
        writer.entry(entry.moved(EntryState.HANDED, 1), sent)
        writer.commit()

    page = sales.console.get("/console/leads/queue", "max")

    shown = re.findall(r'id="entry-(\w+)"', page.text)
    assert shown == [entry.key.lead_id for entry in entries[25:]]
    assert "5 queued, in this order" in page.words


def test_the_consent_form_begins_with_what_is_known(sales: Sales) -> None:
    for number, state in enumerate(ConsentState, start=600):
        lead = sales.lead(number, consent=Consent(state, "form", "", None, "proof"))
        page = sales.console.get(f"/console/leads/{lead.id}", "sam")
        assert re.findall(r"<option selected>(\w+)</option>", page.text) == [state.value]


def test_templates_and_the_team_are_listed(sales: Sales) -> None:
    assert "Hello {{1}}, shall we talk?" in sales.console.get("/console/templates", "sam").words
    team = sales.console.get(f"/console/leads/team?date={sales.day()}", "admin")
    assert "sub-uma" in team.text
    assert sales.console.get("/console/leads/team?date=2026-02-30", "admin").status == 422
    mine = sales.console.get("/console/leads/team", "sam")
    assert "sub-uma" not in mine.text


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"prepared": 10, "queued": 10},
        {"prepared": 10, "sent": 8, "delivered": 6, "read": 3, "failed": 1, "cancelled": 1},
        {"prepared": 3, "sent": 3, "failed": 3},
        {"prepared": 4, "sending": 1, "unsure": 1, "carried_over": 2},
    ],
)
def test_the_bar_of_a_run_shows_each_entry_once(counts: dict[str, int]) -> None:
    assert set(counts) <= set(COUNTS)
    assert set(lead_day.STAGES) == {*EntryState}
    day = Day("sam", "2026-11-28", DayState.RUNNING, 10, 0, 1, "UTC", counts=counts)

    parts = lead_day.bar(day)

    ends = 0.0
    for _, number, begins, share in parts:
        assert number > 0
        assert abs(begins - ends) < 0.05
        ends = begins + share
    assert ends <= 100.05
    assert phone(1)
