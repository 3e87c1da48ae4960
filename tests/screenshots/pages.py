"""Which pages there are: every GET of the console's table of routes, with names found by following links."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from adbot_queue.console.app import EVERYONE, Route
from adbot_queue.core.callers import STAFF
from tests.builders.console_world import ConsoleWorld

NOT_A_PAGE = {"session:start", "session:finish"}
"""Steps of a sign-in; they redirect."""

DRAWERS = ("job", "bot", "name", "id")
"""Parameters by which a list opens one of its rows: one picture a list."""

TABS = ("view", "group")
MAX_LOOKS = 300
"""Pages that are asked for at most."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page to take. `role`: None without sign-in."""

    name: str
    path: str
    role: str | None


def find(console: ConsoleWorld) -> tuple[list[Picture], list[str]]:
    """Return every page once with its tabs and its drawer, and the routes to which no page leads."""
    routes = [route for route in console.world.app("console").console.routes if route.key.startswith("GET ")]
    routes = [route for route in routes if route.view not in NOT_A_PAGE]
    found: dict[str, Picture] = {}
    left = {route.key for route in routes}
    waiting = [route.key.partition(" ")[2] for route in routes if "{" not in route.key]
    others: list[str] = []  # the same pages with other rows and filters: only some of them lead to an edit form, say
    seen: set[str] = set()
    words: set[str] = set()  # the first tab is the page itself
    while waiting or (left and others and len(seen) < MAX_LOOKS):
        address = waiting.pop(0) if waiting else others.pop(0)
        route = route_of(routes, urlsplit(address).path)
        if route is None or address in seen:
            continue
        name = name_of(route, address)
        if waiting and (not name or name in found) and route.key not in left:
            others.append(address)
            continue
        seen.add(address)
        shown = console.get(address, role := _role(route, address))
        if shown.status != 200:
            continue
        left -= {route.key}
        if not shown.headers["content-type"].startswith("text/html"):
            continue
        waiting += _links(shown.text)
        if name and name not in found and shown.words not in words:
            words.add(shown.words)
            found[name] = Picture(name, address, role)
    return sorted(found.values(), key=lambda one: one.name), sorted(left)


def _links(text: str) -> Iterator[str]:
    for link in re.findall(r'\shref="(/[^"]*)"', text):
        yield html.unescape(link).partition("#")[0]


def route_of(routes: list[Route], path: str) -> Route | None:
    """The first that matches, as the console chooses."""
    for route in routes:
        pattern = re.sub(r"\{\w+\}", r"[A-Za-z0-9_.-]+", route.key.partition(" ")[2])
        if re.fullmatch(pattern, path):
            return route
    return None


def name_of(route: Route, address: str) -> str:
    """`queues-show`, `bots-index-all`, `queues-show-job`; empty for a page with another filter."""
    base, query = route.view.replace(":", "-").replace("_", "-"), parse_qsl(urlsplit(address).query)
    if any(name not in (*DRAWERS, *TABS) for name, _ in query) or len(query) > 1:
        return ""
    return "-".join([base, *(name if name in DRAWERS or name == "group" else value for name, value in query)])


def _role(route: Route, address: str) -> str | None:
    if route.roles is EVERYONE:
        return None
    return "owner" if address.startswith("/console") or route.roles & STAFF else "customer"
