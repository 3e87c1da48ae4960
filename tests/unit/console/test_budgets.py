"""What a page may cost: bytes, files and AWS calls."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.console import assets, build, render, snapshot
from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.clock import system_clock
from adbot_queue.core.settings import settings
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.store.items import item_of
from tests.builders.console_world import ConsoleWorld, busy
from tests.builders.crash import crash_after

KB = 1000
PAGES = ("/console", "/console/queues", "/console/queues/email", "/console/health")
LISTS = 4
"""AWS calls of a page beyond the one that reads session and snapshot."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layer")
    build.main(folder)
    return folder / "console"


@pytest.fixture
def packed(built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(assets, "PACKED", built / "static" / "packed")
    return None


def forget_snapshot() -> None:
    aws.dynamodb().delete_item(TableName=settings().system_table, Key=encode(snapshot.KEY))


def sent(name: str) -> int:
    """Bytes of a file on its way to a browser that takes Brotli."""
    found = assets.serve(assets.version(), name, "gzip, deflate, br, zstd")
    assert found
    return len(found[0])


@pytest.mark.usefixtures("packed")
def test_the_first_page_takes_at_most_95_kb_in_at_most_7_requests(console: ConsoleWorld) -> None:
    page = console.get("/console")
    named = set(re.findall(rf'"{assets.address("")}([^"#]+)', page.text))
    style = assets.content("console.css").decode()
    named |= set(re.findall(r"url\((\w+\.woff2)\)", style))
    sizes = {name: sent(name) for name in named}
    assert len(page.bytes) <= 9 * KB
    assert sizes["console.js"] <= 20 * KB
    assert sizes["console.css"] <= 11 * KB
    assert sizes["inter.woff2"] <= 27 * KB
    assert sizes["mono.woff2"] <= 5.1 * KB
    assert sizes["icons.svg"] <= 5 * KB
    assert set(sizes) == set(assets.names())
    assert 1 + len(sizes) <= 7
    assert len(page.bytes) + sum(sizes.values()) <= 95 * KB


@pytest.mark.parametrize("path", PAGES)
def test_a_warm_page_takes_12_kb_and_a_refresh_4_kb(console: ConsoleWorld, path: str) -> None:
    seen = busy(system_clock())
    with patch.object(snapshot.from_env(), "_gather", lambda *_, **__: seen):
        _check_bytes(console, path)


def _check_bytes(console: ConsoleWorld, path: str) -> None:
    forget_snapshot()
    assert len(console.get(path).bytes) <= 12 * KB
    tick = console.tick(path)
    assert len(tick.bytes) <= 4 * KB, len(tick.bytes)


@pytest.mark.parametrize("path", PAGES)
def test_an_unchanged_refresh_takes_400_bytes(console: ConsoleWorld, path: str) -> None:
    forget_snapshot()
    tick = console.tick(path)
    unchanged = console.tick(path, if_none_match=tick.headers["etag"])
    assert (unchanged.status, unchanged.bytes) == (304, b"")
    assert tick.headers["cache-control"] == "private, no-cache"
    lines = "".join(f"{name}: {unchanged.headers[name]}\r\n" for name in ("etag", "cache-control", "vary"))
    assert len(lines) <= 400


@pytest.mark.parametrize("path", PAGES)
def test_a_refresh_takes_one_call_and_a_page_of_lists_four_more(console: ConsoleWorld, path: str) -> None:
    console.get(path)
    with crash_after(None) as calls:
        console.get(path, hx_request="true", x_tick="1")
    assert len(calls.names) <= 1 + (0 if path in ("/console", "/console/queues") else LISTS)


def test_a_renewal_takes_26_calls_for_all_viewers_together(console: ConsoleWorld) -> None:
    console.get("/console")
    forget_snapshot()
    with crash_after(None) as calls:
        console.get("/console")
    assert len(calls.names) <= 1 + 26, len(calls.names)


def test_a_form_takes_two_calls_beyond_the_action_session_and_claim(console: ConsoleWorld) -> None:
    fields = {"reason": "x", "csrf": console.session("admin").csrf}
    with crash_after(None) as calls:
        console.post("/console/queues/none/pause", fields, "admin")
    assert len(calls.names) <= 1 + 2  # session; claim, release: the queue does not exist


LISTED = ("waiting", "completed", "cancelled")
READ = ("/console", "/console/queues", *(f"/console/queues/codes?state={state}" for state in LISTED), "/console/bots")


def enqueued(count: int) -> None:
    """Have this many jobs of one queue in each of the states that have a list of their own, and count them."""
    at = system_clock()
    rows = [
        item_of(Job(f"{at:012x}{number:012x}{state[:2]}", "verify-otp", "codes", {}, at + number).changed(**ended))
        for state in LISTED
        for number in range(count)
        for ended in ({"state": JobState(state), **({} if state == "waiting" else {"finished_at": at + number})},)
    ]
    for start in range(0, len(rows), 25):
        requests = [{"PutRequest": {"Item": encode(row)}} for row in rows[start : start + 25]]
        aws.dynamodb().batch_write_item(RequestItems={settings().jobs_table: requests})
    numbers = {f"level_{state}": count for state in LISTED}
    counted = encode({"pk": "COUNTERS#0", "sk": "codes", **numbers})
    aws.dynamodb().put_item(TableName=settings().system_table, Item=counted)


def reads(console: ConsoleWorld) -> dict[str, tuple[int, int]]:
    """Calls and items of each page, and of a renewal of the figures."""
    found: dict[str, tuple[int, int]] = {}
    items: list[int] = []

    def count(parsed: dict[str, Any], **_: Any) -> None:
        several = [*parsed.get("Responses", {}).values(), parsed.get("Items", ()), [1] * ("Item" in parsed)]
        items.append(sum(map(len, several)))

    events = aws.dynamodb().meta.events
    events.register("after-call.dynamodb", count)
    try:
        for path in READ:
            console.get(path)
            items.clear()
            assert console.get(path).status == 200
            found[path] = len(items), sum(items)
        items.clear()
        console.get("/console", x_acted="1")
        found["renewal"] = len(items), sum(items)
    finally:
        events.unregister("after-call.dynamodb", count)
    return found


def test_a_page_takes_the_same_calls_and_items_at_ten_times_the_jobs(console: ConsoleWorld) -> None:
    enqueued(70)  # more than a page shows
    few = reads(console)
    enqueued(700)
    assert reads(console) == few
    assert few["/console/queues/codes?state=waiting"][1] >= 40


def test_files_are_kept_for_a_year_under_their_hash_and_not_under_another(console: ConsoleWorld) -> None:
    kept = console.get(assets.address("console.css"), role=None)
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    old = console.get("/console/static/000000000000/console.css", role=None)
    assert (old.status, old.headers["cache-control"], old.bytes) == (200, "no-cache", kept.bytes)
    for name in ("..%2fapp.py", "../app.py", "htmx.LICENSE", "tokens.css", ""):
        assert console.get(f"/console/static/{assets.version()}/{name}", role=None).status == 404


@pytest.mark.usefixtures("packed")
@pytest.mark.parametrize(
    ("accepted", "expected"), [("br, gzip", "br"), ("gzip", "gzip"), ("identity", None), ("", None)]
)
def test_files_are_packed_as_the_browser_takes_them(accepted: str, expected: str | None) -> None:
    found = assets.serve(assets.version(), "console.js", accepted)
    assert found
    raw, headers = found
    assert headers.get("content-encoding") == expected
    assert headers["vary"] == "Accept-Encoding"
    if expected == "gzip":
        assert gzip.decompress(raw) == assets.content("console.js")


def test_a_build_compiles_every_template_to_the_same_pages(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "COMPILED", built / "compiled")
    source, compiled = render.environment(), render.environment(compiled=True)
    names = source.list_templates()
    assert len(names) > 10
    for name in names:
        assert compiled.get_template(name).blocks.keys() == source.get_template(name).blocks.keys(), name
    plain = {"title": "A <title>", "text": "t", "href": "/", "link": "l", "theme": "dark", "place": {"name": "local"}}
    ui = {"ui": source.get_template("macros/ui.html").make_module({**plain, "now": 0})}
    pages = [made.get_template("signed_out.html").render({**plain, **ui}) for made in (source, compiled)]
    assert pages[0] == pages[1]
    assert "A &lt;title&gt;" in pages[0]


def test_the_snapshot_fits_into_four_write_units(console: ConsoleWorld) -> None:
    forget_snapshot()
    with patch.object(snapshot.from_env(), "_gather", lambda now, _before, **_: busy(now)):
        console.get("/console")
    found = aws.dynamodb().get_item(TableName=settings().system_table, Key=encode(snapshot.KEY))["Item"]
    assert len(str(found)) <= snapshot.MAX_BYTES
