"""Opt-outs from messages to a phone: the words, the channels they hold on, and the way back."""

# ruff: noqa: RUF001  words in the letters that people write
from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.core.clock import system_clock
from adbot_queue.messaging import opt_outs
from adbot_queue.messaging.opt_outs import WISHES, Wish, wish_of
from local.stand_ins import whatsapp
from tests.builders.payments import configure, empty
from tests.builders.processors import failure, run
from tests.builders.providers import Peers, connect
from tests.builders.world import AwsHarness

CARA, USER = "+4915112345678", "DE.13491208655302741918"
JOBS: dict[str, dict[str, Any]] = {
    "send-sms": {"to": CARA, "text": "Hello"},
    "send-whatsapp": {"to": CARA, "content_sid": whatsapp.FOLLOW_UP, "content_variables": {"1": "Cara"}},
}


@pytest.fixture
def peers(aws_with_secrets: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> Peers:
    configure()
    return connect(monkeypatch)


@pytest.mark.parametrize(
    "text",
    [
        *("STOP", "stop", " Stop. ", "“STOP”", "STOP\n", "\u200bstop\u2060", "ｓｔｏｐ", "Stop all", "opt-out"),
        *("STOPP", "Abmelden!", "BAJA", "Darse de baja", "PARAR", "ARRET", "Arrêt", "arre\u0302t", "СТОП", "Стоп"),
        *("İPTAL", "ÇIK", "çık", "إيقاف", "הסר", "रोकें", "停止", "退订", "수신거부", "Désabonner", "rezygnuję"),
        *(
            "STOP 🛑",
            "🛑 stop 🛑",
            "<STOP>",
            "`stop`",
            "Stop, stop!",
            "STOP STOP STOP",
            "Please stop.",
            "Stop promotions",
        ),
        *("Afmeld", "avsluta", "Lopeta", "Odhlásit", "leiratkozás", "ΔΙΑΚΟΠΉ", "Odjava", "спри", "หยุด", "रोक्नुहोस्"),
        *("روکیں", "لغو", "বন্ধ", "நிறுத்து", "Henti", "取消", "해지", "renunta", "Zrušit!"),
    ],
)
def test_a_stop_is_known_in_every_language_and_spelling(text: str) -> None:
    assert wish_of(text) is Wish.STOP


@pytest.mark.parametrize(
    "text",
    [
        *("", "👍", "Hello", "please stop by at noon", "STOP SENDING THIS", "don't stop", "the end", "yes", "1"),
        *("Bitte nicht stoppen", "non-stop", "stopover", "стоп-кран", "I want to cancel my order", "s t o p"),
        *("🛑", "non", "no", "não", "stop or go?", "please call", "not now, please stop by", "unsubscribe my wife"),
    ],
)
def test_a_word_inside_a_sentence_is_no_wish(text: str) -> None:
    assert wish_of(text) is None


@pytest.mark.parametrize(
    ("text", "button", "opt_out_type", "wish"),
    [
        ("No more messages", "STOP", "", Wish.STOP),
        ("Start again", "start", "", Wish.START),
        ("Tell me more", "MORE", "", None),
        ("XYZ", "", "STOP", Wish.STOP),
        ("STOP", "", "HELP", Wish.STOP),
        ("start", "", "", Wish.START),
        ("Hilfe", "", "", Wish.HELP),
    ],
)
def test_what_twilio_and_buttons_say_goes_before_the_text(
    text: str, button: str, opt_out_type: str, wish: Wish | None
) -> None:
    assert wish_of(text, button, opt_out_type) is wish


def test_no_word_has_two_meanings() -> None:
    words = [opt_outs._plain(word) for words in opt_outs._WORDS.values() for word in words.split(",")]
    by_wish = {wish: {opt_outs._plain(word) for word in words.split(",")} for wish, words in opt_outs._WORDS.items()}
    assert "" not in words
    assert set(words) == set(WISHES)
    assert not by_wish[Wish.STOP] & (by_wish[Wish.START] | by_wish[Wish.HELP])
    assert not by_wish[Wish.START] & by_wish[Wish.HELP]


@pytest.mark.parametrize("job_type", JOBS)
def test_a_stop_holds_on_every_channel_until_a_later_start(peers: Peers, job_type: str) -> None:
    now = system_clock()
    opt_outs.stop(CARA, now - 2000)
    found, _ = failure(job_type, JOBS[job_type])
    assert (found.kind, found.message) == ("permanent", "the recipient has opted out of messages")
    assert peers.texts == []

    opt_outs.start(CARA, now - 3000)  # of before the STOP, and late
    assert opt_outs.is_stopped(CARA)

    opt_outs.start(CARA, now - 1000)
    run(job_type, JOBS[job_type])
    assert len(peers.texts) == 1

    opt_outs.stop(CARA, now - 2000)  # the same STOP once more
    assert not opt_outs.is_stopped(CARA)


def test_a_start_that_overtakes_its_stop_holds(peers: Peers) -> None:
    now = system_clock()
    opt_outs.start(USER, now - 1000)
    opt_outs.stop(USER, now - 2000)

    assert not opt_outs.is_stopped(USER)


@pytest.mark.parametrize("job_type", JOBS)
def test_an_opt_out_that_twilio_knows_is_remembered(peers: Peers, job_type: str) -> None:
    phone = "+4915100021610"
    assert failure(job_type, JOBS[job_type] | {"to": phone})[0].message.endswith("the recipient has unsubscribed)")
    asked = len(peers.requests)

    assert failure(job_type, JOBS[job_type] | {"to": phone}, key="job-2")[0].message.endswith("opted out of messages")
    assert len(peers.requests) == asked


def test_a_message_that_went_out_before_the_stop_is_not_called_refused(peers: Peers) -> None:
    failure("send-sms", JOBS["send-sms"] | {"text": "hang=60x1"})  # taken, the answer lost
    opt_outs.stop(CARA, system_clock())

    assert run("send-sms", JOBS["send-sms"] | {"text": "hang=60x1"})["sid"] == peers.texts[0]["sid"]


def test_a_code_is_sent_to_a_person_who_opted_out(peers: Peers) -> None:
    from adbot_queue.messaging.phone_messages import send  # noqa: PLC0415
    from adbot_queue.providers.twilio import Message  # noqa: PLC0415
    from tests.builders.processors import context  # noqa: PLC0415

    opt_outs.stop(CARA, system_clock())
    send(Message(CARA, "Your code is 123456."), context())

    assert len(peers.texts) == 1
    empty()
