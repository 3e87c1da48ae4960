"""Bots: the queue in order, all of them, one with its sessions, and what people do about it."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace

import pytest

from adbot_queue.adbots.model import Adbot, AdbotStatus, QueuedReason
from adbot_queue.adbots.storage import items
from adbot_queue.console import bot_words
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.attribute_values import encode
from adbot_queue.platform import owner_limit
from tests.builders.console_world import ConsoleWorld, Shown, counted_calls


@dataclass
class Line:
    """A pool with 3 sessions: a bot that has two, then four that wait; another pool without a queue."""

    console: ConsoleWorld
    ready: Adbot
    waiting: list[Adbot]


@pytest.fixture(scope="module")
def line(console: ConsoleWorld) -> Line:
    made = console.world
    made.pool()
    made.pool("trial")
    made.upload("s-1", "s-2", "s-3")
    made.upload("t-1", "t-2", "t-3", "t-4", pool="trial")
    ready = made.create(2)
    return Line(console, ready, [made.create(required) for required in (4, 1, 2, 6)])


def order_of(page: Shown) -> list[str]:
    return re.findall(r'<tr id="bot-([^"]+)"', page.text)


def test_26_the_queue_is_listed_in_the_order_in_which_it_is_served(line: Line) -> None:
    page = line.console.get("/console/bots", x_acted="1")
    waiting, _ = line.console.world.adbots.pools.waiting("standard", 50, None)
    assert order_of(page) == [one.adbot.id for one in waiting] == [bot.id for bot in line.waiting]
    assert re.findall(r'data-label="place">(\d+)<', page.text) == ["1", "2", "3", "4"]
    assert re.findall(r'data-label="ready after">(\d+)<', page.text) == ["3", "4", "6", "12"]
    assert "Served next" in page.words
    assert "4 bots need 12 sessions" in page.words


@pytest.mark.parametrize(
    ("upload", "words"),
    [
        (1, "completes no bot"),
        (3, "serves the first 1 bot"),
        (5, "serves the first 2 bots"),
        (12, "serves all 4 bots and leaves 0 free"),
        (100, "serves all 4 bots and leaves 88 free"),
    ],
)
def test_the_page_says_what_an_upload_would_serve(line: Line, upload: int, words: str) -> None:
    assert words in line.console.get(f"/console/bots?pool=standard&upload={upload}", x_acted="1").words


def test_an_empty_queue_says_why_and_how_many_sessions_are_free(line: Line) -> None:
    page = line.console.get("/console/bots?pool=trial")
    assert "No bot waits in trial" in page.words
    assert "4 are free now" in page.words
    assert "No bot is parked" in line.console.get("/console/bots?view=parked").words


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("pool=none", "pool: does not exist"),
        ("view=x", "view: must be"),
        ("view=all&status=LOST", "status: must be one of QUEUED"),
        ("upload=0", "upload: must be between 1"),
        ("upload=%D9%A1", "upload: must be between 1"),
    ],
)
def test_a_bad_parameter_names_its_field(line: Line, query: str, field: str) -> None:
    page = line.console.get(f"/console/bots?{query}")
    assert (page.status, field in page.words) == (422, True), page.words


def test_all_bots_are_listed_newest_first_and_by_status(line: Line) -> None:
    listed = order_of(line.console.get("/console/bots?view=all"))
    assert listed[:5] == [bot.id for bot in [*reversed(line.waiting), line.ready]]
    assert order_of(line.console.get("/console/bots?view=all&status=READY")) == [line.ready.id]
    assert "No bot is running" in line.console.get("/console/bots?view=all&status=RUNNING").words


def test_one_bot_shows_its_sessions_order_and_history(line: Line) -> None:
    first = line.waiting[0]
    drawer = line.console.get(f"/console/bots?bot={first.id}", hx_request="true", x_part="drawer")
    page = line.console.get(f"/console/bots/{first.id}")
    for shown in (drawer, page):
        assert "1 of 4 sessions, place 1 at most." in shown.words
        assert "3 are missing" in shown.words
        assert "s-3" in shown.words
        assert "adbot.create" in shown.words
        assert first.order_id in shown.text
    assert f'id="drawer-{first.id}"' in drawer.text
    here = f"https://console.example.com/console/bots?bot={first.id}"
    assert f'hx-target="#drawer-{first.id}"' in line.console.tick("/console/bots", hx_current_url=here).text
    assert line.console.get("/console/bots/none").status == 404


def test_a_bot_is_started_stopped_and_cancelled_with_its_sessions_returned(line: Line) -> None:
    console, bot = line.console, line.console.world.create(2, pool="trial")
    page = f"/console/bots/{bot.id}"
    assert "The bot runs" in console.post(f"{page}/start", role="admin").words
    assert console.world.bot(bot.id).status is AdbotStatus.RUNNING
    assert (late := console.post(f"{page}/start", role="admin")).status == 409, late.words
    assert "keeps its sessions" in console.post(f"{page}/stop", role="admin").words
    assert "reason: must have" in console.post(f"{page}/cancel", {"in": "cancel-bot"}, role="admin").words
    answer = console.post(f"{page}/cancel", {"reason": "bought twice"}, role="admin")
    assert "Cancelled. 2 sessions went back to trial; the order stays PAID" in answer.words
    assert console.world.bot(bot.id).status is AdbotStatus.CANCELLED
    signed = console.world.ledger(target=f"adbot:{bot.id}")
    assert [(entry["action"], entry["actor"]) for entry in signed][:3] == [
        ("adbot.cancel", "sub-admin"),
        ("adbot.stop", "sub-admin"),
        ("adbot.start", "sub-admin"),
    ]
    assert signed[0]["reason"] == "bought twice"


def test_a_bot_that_waits_is_not_started_and_says_what_is_missing(line: Line) -> None:
    answer = line.console.post(f"/console/bots/{line.waiting[1].id}/start")
    assert (answer.status, "1 of 1 sessions are missing" in answer.words) == (403, True)


def test_a_form_that_is_sent_twice_acts_once(line: Line) -> None:
    console, bot = line.console, line.console.world.create(1, pool="trial")
    key = console.get(f"/console/bots/{bot.id}").key("cancel-bot")
    first, again = (console.post(f"/console/bots/{bot.id}/cancel", {"key": key, "reason": "x"}).words for _ in range(2))
    assert first == again
    assert len([one for one in console.world.ledger(target=f"adbot:{bot.id}") if one["action"] == "adbot.cancel"]) == 1


def test_ending_an_order_above_the_money_limit_needs_the_owner(line: Line) -> None:
    console, bot = line.console, line.console.world.create(1, pool="trial")
    dynamodb.update_if(
        console.world.adbots.store.client,
        console.world.adbots.store.table,
        {"pk": f"ORDER#{bot.order_id}", "sk": "O"},
        "SET amount = :amount, currency = :currency",
        condition="attribute_exists(pk)",
        amount=owner_limit.from_env().amount + 1,
        currency=owner_limit.from_env().currency,
    )
    page = f"/console/bots/{bot.id}/cancel"
    refused = console.post(page, {"reason": "x", "in": "cancel-bot"}, role="admin")
    assert (refused.status, "needs the role owner" in refused.words) == (403, True)
    assert console.world.bot(bot.id).status is AdbotStatus.READY
    assert "Cancelled" in console.post(page, {"reason": "x"}, role="owner").words


def test_an_allocation_run_is_requested_for_one_pool(line: Line) -> None:
    line.console.world.messages("allocation")
    assert "run of standard was requested" in line.console.post("/console/bots/resolve", {"pool": "standard"}).words
    assert [one["pool"] for one in line.console.world.messages("allocation")] == ["standard"]
    assert "pool: does not exist" in line.console.post("/console/bots/resolve", {"pool": "none"}).words


def test_a_parked_bot_is_listed_with_its_reason_and_queued_again(line: Line) -> None:
    console, world = line.console, line.console.world
    world.pool("broken")
    bot = world.create(1, pool="broken")
    wrong = encode(items.adbot_item(replace(bot, missing=2)))  # not as the queue says
    aws.dynamodb().put_item(TableName=world.env["ADBOTS_TABLE"], Item=wrong)
    world.upload("b-1", pool="broken")
    world.resolve("broken")

    page = console.get("/console/bots?view=parked&pool=broken", x_acted="1")
    assert order_of(page) == [bot.id]
    assert "Unpark" in console.get(f"/console/bots/{bot.id}").words
    answer = console.post(f"/console/bots/{bot.id}/unpark", {"reason": "the cause is mended"})
    assert "waits at the end of broken" in answer.words
    assert "is not parked" in console.post(f"/console/bots/{bot.id}/unpark", {"reason": "again"}).words


def test_viewers_find_no_action_in_any_part(line: Line) -> None:
    first = line.waiting[0].id
    for path in ("/console/bots", f"/console/bots?bot={first}", f"/console/bots/{first}"):
        forms = line.console.get(path, role="viewer").text.split("<form")
        posts = [form for form in forms if 'method="post"' in form.partition(">")[0]]
        assert all("/console/sign-out" in form or "/console/theme" in form for form in posts), path


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/console/bots", 4),
        ("/console/bots?view=parked", 4),
        ("/console/bots?view=all", 4),
        ("/console/bots?bot={bot}", 8),
        ("/console/bots/{bot}", 4),
    ],
)
def test_a_page_makes_few_calls_after_session_and_snapshot(
    line: Line, path: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adbot_queue.console.snapshot.FRESH_MS", 3_600_000)
    address = path.format(bot=line.waiting[0].id)
    line.console.get(address)
    with counted_calls() as calls:
        line.console.get(address)
    assert len(calls) <= 1 + most, calls


@pytest.mark.parametrize("reason", list(QueuedReason))
def test_every_reason_to_wait_has_its_words(reason: QueuedReason) -> None:
    assert bot_words.WAITS[reason].text


def test_every_state_has_its_words() -> None:
    assert bot_words.STATES.keys() == set(AdbotStatus) - {AdbotStatus.QUEUED}


@pytest.mark.parametrize("path", ["/console/bots?pool=long", "/console/bots?view=all", "/console/ledger"])
def test_full_pages_and_their_refreshes_stay_small(line: Line, path: str) -> None:
    if "long" not in line.console.world.adbots.pools.names():
        line.console.world.pool("long")
        for number in range(22):
            line.console.world.create(5, user=f"{secrets.token_hex(4)}-{number}", pool="long")
    whole, tick = line.console.get(path, x_acted="1"), line.console.tick(path)
    assert whole.text.count("<tr id=") >= 20
    assert len(whole.bytes) <= 9_000
    assert len(tick.bytes) <= 4_096, len(tick.bytes)
