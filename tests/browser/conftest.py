"""Chromium on the console of a running stack: the one that ADBOT_STACK names, or one of these tests' own.

Every page of every test is watched: a violation of the content security policy, an error in the browser's console, a
request that fails or leaves the console's origin fails the test, unless the test says that it expects it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, sync_playwright

from local import stack as stacks
from local.stack import Stack
from tests.e2e.conftest import LocalStack

FOLDER = str(Path(__file__).parent) + os.sep
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is in this folder needs a browser and a stack."""
    for item in items:
        if str(item.path).startswith(FOLDER):
            item.add_marker("browser")
            item.add_marker(pytest.mark.xdist_group("browser"))
            item.add_marker(pytest.mark.timeout(360))  # the first of them waits for the stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack."""
    if named := os.environ.get("ADBOT_STACK"):
        yield stacks.read(Path(named))
        return
    started = LocalStack(tmp_path_factory.mktemp("stack"))
    started.start()
    yield started.read()
    started.stop()


@pytest.fixture(scope="session")
def origin(stack: Stack) -> str:
    """Where the console is."""
    return stack["console_url"].removesuffix("/console")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium: Playwright downloads none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "Chromium is missing: `make test-browser` installs it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield started
        started.close()


@dataclass
class Watch:
    """What went wrong in the pages of a test. `expected` are patterns of what the test provokes."""

    origin: str
    expected: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        """Watch a page."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", lambda request: self.requests.append(f"{request.method} {request.url}"))
        page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"{message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page went on to another one
            self.found.append(f"failed: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.found.append(f"status: {response.status} {response.url}")

    def unexpected(self) -> list[str]:
        """What no pattern expects."""
        return [line for line in self.found if not any(re.search(pattern, line) for pattern in self.expected)]


@pytest.fixture
def watch(origin: str) -> Iterator[Watch]:
    made = Watch(origin)
    yield made
    assert not made.unexpected()


def sign_in(page: Page, stack: Stack, role: str, path: str = "/console") -> None:
    """Sign in through the user pool's own page."""
    user = stack["users"][role]
    console = stack["console_url"].removesuffix("/console")
    page.goto(console + path)
    page.fill("#username", user["username"])
    page.fill("#password", user["password"])
    page.click("button[type=submit]")
    # Sales and customers land on a page of their own.
    page.wait_for_url(lambda url: url.startswith(console) and "/console/sign" not in url)


@pytest.fixture(scope="session")
def states(chromium: Browser, stack: Stack) -> Callable[[str], Any]:
    """Cookies of a role that signed in once; sessions of the same role in several tests are one session."""
    kept: dict[str, Any] = {}

    def of(role: str) -> Any:
        if role not in kept:
            context = chromium.new_context()
            sign_in(context.new_page(), stack, role)
            kept[role] = context.storage_state()
            context.close()
        return kept[role]

    return of


@pytest.fixture
def open_as(
    chromium: Browser, origin: str, states: Callable[[str], Any], watch: Watch
) -> Iterator[Callable[..., Page]]:
    """Open a page as a role: `open_as("viewer", "/console/queues", color_scheme="dark")`."""
    contexts: list[BrowserContext] = []

    def opened(role: str | None, path: str, **options: Any) -> Page:
        state = states(role) if role else None
        options = {"viewport": {"width": 1440, "height": 900}, "base_url": origin, **options}
        context = chromium.new_context(storage_state=state, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        watch.attach(page)
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
