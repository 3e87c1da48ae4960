"""The ledger: rows complete, filters that combine, and what people typed as text."""

from __future__ import annotations

import csv
import io
import re

import pytest

from adbot_queue import ledger
from adbot_queue.console import ledger_words
from adbot_queue.console.views import ledger as views
from adbot_queue.core.clock import system_clock
from adbot_queue.ledger import Actor, Ledger, LedgerEntry
from tests.builders.console_world import ConsoleWorld, Shown, counted_calls

SCRIPT = "<script>alert(1)</script>"
RTL = "\u202eevil \u05e9\u05dc\u05d5\u05dd"
ADA = Actor("ada-0000-1111-2222", "admin", "request-1")
STRIPE = Actor("stripe", "stripe", "evt_1")


@pytest.fixture(scope="module")
def book(console: ConsoleWorld) -> ConsoleWorld:
    """Entries of a person and of a provider."""
    entries = [
        LedgerEntry(ADA, "queue.pause", "queue:email", {"paused": False, "since": None}, {"paused": True}, "import"),
        LedgerEntry(ADA, "queue.resume", "queue:email", {"paused": True}, {"paused": False}, SCRIPT),
        LedgerEntry(ADA, "queue.pause", "queue:http", {"note": "old"}, {"note": RTL}, RTL),
        LedgerEntry(STRIPE, "order.paid", "order:ord_1", {}, {"status": "PAID", "tags": ["b", "a"], "amount": 4900}),
    ]
    book, began = ledger.from_env(), system_clock()
    for number, entry in enumerate(entries):
        transaction = console.world.adbots.store.transaction()
        moment = Ledger(
            book.client, book.table, lambda at=began + number: at
        )  # entries of one millisecond have no order
        moment.sign(transaction, entry)
        transaction.commit()
    return console


def actions(page: Shown) -> list[str]:
    return re.findall(r'<td class="mono"><a [^>]*>([a-z.]+)</a>', page.text)


def test_30_a_row_says_who_did_what_to_which_target_and_why(book: ConsoleWorld) -> None:
    page = book.get("/console/ledger?target=queue:email")
    assert actions(page) == ["queue.resume", "queue.pause"]
    row = page.text.rpartition('<tr id="entry-')[2]
    for part in ("ada-0000…2222", "admin", "queue.pause", 'href="/console/queues/email"', "import", "request-1"):
        assert part in row
    assert "<del><bdi>false</bdi></del>" in row
    assert "<b><bdi>true</bdi></b>" in row
    assert "1 more" in row


def test_30_what_people_typed_is_shown_as_text(book: ConsoleWorld) -> None:
    page = book.get("/console/ledger?action=queue.resume")
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    page = book.get("/console/ledger?target=queue:http")
    assert f"<bdi>{RTL}</bdi>" in page.text  # its direction ends with the element


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["order.paid", "queue.pause", "queue.resume", "queue.pause"]),
        ("who=people", ["queue.pause", "queue.resume", "queue.pause"]),
        ("actor=stripe", ["order.paid"]),
        ("action=queue.pause", ["queue.pause", "queue.pause"]),
        ("action=queue.pause&target=queue:http", ["queue.pause"]),
        ("action=queue.pause&actor=stripe", []),
        ("target=queue:email&from=2020-01-01&to=2020-01-02", []),
    ],
)
def test_30_filters_combine(book: ConsoleWorld, query: str, found: list[str]) -> None:
    page = book.get(f"/console/ledger?{query}")
    assert actions(page) == found
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name != "who":
            assert f": {value}" in page.words
    if not found:
        assert "No entry matches" in page.words


def test_each_filter_is_taken_away_by_itself(book: ConsoleWorld) -> None:
    page = book.get("/console/ledger?action=queue.pause&target=queue:http")
    assert 'href="/console/ledger?target=queue%3Ahttp" aria-current="true"' in page.text
    assert 'href="/console/ledger?action=queue.pause" aria-current="true"' in page.text


