"""What answers of Twilio mean: which codes wait, close or refuse, and when a message may have gone out all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError, ReadTimeoutError

from adbot_queue.core.errors import AccountRefused, ProviderFailed
from adbot_queue.providers import twilio, twilio_content
from adbot_queue.providers.twilio import Message
from adbot_queue.providers.twilio_codes import CODES, Concern, Outcome, concern, meaning
from local.stand_ins import whatsapp
from local.stand_ins.whatsapp import FIRST, FOLLOW_UP, PAUSED
from tests.builders.payments import DEFAULT_SECRETS, empty, secret
from tests.builders.providers import Peers

CARA = "+4915112345678"
TEMPLATE = Message(CARA, content_sid=FOLLOW_UP, content_variables={"1": "Cara"}, whatsapp=True)


@pytest.fixture(autouse=True)
def _nothing_was_sent() -> Iterator[None]:
    empty()
    yield
    empty()


def failed(peers: Peers, *answers: Any) -> Exception:
    peers.instead += answers
    with pytest.raises((ProviderFailed, AccountRefused)) as raised:
        twilio.send(TEMPLATE)
    return raised.value


@pytest.mark.parametrize("code", CODES)
def test_every_code_ends_as_the_table_says(peers: Peers, code: int) -> None:
    status = 429 if CODES[code].outcome is Outcome.WAIT else 400
    error = failed(peers, lambda: (status, {"code": code, "message": f"to {CARA}", "status": status}))

    assert CARA[1:] not in str(error)
    assert meaning(code) in str(error)  # type: ignore[operator]
    match CODES[code].outcome:
        case Outcome.CLOSED:
            assert isinstance(error, AccountRefused)
            assert error.reach is CODES[code].reach
        case Outcome.WAIT:
            assert isinstance(error, ProviderFailed)
            assert (error.extra["throttled"], error.extra["code"]) == (CODES[code].reach, code)
        case Outcome.REFUSED:
            assert isinstance(error, ProviderFailed)
            assert (error.extra["retryable"], error.extra["uncertain"], error.extra["code"]) == (False, False, code)


def test_the_stand_ins_codes_are_known() -> None:
    assert set(whatsapp.FAILURES) | set(whatsapp.REFUSED) <= set(CODES)
    assert {concern(code) for code in whatsapp.FAILURES} >= {*Concern} - {Concern.OPTED_OUT}
    assert (meaning(99999), concern(None)) == (None, None)


def _raises(error: Exception) -> Any:
    def answer() -> Any:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "uncertain"),
    [
        (_raises(NewConnectionError(None, "refused")), False),  # type: ignore[arg-type]
        (_raises(ConnectTimeoutError()), False),
        (_raises(ReadTimeoutError(None, "", "timed out")), True),  # type: ignore[arg-type]
        (_raises(ProtocolError("reset by peer")), True),
        (lambda: (500, "<html>"), True),
        (lambda: (503, {"code": 20503}), True),
        (lambda: (201, "<html>"), True),
        (lambda: (201, {"status": "queued"}), True),
        (lambda: (400, {"code": 63024}), False),
    ],
    ids=["refused", "no connection", "no answer", "reset", "500", "503", "unreadable", "no sid", "said no"],
)
def test_only_a_lost_answer_leaves_it_open_whether_a_message_went_out(
    peers: Peers, answer: Any, uncertain: bool
) -> None:
    error = failed(peers, answer)

    assert isinstance(error, ProviderFailed)
    assert error.extra["uncertain"] is uncertain


def test_a_throttled_message_certainly_did_not_go_out(peers: Peers) -> None:
    error = failed(peers, lambda: (429, {"code": 20429}))

    assert isinstance(error, ProviderFailed)
    assert not error.extra.get("uncertain")


def test_whatsapp_leaves_through_the_messaging_service_that_keeps_opt_outs(peers: Peers) -> None:
    service = f"MG{'2' * 32}"
    with secret("twilio", json.dumps(DEFAULT_SECRETS["twilio"] | {"messaging_service_sid": service})):
        twilio.send(TEMPLATE)

    (taken,) = peers.texts
    assert (taken["messaging_service_sid"], taken["from"]) == (service, "whatsapp:+15005550006")


def test_templates_are_read_page_by_page(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twilio_content, "PAGE_SIZE", 4)
    found = {template.sid: template for template in twilio_content.templates()}

    assert len(peers.requests) == 2
    assert set(found) == set(peers.stand_ins.twilio.whatsapp.templates)
    first = found[FIRST]
    assert (first.name, first.language, first.category, first.status) == ("first_touch", "en", "MARKETING", "approved")
    assert first.variables == ("1", "2")
    assert first.body.startswith("Hello {{1}}")
    assert found[PAUSED].status == "paused"


def test_the_address_of_the_next_page_never_gets_the_credentials(peers: Peers) -> None:
    page = {"contents": [], "meta": {"next_page_url": "https://elsewhere.example/v1/ContentAndApprovals?Page=1"}}
    peers.instead += [lambda: (200, page), lambda: (200, {"contents": [], "meta": {}})]

    assert twilio_content.templates() == []
    assert [request.split("?")[0] for request in peers.requests] == [
        "GET http://peers.test/twilio/v1/ContentAndApprovals"
    ] * 2


def test_a_template_that_was_never_submitted_is_not_approved(peers: Peers) -> None:
    bare = {"sid": FIRST, "friendly_name": "draft", "types": {"twilio/media": {"media": ["https://x/{{1}}.png"]}}}
    peers.instead.append(lambda: (200, {"contents": [bare]}))

    (template,) = twilio_content.templates()
    assert (template.name, template.status, template.category) == ("draft", "unsubmitted", "")
    assert (template.variables, template.body) == (("1",), "")
