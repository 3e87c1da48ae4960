"""The console compared with bull-board's and Flower's own pages, and with itself at many jobs. `make bench T=console`.

In one run: as many jobs in each of the three; the same Chromium opens each page with a cold cache, in turns. Ours is
the function's own handler over Amazon's DynamoDB Local, at an address on loopback, with a session; theirs are their own
servers over a broker in memory, without a sign-in. Two moments are compared: the first paint of anything, which is an
empty frame with bull-board, and the paint of the first row of data. Ours twice: while a tab is open somewhere, and for
the first person after a while, whose request gathers the figures.

Then every page of ours is asked at `FULL` jobs, where each list fills its page, and at `JOBS` (500,000), and its AWS
calls and items compared, and its processor time with that of a form. At the end: what one tab that is always open costs
a month. `JOBS=0` compares with the others alone.

Exit code 1 when a target is missed.
"""

from __future__ import annotations

import gzip
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "adbot-queue")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "AdBotQueue")
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "ERROR")

import requests
from playwright.sync_api import Browser, sync_playwright

from adbot_queue.console import assets, build, snapshot
from adbot_queue.core.attribute_values import encode
from adbot_queue.jobs import job_queues
from bench import console_peers
from bench.console_load import Load, Prices, Side, load
from tests.builders.console_server import served
from tests.support import dynamodb_local

SMALL = 1_000
FULL = 100_000
ROUNDS = 7
TIMES_BARE = 8
"""Processor time of a page at most, as a multiple of that of a form in the frame."""

BYTES = 4
"""A page of the peers takes at least this many times the bytes of ours."""

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
SETTLED_MS = 20_000
WINDOW_MS = 1_000
"""Until Chromium is done with a new window of its own: it loads dozens of scripts for it."""

WATCH = """
const shown = () => {
  if (!document.body?.textContent.includes("WANTED")) return false;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    if (texts.currentNode.data.includes("WANTED") && texts.currentNode.parentElement.getClientRects().length)
      return true;
};
const look = () => requestAnimationFrame(shown() ? () => (window.shownAt = performance.now()) : look);
requestAnimationFrame(look);
"""
"""The frame after the one in which the text has a place has painted it. Frames wait for styles."""


@dataclass
class Opened:
    """A page with a cold cache, several times.

    Attributes:
        text: what is on the page once it shows its jobs, queues or workers.
        before: makes the server as it is to be found.
        packed: bytes if each answer had been sent with gzip.
        paint_ms: until anything is painted: also an empty frame, or the word "loading".
        shown_ms: until `text` is painted.
    """

    product: str
    path: str
    text: str
    moment: str = ""
    before: Callable[[], object] = lambda: None
    sent: list[int] = field(default_factory=list)
    packed: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    server_ms: list[float] = field(default_factory=list)
    paint_ms: list[float] = field(default_factory=list)
    shown_ms: list[float] = field(default_factory=list)


