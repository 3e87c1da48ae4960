"""The queue of bots, uploads, schedules and the ledger. Tests carry the number of their check."""

from __future__ import annotations

import csv
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from local import stack as stacks
from local.stack import Stack
from tests.browser.conftest import Watch
from tests.browser.test_pages import AXE, OWN_CHECKS

Open = Callable[..., Page]


class Shop:
    """A pool of these tests' own, and what an admin does over the API."""

    def __init__(self, stack: Stack) -> None:
        self.url = stack["api_url"]
        self.headers = {"authorization": f"Bearer {stacks.token(stack, 'admin')}"}
        self.pool = f"browser-{secrets.token_hex(3)}"
        self.ask("PUT", f"/admin/stock/pools/{self.pool}")

    def ask(self, method: str, path: str, **body: Any) -> Any:
        answer = requests.request(
            method, self.url + path, headers=self.headers, json=body if method == "POST" else None, timeout=30
        )
        assert answer.ok, answer.text
        return answer.json()

    def bot(self, sessions: int) -> str:
        made = self.ask("POST", "/admin/adbots", required_sessions=sessions, pool=self.pool)
        return str(made["adbot_id"])

    def status(self, adbot: str) -> str:
        return str(self.ask("GET", f"/adbots/{adbot}")["status"])


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Shop:
    return Shop(stack)


@pytest.fixture(scope="module")
def pages(stack: Stack) -> list[str]:
    """Every page of this file with something on it."""
    shop = Shop(stack)
    bot = shop.bot(7)
    name = f"{shop.pool}-axe"
    payload = {"event": "tick", "user_id": "u"}
    shop.ask("POST", "/schedules", name=name, expression="rate(1 day)", type="analytics-track", payload=payload)
    bots = f"/console/bots?pool={shop.pool}"
    pages = [
        bots,
        f"{bots}&bot={bot}",
        f"/console/bots/{bot}",
        f"/console/bots/{bot}/sessions",
        "/console/bots?view=all",
        "/console/bots?view=parked",
    ]
    pages += ["/console/orders", "/console/stock", "/console/stock/uploads", "/console/ledger"]
    return [*pages, "/console/schedules", f"/console/schedules/{name}", f"/console/schedule-form?name={name}"]


@pytest.mark.parametrize("look", ["light", "dark", "forced"])
def test_03_axe_finds_nothing_on_pages_of_bots_and_money(open_as: Open, pages: list[str], look: str) -> None:
    colours: dict[str, Any] = {"forced_colors": "active"} if look == "forced" else {"color_scheme": look}
    page = open_as("owner", "/console/bots", bypass_csp=True, **colours)
    found = []
    for path in pages:
        page.goto(path)
        page.evaluate(AXE)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        report = page.evaluate("(tags) => axe.run({runOnly: tags})", tags)
        found += [(path, one["id"], one["nodes"][0]["html"][:200]) for one in report["violations"]]
        found += [(path, problem, "") for problem in page.evaluate(OWN_CHECKS)]
    assert found == []


@pytest.mark.parametrize("width", [320, 768])
def test_04_no_page_of_bots_and_money_scrolls_sideways(open_as: Open, pages: list[str], width: int) -> None:
    page = open_as("owner", "/console/bots", viewport={"width": width, "height": 800})
    wide = []
    for path in pages:
        page.goto(path)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path)
    assert wide == []


def rows(page: Page) -> list[str]:
    return [str(one.get_attribute("id")).removeprefix("bot-") for one in page.locator("#live tbody tr").all()]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_26_the_queue_stays_in_order_and_place_1_is_served_next(open_as: Open, shop: Shop) -> None:
    bots = [shop.bot(sessions) for sessions in (2, 3, 1)]
    page = open_as("admin", f"/console/bots?pool={shop.pool}")
    for _ in range(3):
        page.evaluate("window.console_.refresh()")
        page.wait_for_load_state("networkidle")
        listed = shop.ask("GET", f"/admin/queue?pool={shop.pool}")["items"]
        assert rows(page) == [one["adbot_id"] for one in listed] == bots

    page.get_by_role("link", name="Upload stock").click()
    expect(page.locator("#upload-pool")).to_have_value(shop.pool)
    page.get_by_label("Sessions", exact=True).fill(f"{shop.pool}-a\n{shop.pool}-b\n")
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.locator("#upload-result")).to_contain_text("2 accepted")
    until(lambda: shop.status(bots[0]) == "READY")
    page.goto(f"/console/bots?pool={shop.pool}")
    expect(page.locator(f"#bot-{bots[0]}")).to_have_count(0)
    assert rows(page) == bots[1:]
    assert shop.status(bots[1]) == "QUEUED"


