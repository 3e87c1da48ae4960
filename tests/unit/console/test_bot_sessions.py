"""A bot's sessions: compared before they are reassigned, and one reported lost."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from adbot_queue.adbots.model import Adbot
from tests.builders.console_world import ConsoleWorld, Shown

REASON = {"reason": "the account asks for a code"}


@dataclass
class Shop:
    """A bot with sessions, free ones, and others of another bot and pool."""

    console: ConsoleWorld
    bot: Adbot
    other: Adbot

    def now(self, adbot: Adbot | None = None) -> Adbot:
        return self.console.world.adbots.adbot((adbot or self.bot).id, None)

    def held(self) -> list[str]:
        return self.console.world.adbots.sessions.session_ids(self.now().runs)

    def free(self) -> str:
        """Return the id of a session that no bot has."""
        sessions = self.console.world.adbots.sessions
        return next(one for number in range(1, 9) if sessions.locate(one := f"s-{number}").state == "free")

    def compare(self, add: str = "", remove: str = "") -> Shown:
        fields = {"add": add, "remove": remove}
        return self.console.post(f"/console/bots/{self.bot.id}/sessions", fields, "admin", script=False)


@pytest.fixture(scope="module")
def shop(console: ConsoleWorld) -> Shop:
    world = console.world
    world.pool()
    world.pool("trial")
    world.upload(*(f"s-{number}" for number in range(1, 9)))
    world.upload("t-1", pool="trial")
    return Shop(console, world.create(3), world.create(2))


def form(page: Shown) -> dict[str, str]:
    return {name: page.field("reassign", name) for name in ("key", "add", "remove", "version")} | REASON


def test_old_and_new_stand_side_by_side_and_nothing_changes_before_the_reason(shop: Shop) -> None:
    page = shop.console.get(f"/console/bots/{shop.bot.id}/sessions", "admin")
    assert 'id="compare"' not in page.text
    before = shop.held()
    page = shop.compare(add="s-7, s-8", remove=f"{before[0]}\n{before[1]}")
    now, then = re.findall(r'<pre class="code diff".*?</pre>', page.text, re.DOTALL)
    assert re.findall(r"<del>([^<]+)</del>", now) == before[:2]
    assert re.findall(r"<ins>([^<]+)</ins>", then) == ["s-7", "s-8"]
    assert "Now, 3 sessions" in page.words
    assert "Then, 3 sessions" in page.words
    assert shop.held() == before
    refused = shop.console.post(f"/console/bots/{shop.bot.id}/reassign", form(page) | {"reason": " "}, "admin")
    assert (refused.status, "reason: must have" in refused.words) == (422, True)

    for _ in range(2):
        done = shop.console.post(f"/console/bots/{shop.bot.id}/reassign", form(page), "admin")
        assert done.headers["hx-redirect"].startswith(f"/console/bots/{shop.bot.id}?answer=")
    assert set(shop.held()) == {before[2], "s-7", "s-8"}
    assert "It got 2 sessions, 2 went back to standard." in shop.console.get(done.headers["hx-redirect"], "admin").words
    (entry,) = shop.console.world.ledger(action="adbot.reassign", target=f"adbot:{shop.bot.id}")
    assert (entry["actor"], entry["reason"]) == ("sub-admin", REASON["reason"])

    stale = shop.console.post(f"/console/bots/{shop.bot.id}/reassign", form(page) | {"key": "another-form-2"}, "admin")
    assert (stale.status, "compare again" in stale.words) == (409, True)


def test_taking_away_without_giving_says_that_the_bot_waits(shop: Shop) -> None:
    gone = shop.held()[0]
    page = shop.compare(remove=gone)
    assert "Then, 2 sessions, 1 missing" in page.words
    assert "The bot lacks 1 session then" in page.words
    assert gone in shop.held()


@pytest.mark.parametrize(
    ("add", "remove", "problem"),
    [
        ("", "", "add, remove: must name 1 to 40 sessions in all"),
        (" ".join(f"x-{number}" for number in range(41)), "", "add, remove: must name 1 to 40"),
        ("s-6", "s-6", "add, remove: must name each session once"),
        ("nowhere", "{own}", "add: there is no session nowhere"),
        ("t-1", "{own}", "add: there is no session t-1 in pool standard"),
        ("{other}", "{own}", "is not free: assigned to adbot"),
        ("s-6", "", "add: the bot has room for 0, 1 were named"),
        ("", "{other}", "is not assigned to this bot"),
        ("", "nowhere", "remove: there is no session nowhere"),
    ],
)
def test_what_cannot_be_reassigned_is_named_and_the_text_stays(shop: Shop, add: str, remove: str, problem: str) -> None:
    other = shop.console.world.adbots.sessions.session_ids(shop.now(shop.other).runs)[0]
    names = {"own": shop.held()[0], "other": other}
    page = shop.compare(add.format(**names), remove.format(**names))
    assert (page.status, problem in page.words) == (422, True), page.words
    assert add.format(**names)[:20] in page.text
    assert 'id="reassign"' not in page.text


def test_a_lost_session_leaves_its_bot_once_and_the_answer_says_what_the_bot_lacks(shop: Shop) -> None:
    path = f"/console/bots/{shop.bot.id}/lost"
    lost = shop.held()[0]
    page = shop.console.get(f"/console/bots/{shop.bot.id}?open=lose-session", "admin")
    fields = {"key": page.key("lose-session"), "session": lost} | REASON
    first = shop.console.post(path, fields, "admin").words
    missing = shop.now().missing
    assert f"Session {lost} is lost. The bot {f'waits for {missing}' if missing else 'has another'}." in first
    assert shop.console.post(path, fields, "admin").words == first
    assert lost not in shop.held()
    (entry,) = shop.console.world.ledger(action="session.lost")
    assert (entry["actor"], entry["reason"]) == ("sub-admin", REASON["reason"])

    for session, status, text in (
        ("", 422, "session: name the session"),
        ("nowhere", 404, "there is no session nowhere"),
        (lost, 409, "was lost"),
        ("t-1", 404, "there is no session t-1 in pool standard"),
        (shop.free(), 409, "is not assigned to this bot"),
    ):
        answer = shop.console.post(path, {"session": session} | REASON, "admin")
        assert (answer.status, text in answer.words) == (status, True), answer.words
    assert len(shop.console.world.ledger(action="session.lost")) == 1


def test_viewers_find_neither_button_nor_page(shop: Shop) -> None:
    page = shop.console.get(f"/console/bots/{shop.bot.id}", "viewer").text
    assert "Reassign" not in page
    assert "Report lost" not in page
    assert shop.console.get(f"/console/bots/{shop.bot.id}/sessions", "viewer").status == 403
