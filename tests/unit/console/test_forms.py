"""A form acts once, however often it is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from adbot_queue.console.forms import STUCK_MS, Claim, Forms
from adbot_queue.console.request import Done, Undo
from adbot_queue.console.views import queues
from adbot_queue.core import aws
from adbot_queue.core.errors import Conflict, Unavailable
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.queues import pause as pauses
from tests.builders.console_world import ConsoleWorld


class Acts:
    """A queue's switch that counts how often it is used, and may fail."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None
        self.during: Callable[[], None] | None = None

    def pause(self, *_: Any) -> None:
        self.count += 1
        if self.during:
            self.during()
        if self.error:
            raise self.error


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> Acts:
    made = Acts()
    monkeypatch.setattr(pauses, "from_env", lambda: made)
    return made


def form(key: str) -> dict[str, str]:
    return {"key": key, "reason": "because"}


def test_19_a_form_that_is_sent_again_acts_no_second_time_and_shows_the_first_answer(
    console: ConsoleWorld, acts: Acts
) -> None:
    answers = [console.post("/console/queues/http/pause", form("twice-twice"), "admin").words for _ in range(3)]
    assert acts.count == 1
    assert len(set(answers)) == 1
    assert answers[0].startswith("Paused http.")


def test_19_twelve_clicks_at_once_act_once(console: ConsoleWorld, acts: Acts) -> None:
    console.session("admin")
    found: list[int] = []
    together = threading.Barrier(12)

    def click() -> None:
        together.wait()
        found.append(console.post("/console/queues/http/pause", form("at-once-at-once"), "admin").status)

    threads = [threading.Thread(target=click) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert acts.count == 1
    assert set(found) <= {200, 409}
    assert 200 in found


def test_19_without_script_the_answer_is_on_the_page_that_follows(console: ConsoleWorld, acts: Acts) -> None:
    sent = console.post("/console/queues/http/pause", form("plain-form"), "admin", script=False)
    assert (sent.status, sent.headers["location"]) == (303, "/console/queues/http?answer=plain-form")
    assert "Paused http." in console.get(sent.headers["location"], "admin").words
    assert "Paused http." not in console.get(sent.headers["location"], "viewer").words  # another session's
    assert acts.count == 1


def test_a_refused_form_may_be_sent_again(console: ConsoleWorld, acts: Acts) -> None:
    refused = console.post("/console/queues/http/pause", {"key": "no-reason-yet", "reason": " "}, "admin")
    assert (refused.status, refused.words) == (422, "reason: must have 1 to 500 characters")
    assert console.post("/console/queues/http/pause", form("no-reason-yet"), "admin").status == 200
    assert acts.count == 1


def test_an_action_whose_end_is_unknown_is_not_repeated_at_once(console: ConsoleWorld, acts: Acts) -> None:
    acts.error = Unavailable("busy")
    assert console.post("/console/queues/http/pause", form("unknown-end"), "admin").status == 503
    assert console.post("/console/queues/http/pause", form("unknown-end"), "admin").status == 409
    assert acts.count == 1


@pytest.mark.parametrize("key", ["", "short", "has space", "ü" * 10, "x" * 65])
def test_a_form_needs_its_key(console: ConsoleWorld, acts: Acts, key: str) -> None:
    refused = console.post("/console/queues/http/pause", form(key), "admin")
    assert (refused.status, refused.words) == (422, "key: must be 8 to 64 letters, digits, - or _")
    assert acts.count == 0


def test_a_claim_whose_process_died_is_free_after_half_a_minute(console: ConsoleWorld) -> None:
    assert console
    now = 1_800_000_000_000
    kept = Forms(aws.dynamodb(), settings().system_table, lambda: now)
    assert isinstance(kept.claim("s", "died", "sent"), Claim)
    now += STUCK_MS
    with pytest.raises(Conflict):
        kept.claim("s", "died", "sent")
    now += 1
    claim = kept.claim("s", "died", "sent")
    assert isinstance(claim, Claim)
    answer = Done("Paused.", Undo("/undo", {"a": "b"}), "/back")
    kept.keep(claim, answer)
    for found in (kept.claim("s", "died", "sent"), kept.answer("s", "died")):
        assert isinstance(found, Done)
        assert (found.text, found.back) == ("Paused.", "/back")
        assert found.undo
        assert (found.undo.path, found.undo.fields) == ("/undo", {"a": "b"})
    assert kept.answer("another", "died") is None


def test_two_sessions_never_share_an_answer(console: ConsoleWorld, acts: Acts) -> None:
    for role in ("owner", "admin"):
        assert console.post("/console/queues/http/pause", form("same-key-for-both"), role).status == 200
    assert acts.count == 2


def test_a_form_over_the_limit_is_refused_with_the_limit(console: ConsoleWorld, acts: Acts) -> None:
    large = console.post("/console/queues/http/pause", {**form("much-too-large"), "x": "y" * 300_000}, "admin")
    assert large.status == 413
    assert "the limit is 262144" in large.words
    with patch("adbot_queue.console.request.MAX_FIELDS", 2):
        assert console.post("/console/queues/http/pause", form("many-fields"), "admin").status == 400
    assert acts.count == 0


@pytest.mark.parametrize(
    ("path", "reason", "role"),
    [
        ("/console/queues/http/pause", "another reason", "admin"),
        ("/console/queues/email/pause", "because", "admin"),
        ("/console/queues/http/resume", "because", "admin"),
        ("/console/queues/http/pause", "because", "owner"),
    ],
    ids=["other fields", "other target", "other act", "other session"],
)
def test_a_key_of_another_form_gives_neither_its_answer_nor_an_act(
    console: ConsoleWorld, acts: Acts, path: str, reason: str, role: str
) -> None:
    key = f"first-{path[-12:].replace('/', '-')}-{len(reason)}-{role}"
    first = console.post("/console/queues/http/pause", form(key), "admin")
    assert first.words.startswith("Paused http.")
    again = console.post(path, {"key": key, "reason": reason}, role)
    if role == "admin":
        assert (again.status, acts.count) == (409, 1)
        assert "sent before with other values" in again.words
        assert "Paused" not in again.words
    else:  # keys are each session's own
        assert (again.status, acts.count) == (200, 2)


def test_an_answer_is_shown_even_if_it_cannot_be_kept(
    console: ConsoleWorld, acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "PutItem")

    kept, real = Forms(aws.dynamodb(), settings().system_table), Forms.keep
    monkeypatch.setattr(kept, "client", SimpleNamespace(put_item=fails))
    with patch.object(Forms, "keep", lambda _, claim, answer: real(kept, claim, answer)):
        assert console.post("/console/queues/http/pause", form("kept-by-none"), "admin").status == 200
    assert acts.count == 1


@pytest.mark.parametrize("back", ["/console/queues/http", "/console/leads/queue?owner_id=sub%20sam"])
@pytest.mark.parametrize("script", [True, False], ids=["script", "form"])
def test_an_answer_opens_a_page_with_its_own_parameters(
    console: ConsoleWorld, monkeypatch: pytest.MonkeyPatch, back: str, *, script: bool
) -> None:
    monkeypatch.setattr(queues, "pause", lambda _: Done("Paused.", open=back))
    key = f"opens-{script}-{len(back)}"
    answer = console.post("/console/queues/http/pause", form(key), "admin", script=script)
    opened = urlsplit(answer.headers["hx-redirect" if script else "location"])
    wanted = urlsplit(back)
    assert opened.path == wanted.path
    assert parse_qs(opened.query) == {**parse_qs(wanted.query), "answer": [key]}


def test_the_log_of_a_refused_form_holds_no_name(
    console: ConsoleWorld, acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(logger, "info", lambda *said, **about: logged.append(f"{said} {about}"))
    acts.error = Conflict("Sam Sample took this at noon")
    refused = console.post("/console/queues/http/pause", form("refused-by-sam"), "admin")
    assert (refused.status, "Sam Sample" in refused.words) == (409, True)
    assert any("form refused" in line for line in logged)
    assert not any("Sam Sample" in line for line in logged)
