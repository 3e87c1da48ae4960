"""Pages as browsers get them: whole, as a tick, as an error."""

from __future__ import annotations

import re

import pytest

from tests.builders.console_world import ConsoleWorld

PAGES = (
    "/console",
    "/console/queues",
    "/console/queues/email",
    "/console/jobs/new",
    "/console/dead-letters",
    "/console/dead-letters?view=letters",
    "/console/replays",
    "/console/health",
    "/console/bots",
    "/console/bots?view=all",
    "/console/orders",
    "/console/stock",
    "/console/stock/uploads",
    "/console/ledger",
    "/console/leads",
    "/console/leads/queue",
    "/console/leads/settings",
    "/console/leads/inbox",
    "/console/leads/team",
    "/console/templates",
    "/console/schedules",
    "/console/schedule-form",
)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_one_heading_a_title_and_its_place_in_the_navigation(console: ConsoleWorld, path: str) -> None:
    page = console.get(path)
    assert page.status == 200, page.words
    heading = re.findall(r"<h1>(.*?)</h1>", page.text)
    assert len(heading) == 1
    assert f"<title>{heading[0]} · AdBot Queue (staging)</title>" in page.text
    navigation = page.text.partition('<nav class="nav"')[2].partition("</nav>")[0]
    assert navigation.count('aria-current="page"') == 1
    assert 'href="#main"' in page.text
