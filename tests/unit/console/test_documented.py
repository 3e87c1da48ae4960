"""Every page of the console is in its reference, and every picture is small and of a page that exists."""

from __future__ import annotations

import re

import pytest

from adbot_queue.console.app import Console
from local.openapi import load_app
from local.settings import ROOT
from tests.screenshots.__main__ import FOLDER, LOOKS, MAX_BYTES
from tests.screenshots.pages import NOT_A_PAGE, name_of, route_of

REFERENCE = ROOT / "docs" / "reference" / "console.md"


@pytest.fixture(scope="module")
def app() -> Console:
    console: Console = load_app(ROOT / "functions" / "console" / "app.py").console
    return console


def test_every_page_is_in_the_reference(app: Console) -> None:
    text = REFERENCE.read_text()
    paths = {
        route.key.partition(" ")[2]
        for route in app.routes
        if route.key.startswith("GET ") and route.view not in NOT_A_PAGE
    }
    within = {
        path
        for path in paths
        if path.endswith(("/edit", ".csv", "/signed-out")) or re.search(r"/(leads|uploads)/\{", path)
    }
    assert [path for path in sorted(paths - within) if f"`{path}`" not in text] == []
    named = set(re.findall(r"`(/(?:console|my|docs)?[a-z/{}-]*)`", text))
    assert named - paths == set()


def test_every_section_of_the_navigation_is_in_the_reference() -> None:
    navigation = (ROOT / "layers/common/adbot_queue/console/pages/nav.html").read_text()
    labels = re.findall(r"item\('/[^']*', '[^']*', '([^']+)'", navigation)
    headings = re.findall(r"^## (.+)$", REFERENCE.read_text(), re.MULTILINE)
    assert {label.replace("&", "and") for label in labels} <= set(headings)


def test_pictures_are_small_and_complete_in_every_look() -> None:
    pictures = sorted(FOLDER.glob("*.webp"))
    assert pictures
    assert [one.name for one in pictures if one.stat().st_size > MAX_BYTES] == []
    light = {one.stem for one in pictures if not one.stem.endswith(("-dark", "-390"))}
    assert {one.name for one in pictures} == {f"{name}{look.suffix}.webp" for name in light for look in LOOKS}


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/console/queues/email", "queues-show"),
        ("/console/queues/email?job=01a2", "queues-show-job"),
        ("/console/bots?view=all", "bots-index-all"),
        ("/console/bots?cursor=x", ""),
        ("/console/jobs/new", "enqueue-show"),
    ],
)
def test_a_picture_is_named_after_its_view_and_what_is_open(app: Console, address: str, name: str) -> None:
    route = route_of([route for route in app.routes if route.key.startswith("GET ")], address.partition("?")[0])
    assert route
    assert name_of(route, address) == name
