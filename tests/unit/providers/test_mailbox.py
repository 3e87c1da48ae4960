"""The mailbox of the stand-ins: what people received, as they see it, and no door for anything else."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from local.stand_ins.mailbox import Mailbox, of_running_stack
from local.stand_ins.whatsapp import FOLLOW_UP
from tests.builders import processors
from tests.builders.processors import run
from tests.builders.providers import Peers

HTML = '<p>Hello <b>Cara</b></p><script>parent.location = "/"</script><img src="https://example.com/pixel">'


@pytest.fixture
def sent(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Peers:
    """One message on each channel, oldest first."""
    monkeypatch.setattr(processors, "NOW", round(time.time() * 1000))  # push services check the time
    mail = {"to": "cara@example.com", "subject": "Bot <1> runs", "text": "Hello Cara", "html": HTML}
    run("send-email", mail, key="mail")
    run("send-sms", {"to": "+4915112345678", "text": "Your code is 123456"}, key="text")
    run(
        "send-whatsapp",
        {"to": "+4915187654321", "content_sid": FOLLOW_UP, "content_variables": {"1": "Ada"}},
        key="whatsapp",
    )
    push = {"title": "Bot runs", "body": "It has all sessions.", "subscription": peers.stand_ins.push.subscribe()}
    run("send-push", push, key="push")
    for seconds, kept in enumerate([peers.stand_ins.sendgrid.messages[0], peers.stand_ins.push.messages[0]]):
        kept["received_at"] += 60 * (2 * seconds - 1)  # the texts came in between
    return peers


def get(peers: Peers, path: str, **options: Any) -> TestResponse:
    return Client(peers.stand_ins).get(path, base_url="http://127.0.0.1:8099", **options)


def paths(answer: TestResponse) -> list[str]:
    return re.findall(r'href="(/mailbox/[^"]+)"', answer.text)


def test_every_channel_is_listed_newest_first(sent: Peers) -> None:
    listed = paths(get(sent, "/mailbox"))

    assert [path.split("/")[2] for path in listed] == ["push", "whatsapp", "text", "mail"]
    assert [get(sent, path).status_code for path in listed] == [200] * 4
    assert get(sent, "/mailbox/").text == get(sent, "/mailbox").text


@pytest.mark.parametrize(
    ("receiver", "channels"),
    [
        ("cara@example.com", ["mail"]),
        ("CARA@", ["mail"]),
        ("+4915112345678", ["text"]),
        ("+49151", ["whatsapp", "text"]),
        ("nemo@example.com", []),
    ],
)
def test_a_list_is_of_one_receiver_on_request(sent: Peers, receiver: str, channels: list[str]) -> None:
    answer = get(sent, "/mailbox", query_string={"to": receiver})

    assert [path.split("/")[2] for path in paths(answer)] == channels
    assert ("No message to this receiver yet." in answer.text) == (not channels)


def test_a_mail_shows_headers_plain_part_and_its_html_in_a_closed_frame(sent: Peers) -> None:
    (path,) = paths(get(sent, "/mailbox?to=cara"))
    page, frame = get(sent, path), get(sent, f"{path}/html")

    for shown in ("Bot &lt;1&gt; runs", "cara@example.com", "Message-ID", "<pre>Hello Cara</pre>"):
        assert shown in page.text
    assert f'<iframe sandbox="" title="The mail as its receiver sees it" src="{path}/html">' in page.text
    assert "<script" not in page.text
    assert frame.text == HTML
    assert frame.headers["content-security-policy"].startswith("sandbox; default-src 'none';")
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none';")


def test_texts_and_notifications_show_what_the_phone_shows(sent: Peers) -> None:
    push, whatsapp, text, _ = (get(sent, path).text for path in paths(get(sent, "/mailbox")))

    assert "Your code is 123456" in text
    assert "Ada" in whatsapp
    assert "<strong>Bot runs</strong><br>It has all sessions." in push


@pytest.mark.parametrize("host", ["mailbox.example.com:8099", "127.0.0.1.example.com", "[::1]:8099", "", "x@127.0.0.2"])
def test_a_page_of_the_web_cannot_read_it_under_a_name_of_its_own(sent: Peers, host: str) -> None:
    assert sent.stand_ins.mailbox.respond(host, "/mailbox").status == 403
    assert sent.stand_ins.mailbox.respond("localhost:8099", "/mailbox").status == 200


@pytest.mark.parametrize(
    "path", ["/mailbox/mail/none", "/mailbox/text", "/mailbox/mail/none/html", "/mailbox/../_effects"]
)
def test_there_is_no_other_page(sent: Peers, path: str) -> None:
    assert get(sent, path).status_code == 404


def test_what_cognito_sent_is_there_too() -> None:
    code = {
        "MessageId": "0f-1@email.amazonses.com",
        "Source": "no-reply@verificationemail.com",
        "To": ["cara@example.com"],
        "Subject": "Your verification code",
        "BodyText": "Your verification code is 123456.",
        "BodyHtml": None,
        "Timestamp": 1_795_000_000.5,
    }
    box = Mailbox([], [], [], lambda: [code])

    assert "/mailbox/mail/0f-1" in str(box.respond("localhost", "/mailbox", "cara").body)
    assert "<pre>Your verification code is 123456.</pre>" in str(box.respond("localhost", "/mailbox/mail/0f-1").body)


def test_without_a_running_stack_cognito_sent_nothing(tmp_path: Path) -> None:
    assert of_running_stack(tmp_path / "stack.json")() == ()


def test_an_empty_mailbox_says_how_to_fill_it() -> None:
    assert "send-email" in str(Mailbox([], [], []).respond("127.0.0.1", "/mailbox").body)
