"""The frame of every page: loading, refreshing, headings, access. Tests carry the number of their check."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from local import stack as stacks
from local.stack import Stack
from tests.browser.conftest import Watch

Open = Callable[..., Page]


def ticks(page: Page) -> list[str]:
    """Requests of the live region from now on, as they come."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url) if "x-tick" in request.headers else None)
    return found


def settle(page: Page, seconds: float) -> None:
    """Let the page's clock run, a second at a time at most; the network is not on it, so each answer is waited for."""
    left = round(seconds * 1000)
    while left > 0:
        page.clock.run_for(min(left, 1000))
        left -= 1000
        while page.evaluate("document.querySelector('#live.htmx-request') !== null"):
            page.wait_for_timeout(10)


def paused(open_as: Open, path: str, role: str = "owner", **options: Any) -> Page:
    """A page whose clock is stopped until a test moves it."""
    page = open_as(role, "about:blank", **options)
    page.clock.install()
    page.goto(path)
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 2)  # in seconds
    return page


def test_01_the_first_page_comes_from_one_origin_and_nothing_is_missing(open_as: Open, watch: Watch) -> None:
    page = open_as("owner", "/console")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    assert {re.sub(r"^\w+ (https?://[^/]+).*", r"\1", line) for line in watch.requests} == {watch.origin}
    assert len(set(watch.requests)) <= 7, watch.requests


def test_06_ten_ticks_are_ten_requests_and_one_invocation_each(open_as: Open, stack: Stack) -> None:
    before = invocations(stack, "/console/queues/webhooks")
    page = paused(open_as, "/console/queues/webhooks")
    asked = ticks(page)
    seconds = 0
    while len(asked) < 10 and seconds < 62:
        settle(page, 1)
        seconds += 1
    assert len(asked) == 10
    assert 45 <= seconds <= 62
    expected = before + 1 + len(asked)
    for _ in range(50):  # the log follows
        if invocations(stack, "/console/queues/webhooks") >= expected:
            break
        page.wait_for_timeout(100)
    assert invocations(stack, "/console/queues/webhooks") == expected


def invocations(stack: Stack, path: str) -> int:
    """How often the console's function answered with a page, by its log."""
    logs = stacks.client(stack, "logs").get_paginator("filter_log_events")
    pages = logs.paginate(logGroupName="/aws/lambda/adbot-queue/Operations")
    return sum(f'"path":"{path}"' in event["message"] for page in pages for event in page["events"])


def test_07_a_hidden_page_asks_nothing_and_asks_once_when_it_is_shown(open_as: Open) -> None:
    page = paused(open_as, "/console")
    asked = ticks(page)
    hide = """(hidden) => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
                            document.dispatchEvent(new Event('visibilitychange')); }"""
    page.evaluate(hide, True)
    settle(page, 60)
    assert asked == []
    page.evaluate(hide, False)
    settle(page, 0.25)
    assert len(asked) == 1


@pytest.mark.parametrize("busy", ["dialog", "text", "selection"])
def test_08_no_tick_while_a_person_is_busy_and_one_at_once_afterwards(open_as: Open, busy: str) -> None:
    page = paused(open_as, "/console/queues/http")
    add = "() => document.querySelector('#main').insertAdjacentHTML('beforeend', '%s')"
    remove = "() => document.getElementById('added').remove()"
    begin, end = {
        "dialog": (
            "() => document.getElementById('help').showModal()",
            "() => document.getElementById('help').close()",
        ),
        "text": (add % "<textarea id=added></textarea>", remove),
        "selection": (add % "<input type=checkbox id=added data-select checked>", remove),
    }[busy]
    asked = ticks(page)
    page.evaluate(begin)
    if busy == "text":
        page.locator("#added").fill("half a sen")
    settle(page, 20)
    assert asked == []
    page.evaluate(end)
    settle(page, 0.5)
    assert len(asked) == 1


def test_09_ticks_keep_focus_scroll_and_what_is_read_off_a_chart(open_as: Open) -> None:
    page = paused(open_as, "/console?data=hour", viewport={"width": 1200, "height": 500})
    page.locator("#hour").focus()
    page.keyboard.press("ArrowLeft")
    reading = page.evaluate("document.querySelector('#hour').reading")
    page.locator("#queue-http a").first.focus()
    page.evaluate("window.scrollTo(0, 333)")
    page.evaluate("window.kept = document.activeElement")
    asked = ticks(page)
    for _ in range(20):
        settle(page, 5.25)
    assert len(asked) == 20
    assert page.evaluate("document.activeElement === window.kept && window.kept.isConnected")
    assert page.evaluate("window.scrollY") == 333
    shown = page.evaluate("(at) => Object.entries(JSON.parse(document.querySelector('#hour').dataset.chart))"
                          ".map(([name, values]) => `${values[at]} ${name}`).join(', ')", reading)  # fmt: skip
    assert page.locator("#hour-read").inner_text()[5:] == f" UTC: {shown}"  # the figures of now, at the same place


