"""Leads in a browser: what sales see, exports, two people at one lead, figures that agree while a run goes on."""

from __future__ import annotations

import base64
import csv
import io
import json
import secrets
from collections import Counter
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from local.stack import Stack
from tests.browser.conftest import Watch
from tests.e2e.conftest import Api

Open = Callable[..., Page]
STAGES = (
    "() => Object.fromEntries([...document.querySelectorAll('[data-stage]')].map("
    "(one) => [one.dataset.stage, Number(one.textContent.replace(',', ''))]))"
)
SOON = 30_000
"""Longest wait for what a run brings about, in ms."""


class Outreach:
    """A template, and leads of the stack's sales person."""

    def __init__(self, stack: Stack) -> None:
        self.api = Api(stack)
        self.template = f"HX{secrets.token_hex(16)}"
        self.client = f"client-{secrets.token_hex(3)}"
        self._stand_in = f"{stack['providers_url']}/twilio"
        claims = self.api.token("sales").split(".")[1]
        self.owner: str = json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"]
        template = {"name": self.client, "status": "approved", "category": "UTILITY", "body": "Hello {{1}}"}
        assert requests.put(f"{self._stand_in}/templates/{self.template}", json=template, timeout=30).ok
        assert self.api("admin", "PUT", f"/leads/clients/{self.client}", json={"name": "Browser"}).ok
        settings = {
            "name": "Sam",
            "capacity": 100,
            "zone": "UTC",
            "week": dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "00:00-24:00"),
            "spread": "burst",
            "steps": {"first": {"content_sid": self.template, "category": "utility", "variables": {"1": "name"}}},
        }
        known = self.api("sales", "GET", "/leads/settings")
        if known.ok:
            settings["version"] = known.json()["version"]
        assert self.api("sales", "PUT", "/leads/settings", json=settings).ok

    def lead(self, name: str) -> str:
        """Create a lead and return its id."""
        body = {
            "client_id": self.client,
            "name": name,
            "phone": f"+49151{10_000_000 + secrets.randbelow(89_999_999)}",
            "consent": {"state": "granted", "source": "form", "proof": "form 7"},
        }
        answer = self.api("sales", "POST", "/leads", json=body)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["lead_id"]
        return found

    def received(self) -> list[dict[str, Any]]:
        """Messages of this template that Twilio's stand-in received."""
        items = requests.get(f"{self._stand_in}/messages", timeout=30).json()["items"]
        return [message for message in items if message["content_sid"] == self.template]

    def answer(self, phone: str, text: str) -> None:
        """Write as the person at a phone."""
        url = f"{self._stand_in}/people/{phone}/messages"
        assert requests.post(url, json={"text": text}, timeout=30).json()["statuses"] == [200]


@pytest.fixture(scope="module")
def outreach(stack: Stack) -> Outreach:
    return Outreach(stack)


