"""The console's table of routes: each address reaches the function, each view exists, each role is kept."""

from __future__ import annotations

import re

import pytest

from adbot_queue.console.app import EVERYONE, Route
from adbot_queue.core.callers import STAFF
from adbot_queue.testing.tables import template
from local.openapi import load_app
from tests.builders.console_world import ConsoleWorld
from tests.builders.world import ROOT

ROUTES: list[Route] = load_app(ROOT / "functions" / "console" / "app.py").console.routes
PEOPLE = ("owner", "admin", "viewer", "sales", "customer", "nobody")


def path_of(route: Route) -> str:
    """An address of the route; no such thing exists."""
    return re.sub(r"\{\w+\}", "none", route.key.partition(" ")[2])


@pytest.mark.parametrize("route", ROUTES, ids=[route.key for route in ROUTES])
def test_every_address_reaches_the_function_and_has_a_view(route: Route) -> None:
    body = template()["Resources"]["Api"]["Properties"]["DefinitionBody"]
    paths = [name for name, methods in body["paths"].items() if "ConsoleFunction" in str(methods)]
    path = path_of(route)
    assert path in paths or any(
        path.startswith(one.removesuffix("{proxy+}")) for one in paths if one.endswith("{proxy+}")
    )
    assert callable(route.load())


@pytest.mark.parametrize("route", [route for route in ROUTES if route.roles is not EVERYONE], ids=lambda one: one.key)
def test_every_page_asks_strangers_to_sign_in_and_refuses_every_other_role(console: ConsoleWorld, route: Route) -> None:
    path, post = path_of(route), route.key.startswith("POST")
    stranger = console.post(path, role=None) if post else console.get(path, role=None)
    assert stranger.status == (401 if post else 303)
    if not post:
        assert stranger.headers["location"].startswith("/console/sign-in?next=")
    for role in set(PEOPLE) - (route.roles or set(PEOPLE)):
        answer = console.post(path, role=role) if post else console.get(path, role=role)
        if path == "/console":  # where a sign-in leads: everyone has a first page
            own = "/console/leads/queue" if role == "sales" else "/my"
            assert (answer.status, answer.headers["location"]) == (303, own)
        else:
            assert answer.status == 403, (role, answer.words)


def test_every_form_acts_once_but_those_that_may_be_repeated_and_none_is_for_viewers() -> None:
    unkeyed = {route.key for route in ROUTES if route.key.startswith("POST") and not route.keyed}
    sign_up = {f"POST /my/sign-up{step}" for step in ("", "/code", "/resend")}  # the user pool keeps them apart
    uploads = {"POST /console/stock/uploads", "POST /console/stock/refused"}  # keyed by content; an echo
    # What would change: they write nothing.
    shows = {"POST /console/stock/preview", "POST /console/jobs/{id}/edit", "POST /console/schedule-form"}
    shows |= {"POST /console/bots/{id}/sessions"}
    assert unkeyed == {"POST /console/sign-out", "POST /console/theme", "POST /my/buy", *shows, *sign_up, *uploads}
    acting = [route for route in ROUTES if route.key.startswith("POST") and route.keyed]
    assert acting
    assert not [route.key for route in acting if route.roles == STAFF]
