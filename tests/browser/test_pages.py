"""Every page of the frame: security policy, accessibility, width, headings. Tests carry the number of their check."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch

AXE = (Path(__file__).parent / "vendored" / "axe.min.js").read_text()
PAGES = (
    "/console",
    "/console/queues",
    "/console/queues/http",
    "/console/jobs/new",
    "/console/dead-letters",
    "/console/replays",
    "/console/health",
    "/console/bots",
    "/console/stock",
    "/console/schedules",
    "/console/leads/queue",
    "/console/leads",
    "/console/ledger",
)
"""Every page of the frame that needs no thing of its own."""

Open = Callable[..., Page]


OWN_CHECKS = """() => {
  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  const doubled = ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `doubled id ${id}`);
  const dialogs = [...document.querySelectorAll('dialog')].filter((one) => {
    const by = one.getAttribute('aria-labelledby');
    return !by || !document.getElementById(by)?.textContent.trim();
  }).map((one) => `dialog ${one.id} has no name`);
  const times = [...document.querySelectorAll('time')].filter((one) => isNaN(Date.parse(one.dateTime)));
  const named = '#live tbody tr, #live details, #live input:not([type=hidden])';
  const rows = [...document.querySelectorAll(named)].filter((one) => !one.id);
  const unnamed = [...document.querySelectorAll('.table-scroll')].filter((one) => !one.getAttribute('aria-label'));
  return [...doubled, ...dialogs, ...times.map((one) => `time ${one.dateTime}`),
    ...rows.map((one) => `no id: ${one.outerHTML.slice(0, 80)}`), ...unnamed.map(() => 'a region has no name')];
}"""
"""What axe does not see."""


def until(page: Page, condition: str) -> None:
    """Wait for a condition in the page; Playwright's own way needs `eval`, which the policy forbids."""
    deadline = time.monotonic() + 5
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def test_02_no_page_breaks_the_content_security_policy(open_as: Open, watch: Watch) -> None:
    page = open_as("owner", "/console")
    for path in PAGES:
        page.goto(path)
        page.evaluate("window.console_.refresh()")
        page.wait_for_load_state("networkidle")
    assert watch.unexpected() == []


@pytest.mark.parametrize("look", ["light", "dark", "forced"])
def test_03_axe_finds_nothing(open_as: Open, look: str) -> None:
    colours: dict[str, Any] = {"forced_colors": "active"} if look == "forced" else {"color_scheme": look}
    page = open_as("owner", "/console", bypass_csp=True, **colours)
    opened = [(path, "") for path in PAGES]
    opened += [("/console/queues/http", "pause"), ("/console/health", "kill-switch"), ("/console", "help")]
    found = []
    for path, dialog in opened:
        page.goto(path)
        if dialog:
            page.evaluate("(id) => document.getElementById(id).showModal()", dialog)
        page.evaluate(AXE)
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        report = page.evaluate("(tags) => axe.run({runOnly: tags})", tags)
        found += [(path, dialog, one["id"], one["nodes"][0]["html"][:200]) for one in report["violations"]]
        found += [(path, dialog, problem, "") for problem in page.evaluate(OWN_CHECKS)]
    assert found == []


@pytest.mark.parametrize("width", [320, 768, 1440])
def test_04_no_page_scrolls_sideways(open_as: Open, width: int) -> None:
    page = open_as("owner", "/console", viewport={"width": width, "height": 800})
    wide = []
    for path in PAGES:
        page.goto(path)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path)
    assert wide == []


def test_05_every_page_has_its_title_one_heading_and_a_skip_link(open_as: Open) -> None:
    page = open_as("owner", "/console")
    titles = set()
    for path in PAGES:
        page.goto(path)
        titles.add(page.title())
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.locator("#nav [aria-current=page]")).to_have_count(1)
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        until(page, "document.activeElement.id === 'main'")
    assert len(titles) == len(PAGES)
