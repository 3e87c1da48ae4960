"""Stock: pools, uploads with a verdict for every line, and what an upload served."""

from __future__ import annotations

import csv
import io
import re

import pytest

from adbot_queue.adbots.commands import Command
from adbot_queue.console.bot_words import state_of
from adbot_queue.console.views import stock as view
from adbot_queue.stock import upload as reading
from adbot_queue.stock import uploads
from adbot_queue.stock.claims import Claims
from tests.builders.console_world import ConsoleWorld, Shown, counted_calls
from tests.builders.world import ADMIN

LIST = "session_id;token\na-1;x\na-2;y\nbad id;z\na-1;again\n;empty\n"


@pytest.fixture(scope="module")
def shop(console: ConsoleWorld) -> ConsoleWorld:
    """A pool with two bots that wait."""
    console.world.pool()
    console.world.create(1)
    console.world.create(4)
    return console


def sent(shop: ConsoleWorld, text: str, pool: str = "standard", **fields: str) -> Shown:
    return shop.post("/console/stock/uploads", {"pool": pool, "sessions": text, **fields}, role="admin")


def test_27_every_line_of_a_list_gets_a_verdict_and_the_good_ones_are_stored(shop: ConsoleWorld) -> None:
    answer = sent(shop, LIST, key="k-27-k-27", reason="weekly delivery")
    assert answer.status == 200
    assert "2 accepted" in answer.words
    assert "1 twice in this list" in answer.words
    assert "2 invalid of 5 lines" in answer.words
    assert "3 refused lines" in answer.words
    for line in (4, 5, 6):
        assert f'id="line-{line}"' in answer.text
    assert shop.world.adbots.pools.header("standard").stock_total == 2
    (entry,) = shop.world.ledger(action="stock.upload")
    assert (entry["actor"], entry["reason"]) == ("sub-admin", "weekly delivery")

    again = sent(shop, LIST, key="k-27-k-27")
    assert "2 accepted" in again.words
    assert shop.world.adbots.pools.header("standard").stock_total == 2
    other = sent(shop, LIST, key="k-other-form")
    assert "2 duplicate" in other.words
    assert "uploaded before" in other.words


def test_a_preview_shows_the_first_lines_as_they_would_be_read_without_secrets(shop: ConsoleWorld) -> None:
    before = shop.world.adbots.pools.header("standard").stock_total
    text = "session_id,token,pool\np-1,secret-1,\nbad id,secret-2,\np-3,secret-3,trial\n" + "".join(
        f"p-{number},secret-{number},\n" for number in range(4, 10)
    )
    shown = shop.post("/console/stock/preview", {"pool": "standard", "sessions": text}, role="admin")
    assert "9 lines, 1 would be refused" in shown.words
    assert "The first 5 of 9 lines." in shown.words
    found = re.findall(r'<tr id="preview-.*?</tr>', shown.text)
    rows = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in found]
    assert rows[0] == "2 p-1 standard token Accepted"
    assert rows[1].startswith("3 \N{EN DASH}")
    assert rows[2] == "4 p-3 trial token Accepted"
    assert len(rows) == 5
    assert "secret-" not in shown.text
    assert shop.world.adbots.pools.header("standard").stock_total == before
    assert not shop.world.ledger(action="stock.preview")
    empty = shop.post("/console/stock/preview", {"pool": "standard", "sessions": " "}, role="admin")
    assert (empty.status, "sessions: paste a list" in empty.words) == (422, True)


def test_the_refused_lines_come_back_as_a_file_without_secrets(shop: ConsoleWorld) -> None:
    answer = sent(shop, "session_id,token\nb-1,secret-1\n=b 2,secret-2\n", key="k-refused-1")
    text = answer.field("refused", "lines")
    assert "secret" not in text
    file = shop.post("/console/stock/refused", {"upload": "up_1/../x", "lines": text}, role="admin", script=False)
    assert file.headers["content-disposition"] == 'attachment; filename="refused-up1x.csv"'
    rows = list(csv.DictReader(io.StringIO(file.bytes.decode("utf-8-sig"))))
    assert [(row["line"], row["session_id"], row["verdict"]) for row in rows] == [("3", "", "invalid")]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize(
    ("text", "fields", "words"),
    [
        ("", {}, "sessions: paste a list or choose a file"),
        ("\n" * 5, {}, "sessions: paste a list or choose a file"),
        ("x\n", {"pool": "none"}, "pool: does not exist"),
        ("x\n", {"reason": "r" * 501}, "reason: must have at most 500 characters"),
        ("\n".join(f"m-{n}" for n in range(10_001)), {}, "sessions: at most 10000 lines"),
    ],
)
def test_a_bad_form_names_the_field_and_stores_nothing(
    shop: ConsoleWorld, text: str, fields: dict[str, str], words: str
) -> None:
    before = shop.world.adbots.pools.header("standard").stock_total
    answer = sent(shop, text, **fields)
    assert (answer.status, words in answer.words) == (422, True), answer.words
    assert shop.world.adbots.pools.header("standard").stock_total == before