def test_10_the_interval_is_kept_in_this_browser(open_as: Open) -> None:
    page = paused(open_as, "/console")
    for value in ("0", "15", "60"):
        page.get_by_label("Refresh interval").select_option(value)
        page.reload()
        expect(page.get_by_label("Refresh interval")).to_have_value(value)
    page.get_by_label("Refresh interval").select_option("0")
    asked = ticks(page)
    settle(page, 70)
    assert asked == []
    expect(page.locator("body")).to_have_attribute("data-live", "off")


def test_11_an_outage_is_said_with_age_and_next_try_and_ends_by_itself(open_as: Open, watch: Watch) -> None:
    watch.expected += ["503"]
    page = paused(open_as, "/console")
    asked: list[float] = []

    def refuse(route: Route) -> None:
        if "x-tick" in route.request.headers:
            asked.append(page.evaluate("Date.now()") / 1000)
            route.fulfill(status=503, body="busy")
        else:
            route.fallback()

    page.route("**/console", refuse)
    settle(page, 12)
    expect(page.locator("#stale")).to_be_visible()
    expect(page.locator("#stale")).to_contain_text(re.compile(r"Figures are \d+ s old.*Next try in \d+ s"))
    expect(page.locator("#live")).to_contain_text("Throughput")  # the figures stay, dimmed
    expect(page.locator("body")).to_have_attribute("data-live", "stale")
    settle(page, 60)
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert len(asked) >= 4
    for wait, planned in zip(waits, (5, 10, 20), strict=False):
        assert planned * 0.8 - 0.5 <= wait <= planned * 1.2 + 0.5, waits
    page.unroute("**/console")
    settle(page, 73)  # a wait of a minute, a fifth longer at most
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("body")).to_have_attribute("data-live", "on")


def test_12_a_session_that_ended_leads_back_to_the_same_address(open_as: Open, watch: Watch, stack: Stack) -> None:
    watch.expected += ["401", "404 .*favicon", "status of 40"]
    page = open_as("admin", "/console/health?level=SWITCH")
    page.context.clear_cookies()
    page.evaluate("window.console_.refresh()")
    page.wait_for_selector("#username")
    user = stack["users"]["admin"]
    page.fill("#username", user["username"])
    page.fill("#password", user["password"])
    page.click("button[type=submit]")
    page.wait_for_url("**/console/health?level=SWITCH")


def test_12_what_was_typed_is_kept_when_the_session_ended_meanwhile(open_as: Open, watch: Watch, stack: Stack) -> None:
    watch.expected += ["401", "404 .*favicon", "status of 40"]
    page = open_as("admin", "/console/queues/codes")
    page.get_by_role("button", name="Pause…").click()
    page.locator("#pause").get_by_label("Reason").fill("a long story")
    page.context.clear_cookies()
    page.get_by_role("button", name="Pause codes").click()
    page.wait_for_selector("#username")
    user = stack["users"]["admin"]
    page.fill("#username", user["username"])
    page.fill("#password", user["password"])
    page.click("button[type=submit]")
    page.wait_for_url("**/console/queues/codes")
    expect(page.locator("#pause")).to_be_visible()
    expect(page.locator("#pause").get_by_label("Reason")).to_have_value("a long story")
    page.locator("#pause").get_by_role("button", name="Cancel").click()


def test_13_jobs_waiting_are_the_sum_of_the_rows(open_as: Open) -> None:
    page = open_as("viewer", "/console")
    total = page.locator(".figure", has_text="Jobs waiting").locator(".figure-value").inner_text()
    rows = page.locator("tr[id^=queue-] td[data-label=waiting]").all_inner_texts()
    assert int(total.replace(",", "")) == sum(int(row.replace(",", "")) for row in rows)


def test_46_without_script_pages_are_read_forms_post_and_sign_out_works(
    open_as: Open, watch: Watch, stack: Stack
) -> None:
    watch.expected += ["favicon", "404"]
    page = open_as(None, "/console/queues/ai-seo", java_script_enabled=False)
    user = stack["users"]["owner"]
    page.fill("#username", user["username"])
    page.fill("#password", user["password"])
    page.click("button[type=submit]")
    expect(page.get_by_role("heading", level=1)).to_have_text("ai-seo")
    page.get_by_role("button", name="Pause…").click()
    page.locator("#pause").get_by_label("Reason").fill("no script here")
    page.get_by_role("button", name="Pause ai-seo").click()
    expect(page.locator("#answer")).to_contain_text("Paused ai-seo.")
    expect(page.locator("#live")).to_contain_text("no script here")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#answer")).to_contain_text("Resumed ai-seo.")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/signed-out")
    page.goto("/console")
    expect(page.locator("#username")).to_be_visible()


def test_53_a_tick_announces_nothing_but_alarms(open_as: Open) -> None:
    page = open_as("viewer", "/console")
    live = page.evaluate(
        "[...document.querySelectorAll('#live [aria-live]:not([aria-live=off]), #live [role=status], #live [role=log],"
        " #live [role=alert]')].map((one) => one.id)"
    )
    assert set(live) <= {"alarms"}