def test_26_the_drawer_of_a_bot_has_its_own_address_and_acts(open_as: Open, shop: Shop) -> None:
    bot = shop.bot(4)
    page = open_as("admin", f"/console/bots?pool={shop.pool}")
    page.locator(f"#open-{bot}").click()
    expect(page.locator(f"#drawer-{bot}")).to_contain_text("0 of 4 sessions")
    assert f"bot={bot}" in page.url
    page.reload()
    page.locator(f"#drawer-{bot}").get_by_role("button", name="Cancel…").click()
    page.locator("#cancel-bot").get_by_label("Reason").fill("bought twice")
    page.locator("#cancel-bot").get_by_role("button", name="Cancel bot").click()
    expect(page.locator("#answer")).to_contain_text("It held no sessions")
    expect(page.locator(f"#bot-{bot}")).to_have_count(0)
    assert shop.status(bot) == "CANCELLED"


@pytest.mark.timeout(240)
def test_sessions_are_compared_then_reassigned_and_one_is_reported_lost(
    open_as: Open, stack: Stack, watch: Watch
) -> None:
    watch.expected += ["404"]  # a session that does not exist is refused in its dialog
    shop = Shop(stack)  # a pool in which no other bot waits
    ids = [f"{shop.pool}-{number}" for number in range(4)]
    for one in ids:
        shop.ask("POST", "/admin/stock/sessions", pool=shop.pool, session_id=one)
    bot = shop.bot(2)
    page = open_as("admin", f"/console/bots/{bot}")
    held = page.locator("#session-ids pre").inner_text().split()
    free = next(one for one in ids if one not in held)
    page.get_by_role("link", name="Reassign…").click()
    page.get_by_label("Take away").fill(held[0])
    page.get_by_label("Give").fill(free)
    page.get_by_role("button", name="Compare old and new").click()
    expect(page.locator("#compare del")).to_have_text([held[0]])
    expect(page.locator("#compare ins")).to_have_text([free])
    page.get_by_label("Reason").fill("it asks for a code")
    page.get_by_role("button", name="Reassign sessions").click()
    expect(page.locator("#answer")).to_contain_text("Reassigned. It got 1 session, 1 went back")
    expect(page.locator("#session-ids pre")).to_contain_text(free)

    page.get_by_role("button", name="Report lost…").click()
    dialog = page.locator("dialog#lose-session")
    expect(dialog.locator("[data-closes]")).to_be_focused()
    dialog.get_by_label("Session", exact=True).fill("nowhere")
    dialog.get_by_label("Reason").fill("the provider closed it")
    dialog.get_by_role("button", name="Report session lost").click()
    expect(dialog).to_contain_text("there is no session nowhere")
    dialog.get_by_label("Session", exact=True).fill(free)
    dialog.get_by_role("button", name="Report session lost").click()
    expect(page.locator("#answer")).to_contain_text(f"Session {free} is lost.")
    expect(page.locator("#session-ids pre")).not_to_contain_text(free, timeout=30_000)