def test_24_sales_see_their_leads_and_nothing_else(open_as: Open, watch: Watch, origin: str) -> None:
    watch.expected = ["40[34]"]
    page = open_as("sales", "/console")

    expect(page.get_by_role("heading", level=1)).to_have_text("My day")
    links = page.locator("#nav ul a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    leads = [f"/console/leads{path}" for path in ("/queue", "/inbox", "/team", "")]
    assert links == [*leads, "/console/templates"]
    for path in ("/console/queues", "/console/health", "/console/dead-letters", "/console/bots", "/console/ledger"):
        answer = page.goto(path)
        assert answer
        assert answer.status == 403, path
    page.goto("/console/leads/queue")
    token = page.locator("input[name=csrf]").first.get_attribute("value") or ""
    posted = page.request.post(
        f"{origin}/console/queues/email/pause",
        form={"csrf": token, "key": secrets.token_hex(8), "reason": "x"},
        headers={"sec-fetch-site": "same-origin"},
    )
    assert posted.status == 403


def test_28_exported_leads_are_those_of_the_filter_and_cells_are_text(open_as: Open, outreach: Outreach) -> None:
    formula = f"=1+1 {secrets.token_hex(2)}"
    wanted = {outreach.lead(formula), outreach.lead("Ærø Ünal")}
    page = open_as("sales", "/console/leads?status=new")

    with page.expect_download() as saved:
        page.get_by_role("link", name="Export CSV").click()
    raw = saved.value.path().read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = {row["lead_id"]: row for row in csv.DictReader(io.StringIO(raw.decode("utf-8-sig")))}
    assert wanted <= set(rows)
    assert {row["status"] for row in rows.values()} == {"new"}
    assert formula in {row["name"].lstrip("'") for row in rows.values()}
    assert not [cell for row in rows.values() for cell in row.values() if cell[:1] in ("=", "+", "-", "@")]
    shown = page.locator("#live tbody th a").all_inner_texts()
    assert {formula, "Ærø Ünal"} <= set(shown)


def test_28_of_two_people_who_take_a_lead_one_wins_and_the_other_reads_who(
    open_as: Open, outreach: Outreach, watch: Watch
) -> None:
    watch.expected = ["409"]
    lead = outreach.lead("Noor Bakker")
    first, second = open_as("sales", f"/console/leads/{lead}"), open_as("admin", f"/console/leads/{lead}")

    first.get_by_role("button", name="Take lead").click()
    expect(first.locator("#answer")).to_contain_text("Taken.")
    second.get_by_role("button", name="Take lead").click()

    expect(second.locator("#answer")).to_contain_text("Sam took this lead at")
    expect(first.locator("#live")).to_contain_text("Taken over")


def test_58_numbers_of_the_page_are_those_of_the_table_and_of_twilio_while_a_run_goes_on(
    open_as: Open, outreach: Outreach
) -> None:
    leads = [outreach.lead(f"Runner {number}") for number in range(12)]
    today = outreach.api("sales", "POST", "/leads/queue/prepare", json={"date": _today(outreach)})
    assert today.json()["prepared"] >= len(leads), today.text
    page = open_as("sales", "/console/leads/queue")
    page.get_by_role("region", name="Take lead").get_by_role("button", name="Take lead").click()
    expect(page.locator("#answer")).to_contain_text("cancelled")

    page.get_by_role("button", name="Start automation").click()
    expect(page.locator("#answer")).to_contain_text("Automation runs")
    expect(page.locator("[data-stage=delivered], [data-stage=read]").first).to_be_visible(timeout=SOON)
    _agree(page, outreach)
    sent = outreach.received()[0]["to"].removeprefix("whatsapp:")
    outreach.answer(sent, "STOP")
    expect(page.get_by_role("region", name="Today")).to_contain_text("Done", timeout=2 * SOON)
    _agree(page, outreach)
    listed = outreach.api("sales", "GET", "/leads", params={"status": "opted_out", "limit": 100}).json()["items"]
    opted_out = [lead["lead_id"] for lead in listed if lead["phone"] == sent]
    assert len(opted_out) == 1
    page.goto(f"/console/leads/{opted_out[0]}")
    expect(page.locator("#chat")).to_contain_text("STOP")
    expect(page.get_by_role("button", name="Take lead")).to_have_count(0)


def _today(outreach: Outreach) -> str:
    found: str = outreach.api("sales", "GET", "/leads/settings").headers["date"]
    return parsedate_to_datetime(found).date().isoformat()


def _agree(page: Page, outreach: Outreach) -> None:
    """Read page, table and stand-in until they say the same: a run goes on between the readings."""
    seen: list[tuple[dict[str, int], Counter[str], int]] = []
    for _ in range(60):
        shown = page.evaluate(STAGES)
        entries = outreach.api("sales", "GET", "/leads/queue", params={"date": _today(outreach), "limit": 100})
        table = Counter(entry["state"] for entry in entries.json()["items"])
        received = len(outreach.received())
        seen.append((shown, table, received))
        with_twilio = sum(table[state] for state in ("sending", "sent", "delivered", "read", "failed", "unsure"))
        parts = {name: number for name, number in shown.items() if name != "prepared"}
        if parts == dict(table) and with_twilio == received:
            return
        page.wait_for_timeout(500)
    raise AssertionError(seen[-3:])
