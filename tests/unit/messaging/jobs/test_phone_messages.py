"""send-sms, send-whatsapp: one message to one phone, once as far as Twilio allows, and every refusal is classified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError
from urllib3.exceptions import NewConnectionError

from adbot_queue.core import telemetry
from adbot_queue.messaging import sent_messages as messages
from adbot_queue.messaging.jobs.send_sms import SendSms
from adbot_queue.messaging.jobs.send_whatsapp import SendWhatsApp
from adbot_queue.providers import twilio
from local.stand_ins import whatsapp
from tests.builders.crash import Killed, crash_after
from tests.builders.payments import DEFAULT_SECRETS, empty, secret
from tests.builders.processors import failure, run
from tests.builders.providers import Peers

CARA = "+4915112345678"
SMS = {"to": CARA, "text": "Your bot runs."}
TEMPLATE = whatsapp.FOLLOW_UP
WHATSAPP = {"to": CARA, "content_sid": TEMPLATE, "content_variables": {"1": "Cara"}}


@pytest.fixture(autouse=True)
def _nothing_was_sent() -> Iterator[None]:
    empty()
    yield
    empty()


def sms(key: str = "job-1", **changes: Any) -> dict[str, Any]:
    result: dict[str, Any] = run("send-sms", SMS | changes, key=key)
    return result


def refused(seconds: float = 20, key: str = "job-1", **changes: Any) -> tuple[str, str, float | None]:
    found, retry_after = failure("send-sms", SMS | changes, seconds=seconds, key=key)
    assert CARA[1:] not in found.message
    return found.kind, found.message, retry_after


def effects(peers: Peers, key: str = "job-1") -> int:
    return peers.effects("twilio")[key]["effects"]


def test_a_text_goes_out_from_the_installations_number_and_asks_for_reports(peers: Peers) -> None:
    result = sms()

    (taken,) = peers.texts
    assert result == {"sid": taken["sid"], "status": "queued", "encoding": "GSM-7", "segments": 1}
    assert (taken["to"], taken["from"], taken["body"]) == (CARA, "+15005550006", "Your bot runs.")
    assert effects(peers) == 1
    assert telemetry.metrics.metric_set["SmsSegments"]["Value"] == [1]
    assert messages.from_env().delivery(taken["sid"]).state == "queued"
    assert messages.from_env().delivery("job-1").sid == taken["sid"]


def test_segments_are_counted_as_they_are_paid_for(peers: Peers) -> None:
    assert sms(text="x" * 161)["segments"] == 2
    assert sms("job-2", text="Grüße 🎉" + "x" * 70) | {"sid": ""} == {
        "sid": "",
        "status": "queued",
        "encoding": "UCS-2",
        "segments": 2,
    }


def test_a_messaging_service_goes_before_a_number(peers: Peers) -> None:
    service = f"MG{'2' * 32}"
    with secret("twilio", json.dumps(DEFAULT_SECRETS["twilio"] | {"messaging_service_sid": service})):
        assert sms()["status"] == "accepted"

    assert (peers.texts[0]["messaging_service_sid"], peers.texts[0]["from"]) == (service, None)


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        ("+15005550001", 21211, "no valid phone number"),
        ("+15005550003", 21408, "messages to the number's region are not permitted for the account"),
        ("+15005550004", 21610, "the recipient has unsubscribed"),
        ("+15005550009", 21614, "no mobile number"),
    ],
)
def test_what_twilio_says_no_to_fails_for_good_and_says_why(peers: Peers, number: str, code: int, reason: str) -> None:
    kind, message, _ = refused(to=number)

    assert (kind, message) == ("permanent", f"Twilio refused the message (HTTP 400, {code}: {reason})")
    assert number[1:] not in message
    assert peers.texts == []


def test_an_unknown_error_code_is_reported_as_it_is(peers: Peers) -> None:
    assert refused(to="+15005550002")[:2] == ("permanent", "Twilio refused the message (HTTP 400, 21612)")


@pytest.mark.parametrize(
    ("wish", "kind", "message", "seconds"),
    [
        ("fail=503x1", "transient", "Twilio refused the message (HTTP 503, 20500)", None),
        ("fail=500x1", "transient", "Twilio refused the message (HTTP 500, 20500)", None),
        (
            "fail=429x1",
            "throttled",
            "Twilio refused the message (HTTP 429, 20429: too many requests of the account at once)",
            2.0,
        ),
        ("fail=400", "permanent", "Twilio refused the message (HTTP 400, 20001)", None),
    ],
)
def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    peers: Peers, wish: str, kind: str, message: str, seconds: float | None
) -> None:
    assert refused(text=wish) == (kind, message, seconds)
    assert peers.texts == []
    if kind == "transient":
        sms(text=wish)
        assert effects(peers) == 1


def test_a_senders_queue_that_is_full_may_pass(peers: Peers) -> None:
    peers.instead.append(lambda: (400, {"code": 21611, "message": "exceeded", "status": 400}))
    assert refused()[0] == "throttled"


def test_a_network_that_is_down_and_an_answer_that_cannot_be_read_are_tried_again(peers: Peers) -> None:
    def down() -> Any:
        raise NewConnectionError(None, "refused")  # type: ignore[arg-type]

    peers.instead += [down, lambda: (201, {"status": "queued"}), lambda: (502, "<html>")]
    assert refused(key="1")[:2] == ("transient", "Twilio could not be reached (NewConnectionError)")
    assert refused(key="2")[:2] == ("transient", "Twilio's answer cannot be read")
    assert refused(key="3")[:2] == ("transient", "Twilio refused the message (HTTP 502)")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"auth_token": ""}, '"auth_token" is not filled in'),
        ({"account_sid": ""}, '"account_sid" is not filled in'),
        ({"from": ""}, 'neither "messaging_service_sid" nor "from"'),
        ({"auth_token": "another"}, "Twilio does not accept the credentials"),
    ],
)
def test_credentials_that_are_missing_or_wrong_close_twilio_and_name_the_setting(
    peers: Peers, changes: dict[str, str], says: str
) -> None:
    with secret("twilio", json.dumps(DEFAULT_SECRETS["twilio"] | changes)):
        kind, message, _ = refused()

    assert kind == ("permanent" if "from" in changes else "provider_closed")
    assert says in message
    assert "TwilioSecretArn" in message


# Once


def test_a_message_whose_answer_was_lost_is_found_in_twilios_list_and_not_sent_again(peers: Peers) -> None:
    assert refused(text="hang=60x1")[:2] == ("transient", "Twilio could not be reached (ReadTimeoutError)")

    assert sms(text="hang=60x1")["sid"] == peers.texts[0]["sid"]
    assert effects(peers) == 1
    assert "MessagesRecovered" in telemetry.metrics.metric_set


def test_a_message_that_twilio_reported_meanwhile_needs_no_list(peers: Peers) -> None:
    refused(text="hang=60x1")
    sid = peers.texts[0]["sid"]
    messages.from_env().reported(sid, "sent", "job-1", "job-1")
    asked = len(peers.requests)

    assert sms(text="hang=60x1") | {"sid": sid, "status": "sent"} == sms(text="hang=60x1")
    assert len(peers.requests) == asked
    assert len(peers.texts) == 1


def test_wherever_an_attempt_dies_the_message_goes_out_once(peers: Peers) -> None:
    with crash_after(None) as calls:
        sms("whole")
    for number in range(1, len(calls.names) + 1):
        key, text = f"dies-{number}", f"Number {number}."
        with suppress(Killed), crash_after(number):
            sms(key, text=text)
        result = sms(key, text=text)
        assert [taken["sid"] for taken in peers.texts if taken["body"] == text] == [result["sid"]]
        assert messages.from_env().delivery(key).sid == result["sid"]
    assert calls.names == ["PutItem", "Query", "BatchGetItem", "UpdateItem", "UpdateItem"]


def test_a_message_of_another_job_with_the_same_text_is_not_taken_for_ours(peers: Peers) -> None:
    peers.instead.append(lambda: (503, {"code": 20500}))  # nothing was sent under job-1
    refused()
    sms("job-2")

    assert sms("job-1")["sid"] != sms("job-2")["sid"]
    assert len(peers.texts) == 2


def test_a_message_of_long_ago_is_not_taken_for_ours(peers: Peers) -> None:
    peers.stand_ins.twilio._now = lambda: 1_000_000_000.0
    sms("long-ago")
    empty()
    peers.instead.append(lambda: (503, {"code": 20500}))
    refused()

    sms()
    assert len(peers.texts) == 2


def test_while_twilios_list_cannot_be_read_nothing_is_sent_again(peers: Peers) -> None:
    refused(text="hang=60x1")
    peers.instead.append(lambda: (503, {"code": 20500}))

    assert refused(text="hang=60x1")[:2] == ("transient", "Twilio refused the message (HTTP 503, 20500)")
    assert len(peers.texts) == 1


@pytest.mark.parametrize(("reported", "times"), [(False, 2), (True, 1)])
def test_a_template_whose_answer_was_lost_goes_twice_unless_twilio_reported_it(
    peers: Peers, reported: bool, times: int
) -> None:
    peers.instead.append(lambda: (502, "<html>"))  # it was taken all the same
    failure("send-whatsapp", WHATSAPP)
    if reported:
        messages.from_env().reported(f"SM{'3' * 32}", "sent", "job-1", "job-1")

    run("send-whatsapp", WHATSAPP)

    assert 1 + len(peers.texts) == times


# WhatsApp


def test_a_template_goes_out_with_its_variables(peers: Peers) -> None:
    result = run("send-whatsapp", WHATSAPP)

    (taken,) = peers.texts
    assert result == {"sid": taken["sid"], "status": "queued"}
    assert (taken["to"], taken["from"]) == (f"whatsapp:{CARA}", "whatsapp:+15005550006")
    assert (taken["content_sid"], taken["body"]) == (TEMPLATE, "Hello Cara, your request is with us.")
    assert "WhatsAppsSent" in telemetry.metrics.metric_set


def test_a_text_outside_the_window_may_be_refused_at_once(peers: Peers) -> None:
    peers.instead.append(lambda: (400, {"code": 63016, "message": "Failed to send freeform message", "status": 400}))

    found, _ = failure("send-whatsapp", {"to": CARA, "text": "Hello"})

    assert found.kind == "permanent"
    assert "63016: no template, and more than 24 hours" in found.message


def test_without_a_whatsapp_sender_the_job_fails_and_names_the_setting(peers: Peers) -> None:
    with secret("twilio", json.dumps(DEFAULT_SECRETS["twilio"] | {"whatsapp_from": ""})):
        found, _ = failure("send-whatsapp", WHATSAPP)

    assert (found.kind, found.error) == ("permanent", "NotConfigured")
    assert "whatsapp_from" in found.message


# Around the call


@pytest.mark.parametrize(("seconds", "timeout"), [(20, 10), (4, 4)])
def test_a_call_ends_before_the_job_must(peers: Peers, seconds: float, timeout: float) -> None:
    run("send-sms", SMS, seconds=seconds)
    assert peers.timeouts == [timeout]


def test_without_time_left_nothing_is_asked(peers: Peers) -> None:
    assert refused(seconds=0.5)[0] == "timeout"
    assert peers.requests == []


def test_reports_are_asked_for_only_where_they_can_arrive(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    form = twilio._form
    monkeypatch.setattr(twilio, "_form", lambda message: asked.append(message.status_callback) or form(message))

    sms()
    monkeypatch.setenv("PUBLIC_API_URL", "")
    sms("job-2")

    called = urlsplit(asked[0])
    assert f"{called.scheme}://{called.netloc}{called.path}" == "https://api.example.com/webhooks/twilio"
    assert parse_qs(called.query) == {"job": ["job-1"], "effect": ["job-1"]}
    assert asked[1] == ""


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"to": "015112345678"}, "to"),
        ({"to": "+0151123456"}, "to"),
        ({"to": "+12345"}, "to"),
        ({"to": "+1234567890123456"}, "to"),
        ({"to": "+49151\uff11\uff12\uff13\uff14\uff15"}, "to"),  # digits, but not these
        ({"to": f"whatsapp:{CARA}"}, "to"),
        ({"text": ""}, "text"),
        ({"text": "x" * 1601}, "text"),
        ({"from": "+15005550006"}, "from"),
    ],
)
def test_a_text_that_breaks_a_rule_is_not_enqueued(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused_:
        SendSms.model_validate(SMS | changes)

    assert [error["loc"] for error in refused_.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"to": CARA}, None),
        ({"to": CARA, "text": "Hello", "content_sid": TEMPLATE}, None),
        ({"to": CARA, "text": "Hello", "content_variables": {"1": "Cara"}}, None),
        ({"to": CARA, "content_sid": "HX1"}, "content_sid"),
        ({"to": CARA, "content_sid": TEMPLATE, "content_variables": {"1": 5}}, "content_variables"),
    ],
)
def test_a_whatsapp_message_is_a_text_or_a_template(payload: dict[str, Any], field: str | None) -> None:
    with pytest.raises(ValidationError) as refused_:
        SendWhatsApp.model_validate(payload)

    assert [error["loc"][:1] for error in refused_.value.errors()] == [(field,) if field else ()]