def open_cold(browser: Browser, address: str, page: Opened) -> None:
    """Open a page once in a context of its own, and keep what it took."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    tab = context.new_page()
    devtools = context.new_cdp_session(tab)
    sizes: dict[str, int] = {}
    devtools.send("Network.enable")
    devtools.on("Network.loadingFinished", lambda one: sizes.update({one["requestId"]: one["encodedDataLength"]}))
    answers: dict[str, Any] = {}
    tab.on("response", lambda one: answers.update({one.url: one}))
    tab.add_init_script(WATCH.replace("WANTED", page.text))
    tab.wait_for_timeout(WINDOW_MS)
    page.before()
    tab.goto(address + page.path)
    tab.wait_for_load_state("networkidle", timeout=SETTLED_MS)
    for _ in range(SETTLED_MS // 100):
        if tab.evaluate("window.shownAt"):
            break
        tab.wait_for_timeout(100)  # waiting for a function evaluates text, which our pages forbid
    page.sent.append(int(sum(sizes.values())))
    page.requests.append(len(sizes))
    page.packed.append(sum(_packed(one) for one in [*answers.values()]) if not page.packed else page.packed[0])
    page.server_ms.append(
        tab.evaluate("(n => n.responseStart - n.requestStart)(performance.getEntriesByType('navigation')[0])")
    )
    page.paint_ms.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    page.shown_ms.append(tab.evaluate("window.shownAt"))
    context.close()


def _packed(response: Any) -> int:
    if not response.ok:
        return 0
    raw = response.body()
    return min(len(raw), len(gzip.compress(raw, 6)))


def pages(browser: Browser, ours: Ours) -> list[Opened]:
    """Open the pages of the three in turns, over as many jobs."""
    each = SMALL // len(job_queues.QUEUES)
    work = console_peers.Workload(
        tuple(job_queues.QUEUES),
        completed=each * 50 // 100,
        failed=each * 9 // 100,
        delayed=each * 10 // 100,
        waiting=0,
    )
    rest = each - work.jobs // len(work.queues)
    work = console_peers.Workload(work.queues, work.completed, work.failed, work.delayed, rest)
    print(f"({console_peers.versions()}: {work.jobs:,} jobs each; ours {SMALL:,}.)", flush=True)
    found: list[Opened] = []
    with console_peers.bull_board(work) as board, console_peers.flower(work) as flower:
        addresses = {"ours": ours.address, "bull-board": board, "Flower": flower}
        found += [
            Opened("ours", path, text, moment, before)
            for moment, before in (("a tab is open", ours.renew), ("first in a day", ours.forget))
            for path, text in (("/console", "ai-content"), ("/console/queues/email", "payment-process"))
        ]
        found += [
            Opened("bull-board", "/", "ai-content"),
            Opened("bull-board", "/queue/email", "send-email"),
            Opened("Flower", "/workers", "celery@"),
            Opened("Flower", "/tasks", "send-email"),
        ]
        for page in found:  # the servers are warm, the browser's cache is not
            open_cold(browser, addresses[page.product], Opened(page.product, page.path, page.text))
        for number in range(ROUNDS):
            for page in found if number % 2 else reversed(found):
                open_cold(browser, addresses[page.product], page)
    return found


def report_pages(found: list[Opened]) -> list[str]:
    """Print the table; the targets that were missed."""
    print("\n| page | bytes sent | with gzip | requests | document, ms | first paint, ms | first row painted, ms |")
    print("|---|---|---|---|---|---|---|")
    medians: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for page in found:
        row = {
            name: statistics.median(getattr(page, name))
            for name in ("sent", "packed", "requests", "server_ms", "paint_ms", "shown_ms")
        }
        for name, value in row.items():
            medians[page.product, page.moment][name].append(value)
        print(
            f"| {page.product} `{page.path}` {page.moment} | {row['sent']:,.0f} | {row['packed']:,.0f} "
            f"| {row['requests']:.0f} | {row['server_ms']:.0f} | {row['paint_ms']:.0f} | {row['shown_ms']:.0f} |"
        )
    missed = []
    print("\n| target | ours, the largest | theirs, the smallest | |\n|---|---|---|---|")
    for peer in ("bull-board", "Flower"):
        for what, name, times in (
            (f"bytes: a quarter of {peer}'s", "sent", BYTES),
            (f"paints before {peer}", "paint_ms", 1),
            (f"paints its first row before {peer}", "shown_ms", 1),
        ):
            ours, theirs = max(medians["ours", "a tab is open"][name]), min(medians[peer, ""][name])
            met = ours * times <= theirs if times > 1 else ours < theirs
            missed += [] if met else [what]
            print(f"| {what} | {ours:,.0f} | {theirs:,.0f} | {'PASS' if met else 'FAIL'} |")
    return missed


def report_load(small: Load, large: Load, sizes: tuple[int, int]) -> list[str]:
    """Print calls, items, bytes and processor time of each page of ours at both sizes; the targets that were missed."""
    print(
        f"\n(A bare page, a form in the frame: {small.bare.cpu_ms:.1f}, {large.bare.cpu_ms:.1f} ms of processor time.)"
    )
    head = "| AWS calls | items | bytes | ms of processor | times the bare page | |\n|---|---|---|---|---|---|---|"
    print(f"\n| page of ours: at {sizes[0]:,} and {sizes[1]:,} jobs {head}")
    missed = []
    for path, one in small.pages.items():
        other = large.pages[path]
        equal = (one.calls, one.items) == (other.calls, other.items)
        ratios = one.cpu_ms / small.bare.cpu_ms, other.cpu_ms / large.bare.cpu_ms
        quick = max(ratios) <= TIMES_BARE
        missed += [] if equal else [f"{path}: calls and items differ"]
        missed += [] if quick else [f"{path}: {max(ratios):.0f} times the bare page"]
        print(
            f"| `{path}` | {one.calls}, {other.calls} | {one.items}, {other.items} | {one.bytes:,}, {other.bytes:,} "
            f"| {one.cpu_ms:.1f}, {other.cpu_ms:.1f} | {ratios[0]:.1f}, {ratios[1]:.1f} "
            f"| {'PASS' if equal and quick else 'FAIL'} |"
        )
    return missed


def report_cost(large: Load) -> list[str]:
    """Print what a tab on the overview costs a month; the target that was missed."""
    price = Prices()
    lines = price.month(large.tick)
    total = sum(lines.values())
    print(f"\n| one tab, open all month: {price.ticks:,} ticks, each renews the figures | $ |\n|---|---|")
    for name, dollars in lines.items():
        print(f"| {name} | {dollars:.2f} |")
    met = total < price.limit
    print(f"| together; target below {price.limit:.2f} | {total:.2f} {'PASS' if met else 'FAIL'} |")
    return [] if met else [f"a tab costs ${total:.2f} a month"]


def serve(endpoint: str, pipe: Connection) -> None:
    """Serve the console over `SMALL` jobs until the other end of the pipe is closed."""
    with packed(), Side.of(endpoint, SMALL) as side, served(side.console, "owner") as address:
        pipe.send(address)
        with suppress(EOFError):
            pipe.recv()


@dataclass(frozen=True, slots=True)
class Ours:
    """The console as a server, and the table with its snapshot."""

    address: str
    endpoint: str

    def renew(self) -> None:
        """Refresh as an open tab does."""
        requests.get(f"{self.address}/console", headers={"hx-request": "true", "x-tick": "1"}, timeout=10)

    def forget(self) -> None:
        """Leave no figures: the next page is the first in a day."""
        table = f"n{SMALL}-SystemTable"
        dynamodb_local.client(self.endpoint).delete_item(TableName=table, Key=encode(snapshot.KEY))


@contextmanager
def ours(endpoint: str) -> Iterator[Ours]:
    """The console in a process of its own, as the others are."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(endpoint, there))
    process.start()
    there.close()
    try:
        yield Ours(here.recv(), endpoint)
    finally:
        here.close()
        process.join(20)