def test_27_a_list_of_10000_lines_shows_progress_and_a_verdict_for_each_bad_line(
    open_as: Open, shop: Shop, tmp_path: Path, watch: Watch
) -> None:
    watch.expected += ["htmx:error: timeout"]  # a refresh, while the embedded AWS is busy with 10,000 sessions
    lines = [f"{shop.pool}-{number:05}" for number in range(10_000)]
    lines[10], lines[20], lines[30] = "bad id", lines[0], ";"
    file = tmp_path / "sessions.txt"
    file.write_text("\n".join(lines))
    page = open_as("admin", f"/console/stock?pool={shop.pool}")
    page.set_input_files("#upload-file", file)
    expect(page.locator("[data-file-hint]")).to_contain_text("10,000 lines")
    page.get_by_role("button", name="Preview 5 lines").click()
    expect(page.locator("#upload-result")).to_contain_text("The first 5 of 10,000 lines", timeout=30_000)
    expect(page.locator("#upload-result tbody tr")).to_have_count(5)
    other = open_as("admin", "/console/bots")
    page.get_by_role("button", name="Upload", exact=True).click()

    other.goto("/console/stock", timeout=60_000)  # as after a reload; a quick machine is done by then
    running = other.evaluate("document.getElementById('running')?.textContent")  # it goes when the upload is done
    assert running is None or "of 9,997 lines are stored" in running

    expect(page.locator("#upload-result")).to_contain_text("9,997 accepted", timeout=120_000)
    for line in (11, 21, 31):
        expect(page.locator(f"#line-{line}")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="3 refused lines").click()
    saved = list(csv.DictReader(download.value.path().read_text("utf-8-sig").splitlines()))
    assert [row["line"] for row in saved] == ["11", "21", "31"]
    stock = {one["pool"]: one["stock_total"] for one in shop.ask("GET", "/admin/stock")["items"]}
    assert stock[shop.pool] >= 9_997


def test_29_a_unix_form_is_offered_converted_and_the_schedule_is_made(open_as: Open, watch: Watch) -> None:
    watch.expected += ["422", "404"]  # a refusal; a refresh that is under way while its schedule is deleted
    name = f"browser-{secrets.token_hex(3)}"
    page = open_as("admin", "/console/schedule-form")
    page.get_by_label("Name").fill(name)
    page.get_by_label("When").fill("30 9 * * 1-5")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Job type").select_option("analytics-track")
    page.get_by_label("Payload").fill('{"event": "tick", "user_id": "u"}')
    page.get_by_role("button", name="Show next runs").click()
    expect(page.locator("#field-expression-hint")).to_contain_text("as Unix cron")
    page.get_by_role("button", name="Use cron(30 9 ? * 2-6 *)").click()
    expect(page.locator("#preview")).to_contain_text("Monday to Friday at 09:30")
    expect(page.locator("#preview tbody tr")).to_have_count(5)
    page.get_by_role("button", name="Make schedule").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.get_by_role("button", name="Disable").click()
    expect(page.locator("#answer")).to_contain_text("Disabled")
    page.get_by_role("button", name="Delete…").click()
    page.locator("#delete-schedule").get_by_label("Reason").fill("a test's")
    page.get_by_role("button", name=f"Delete {name}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Schedules")
    expect(page.locator(f"#schedule-{name}")).to_have_count(0)


def test_30_the_ledger_shows_what_people_typed_as_text_and_combines_filters(open_as: Open, shop: Shop) -> None:
    reason = "<script>document.title = 'taken'</script> \u202e\u05e9\u05dc\u05d5\u05dd"
    bot = shop.bot(1)
    shop.ask("POST", f"/admin/adbots/{bot}/cancel", reason=reason)
    page = open_as("viewer", "/console/ledger?action=adbot.cancel")
    row = page.locator("#live tbody tr", has_text=reason).first
    expect(row).to_contain_text("adbot.cancel")
    assert re.match("Ledger", page.title())
    row.locator("summary").click()
    expect(row.locator(".diff")).to_contain_text("+ status: CANCELLED")
    page.evaluate("window.console_.refresh()")
    page.wait_for_load_state("networkidle")
    expect(row.locator(".diff")).to_be_visible()  # a refresh keeps what is open
    page.goto(f"/console/ledger?action=adbot.cancel&target=adbot:{bot}")
    expect(page.locator("#live tbody tr:not(.day)")).to_have_count(1)
    page.get_by_role("link", name="Action: adbot.cancel").click()
    expect(page.locator("#live tbody tr:not(.day)")).to_have_count(2)