def test_an_upload_under_way_is_shown_with_its_progress(shop: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = reading.parse("\n".join(f"p-{n}" for n in range(250)).encode(), "text/plain")
    real, calls = Claims.settle, iter(range(3))

    def dies(claims: Claims, number: int, given: list[reading.UploadLine]) -> None:
        if next(calls) == 2:
            raise SystemExit
        real(claims, number, given)

    monkeypatch.setattr(Claims, "settle", dies)
    with pytest.raises(SystemExit):
        shop.world.stock.upload("standard", lines, Command(ADMIN))

    page = shop.get("/console/stock")
    assert "198 of 250 lines are stored" in page.words
    (staged,), _ = uploads.from_env().page("STAGED", 5, None)
    assert "198 of 250 settled" in shop.get(f"/console/stock/uploads/{staged.upload.id}").words


def test_an_upload_shows_the_bots_that_it_served(shop: ConsoleWorld) -> None:
    shop.world.pool("served")
    first, second = (shop.world.create(number, pool="served") for number in (1, 2))
    upload = shop.world.upload("s-1", "s-2", "s-3", pool="served").upload_id
    assert "No bot has got a session of it yet" in shop.get(f"/console/stock/uploads/{upload}").words
    shop.world.resolve("served")

    found, following = uploads.from_env().assignments(upload, 1, None)
    rest, _ = uploads.from_env().assignments(upload, 5, following)
    assert [(one.adbot_id, one.offset, one.count) for one in [*found, *rest]] == [(first.id, 0, 1), (second.id, 1, 2)]
    page = shop.get(f"/console/stock/uploads/{upload}")
    assert page.text.index(first.id) < page.text.index(second.id)
    assert shop.get("/console/stock/uploads/none").status == 404


@pytest.mark.parametrize(
    ("free", "total", "queued", "word"),
    [
        (0, 0, 0, "Empty"),
        (0, 9, 0, "Empty"),
        (0, 9, 2, "Empty"),
        (3, 9, 2, "Assigning"),
        (1, 21, 0, "Short"),
        (1, 20, 0, "Ample"),
    ],
)
def test_the_state_of_a_pool_is_a_word(free: int, total: int, queued: int, word: str) -> None:
    found = state_of({"free": free, "total": total, "queued": queued, "missing": 3 * queued})
    assert found.word == word
    assert (found.kind == "bad") == (queued > 0 and not free)


def test_a_pool_shows_its_stock_and_what_its_bots_miss(shop: ConsoleWorld) -> None:
    shop.world.pool("short")
    shop.world.upload("q-1", "q-2", pool="short")
    shop.world.create(5, pool="short")
    page = shop.get("/console/stock", x_acted="1")
    row = page.text.partition('id="pool-short"')[2].partition("</tr>")[0]
    assert "1 bot, 3 sessions missing" in row
    assert 'data-label="free">0<' in row
    assert 'data-label="in use">2<' in row


def test_a_pool_is_made_once_and_its_name_is_checked(shop: ConsoleWorld) -> None:
    assert "Made pool fresh" in shop.post("/console/stock/pools", {"pool": "fresh"}, role="admin").words
    assert "exists already" in shop.post("/console/stock/pools", {"pool": "fresh"}, role="admin").words
    assert "1 to 32 of a-z" in shop.post("/console/stock/pools", {"pool": "Fresh!"}, role="admin").words


def test_viewers_find_no_form(shop: ConsoleWorld) -> None:
    for path in ("/console/stock", "/console/stock/uploads"):
        forms = shop.get(path, role="viewer").text.split("<form")
        posts = [form for form in forms if 'method="post"' in form.partition(">")[0]]
        assert all("/console/sign-out" in form or "/console/theme" in form for form in posts), path


@pytest.mark.parametrize(("path", "most"), [("/console/stock", 5), ("/console/stock/uploads", 2)])
def test_a_page_makes_few_calls_after_session_and_snapshot(
    shop: ConsoleWorld, path: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adbot_queue.console.snapshot.FRESH_MS", 3_600_000)
    shop.get(path)
    with counted_calls() as calls:
        shop.get(path)
    assert len(calls) <= 1 + most, calls


def test_a_list_that_is_refused_as_a_whole_says_so() -> None:
    lines = reading.parse(b"session_id\nbad id\n", "text/csv")
    assert view.refused_file(lines).splitlines()[1].startswith('2,,invalid,"session_id: must be')