def test_a_day_without_entries_leads_to_the_days_around_it(book: ConsoleWorld) -> None:
    page = book.get("/console/ledger?from=2026-03-01&to=2026-03-01")
    assert "No entries on 2026-03-01" in page.words
    assert 'href="/console/ledger?from=2026-02-28&amp;to=2026-02-28"' in page.text
    assert 'href="/console/ledger?from=2026-03-02&amp;to=2026-03-02"' in page.text
    assert "Next day" not in book.get("/console/ledger").words


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("from=yesterday", "from: "),
        ("from=2026-01-01&to=2026-01-05", "from: more than one day needs a filter"),
        ("cursor=x", "cursor: "),
    ],
)
def test_a_bad_filter_names_the_field(book: ConsoleWorld, query: str, words: str) -> None:
    page = book.get(f"/console/ledger?{query}")
    assert (page.status, words in page.words) == (422, True), page.words


@pytest.mark.parametrize(
    ("target", "page"),
    [
        ("adbot:bot_1", "/console/bots/bot_1"),
        ("pool:standard", "/console/bots?pool=standard"),
        ("schedule:nightly-1", "/console/schedules/nightly-1"),
        ("lead:1", "/console/ledger?target=lead%3A1"),
        ("queue:../x", "/console/ledger?target=queue%3A..%2Fx"),
        ("mode", "/console/ledger?target=mode"),
    ],
)
def test_a_target_leads_to_its_page(target: str, page: str) -> None:
    assert ledger_words.page_of(target) == page


def test_people_who_ever_signed_in_are_named_and_their_id_stays_the_filter(book: ConsoleWorld) -> None:
    book.person("grace", "admin")
    book.post("/console/stock/pools", {"pool": "named", "reason": "a new plan"}, "grace")
    page = book.get("/console/ledger?target=pool:named")
    assert 'actor=sub-grace">Grace</a>' in page.text
    assert "by you" not in page.words


@pytest.mark.parametrize(
    ("query", "count"),
    [("target=queue:email", 2), ("action=queue.pause&target=queue:http", 1), ("action=order.paid&who=people", 0)],
)
def test_an_export_has_what_the_filters_take_and_is_an_entry_itself(book: ConsoleWorld, query: str, count: int) -> None:
    before = len(book.world.ledger(action="ledger.export"))
    page = book.get(f"/console/ledger?{query}")
    file = book.get(f"/console/ledger/export.csv?{query}", "viewer")
    assert file.bytes.startswith(b"\xef\xbb\xbf")
    assert file.headers["content-disposition"] == 'attachment; filename="ledger.csv"'
    rows = list(csv.DictReader(io.StringIO(file.bytes.decode("utf-8-sig"))))
    assert [row["action"] for row in rows] == actions(page)
    assert len(rows) == count
    entry, *others = sorted(book.world.ledger(action="ledger.export"), key=lambda one: one["at"], reverse=True)
    assert len(others) == before
    assert (entry["actor"], entry["after"]["rows"]) == ("sub-viewer", count)
    assert entry["after"]["action" if "action" in query else "target"] in query


def test_an_export_follows_all_pages_and_is_refused_above_its_limit(
    book: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "EXPORT_PAGE_SIZE", 1)
    address = "/console/ledger/export.csv?actor=ada-0000-1111-2222"
    assert book.get(address).bytes.count(b"ada-0000-1111-2222") == 3
    monkeypatch.setattr(views, "MAX_EXPORTED", 2)
    before = len(book.world.ledger(action="ledger.export"))
    refused = book.get(address)
    assert (refused.status, "narrow the filters" in refused.words) == (422, True)
    assert len(book.world.ledger(action="ledger.export")) == before


def test_no_cell_of_an_export_is_a_formula() -> None:
    entry = {"at": "t", "actor": "@a", "role": "+r", "action": "x.y", "target": "-t", "before": {}, "after": {"a": 1}}
    text = ledger_words.as_csv([{**entry, "reason": "=HYPERLINK(1)", "request_id": ""}], {"@a": "=Ada"}).decode()
    (row,) = csv.reader(io.StringIO(text.splitlines()[1]))
    assert not [cell for cell in row if cell[:1] in tuple("=+-@")]
    assert '{"a": 1}' in row


def test_a_page_is_two_reads_after_that_of_session_and_snapshot(
    book: ConsoleWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adbot_queue.console.snapshot.FRESH_MS", 3_600_000)
    book.get("/console/ledger")
    with counted_calls() as calls:
        book.get("/console/ledger")
    assert len(calls) == 3, calls