@contextmanager
def packed() -> Iterator[None]:
    """Files as the layer's build packs them."""
    with tempfile.TemporaryDirectory() as folder:
        build.main(Path(folder))
        with patch.object(assets, "PACKED", Path(folder) / "console" / "static" / "packed"):
            yield


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        yield browser
        browser.close()


def main() -> int:
    """Fill, open, ask, compare."""
    if reason := console_peers.lacking() or dynamodb_local.lacking():
        print(reason)
        return 1
    if not shutil.which("chromium"):
        print("Chromium is missing: `make test-browser` installs it")
        return 1
    began = time.perf_counter()
    many = int(os.environ.get("JOBS", "500000"))
    with ExitStack() as stack:
        stack.enter_context(packed())
        endpoint = stack.enter_context(dynamodb_local.dynamodb_local())
        with ours(endpoint) as console, chromium() as browser:
            missed = report_pages(pages(browser, console))
        if many:
            with Side.of(endpoint, FULL) as side:
                small = load(side)
            with Side.of(endpoint, many) as side:
                large = load(side)
            missed += report_load(small, large, (FULL, many))
            missed += report_cost(large)
    verdict = f"FAIL: {'; '.join(missed)}" if missed else "PASS: every target was met"
    print(f"\n{verdict} ({time.perf_counter() - began:.0f} s)")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
