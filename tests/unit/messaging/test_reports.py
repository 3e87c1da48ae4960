"""POST /webhooks/twilio: believed only under Twilio's signature; whatever comes twice or late, nothing goes back."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adbot_queue.core import aws, telemetry
from adbot_queue.core.errors import BadSignature
from adbot_queue.messaging import sent_messages as messages
from adbot_queue.messaging.sent_messages import STEPS, Messages
from adbot_queue.providers import twilio
from local.stand_ins import whatsapp
from local.stand_ins.twilio import signature
from tests.builders.clocks import NOW, FakeClock
from tests.builders.payments import configure, empty, rows, secret
from tests.builders.processors import run
from tests.builders.providers import Peers, connect
from tests.builders.world import Answer, AwsHarness, world

TOKEN = "1" * 32
SID = f"SM{'5' * 32}"
ROUTE = "POST /webhooks/twilio"
ABOUT = {"job": "job-1", "effect": "job-1"}
sids = (f"SM{number:032x}" for number in itertools.count())


@pytest.fixture(scope="module", autouse=True)
def on() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture(autouse=True)
def _empty(on: AwsHarness) -> None:
    empty()
    telemetry.metrics.clear_metrics()


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, on: AwsHarness) -> Peers:
    monkeypatch.setattr(telemetry, "flush", lambda: None)
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    made = connect(monkeypatch)
    made.stand_ins.twilio.call = lambda url, body, headers: (
        post(on, body.decode(), headers["x-twilio-signature"], url.partition("?")[2]).status
    )
    return made


def post(on: AwsHarness, body: str, signed: str | None, query: str = urlencode(ABOUT)) -> Answer:
    """As an HTTP API hands over a form: base64."""
    return on.http(
        "delivery",
        ROUTE,
        body=base64.b64encode(body.encode()).decode(),
        base64=True,
        headers={"X-Twilio-Signature": signed} if signed is not None else {},
        query=dict(pair.split("=") for pair in query.split("&")) if query else None,
    )


def report(on: AwsHarness, state: str = "sent", query: str = urlencode(ABOUT), **fields: str) -> Answer:
    form = {"MessageSid": SID, "MessageStatus": state, "To": "+4915112345678"} | fields
    url = f"https://api.example.com/webhooks/twilio{'?' if query else ''}{query}"
    return post(on, urlencode(form), signature(url, form, TOKEN), query)


def shown(on: AwsHarness, message: str = SID) -> Any:
    return on.http("delivery", "GET /messages/{id}", role="viewer", id=message).json


# The signature


def test_the_signature_is_the_one_that_twilio_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """https://www.twilio.com/docs/usage/security#validating-requests"""
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+12349013030",
        "Digits": "1234",
        "From": "+12349013030",
        "To": "+18005551212",
    }
    published = "0/KCTR6DLpKmkAf8muzZqo1nDgQ="
    monkeypatch.setattr(twilio.registry, "credential", lambda _provider, _field: "12345")

    assert signature(url, form, "12345") == published
    twilio.verify(url, form.items(), published)
    with pytest.raises(BadSignature):
        twilio.verify(url, {**form, "Digits": "1235"}.items(), published)


@pytest.mark.parametrize("signed", [None, "", "nonsense", "grüße", signature("https://evil.example", {}, TOKEN)])
def test_what_twilio_did_not_sign_is_refused_and_changes_nothing(on: AwsHarness, signed: str | None) -> None:
    answer = post(on, urlencode({"MessageSid": SID, "MessageStatus": "delivered"}), signed)

    assert (answer.status, answer.problem) == (400, "bad-signature")
    assert on.http("delivery", "GET /messages/{id}", role="viewer", id=SID).status == 404


def test_the_signature_covers_job_and_state(on: AwsHarness) -> None:
    form = {"MessageSid": SID, "MessageStatus": "sent"}
    signed = signature(f"https://api.example.com/webhooks/twilio?{urlencode(ABOUT)}", form, TOKEN)

    assert post(on, urlencode(form), signed, urlencode(ABOUT | {"job": "job-2"})).status == 400
    assert post(on, urlencode(form | {"MessageStatus": "delivered"}), signed).status == 400
    assert post(on, urlencode(form | {"Body": ""}), signed).status == 400
    assert post(on, urlencode(form), signed).status == 204


def test_without_a_public_address_the_one_counts_that_was_called(
    on: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBLIC_API_URL", "")
    form = {"MessageSid": SID, "MessageStatus": "sent"}
    url = f"https://abc.execute-api.eu-central-1.amazonaws.com/webhooks/twilio?{urlencode(ABOUT)}"

    assert post(on, urlencode(form), signature(url, form, TOKEN)).status == 204


def test_without_an_auth_token_nothing_is_believed(on: AwsHarness) -> None:
    with secret("twilio", '{"auth_token": ""}'):
        answer = report(on)
    assert (answer.status, answer.problem) == (503, "not-configured")


# What is reported


def test_a_message_is_followed_from_its_job_to_the_phone(on: AwsHarness, peers: Peers) -> None:
    sid = run("send-sms", {"to": "+4915112345678", "text": "Hello"})["sid"]
    assert shown(on, sid)["state"] == "queued"

    peers.report()

    for name in (sid, "job-1"):
        found = shown(on, name)
        assert (found["message_id"], found["job_id"], found["state"]) == (sid, "job-1", "delivered")
    assert telemetry.metrics.metric_set["MessagesDelivered"]["Value"] == [1]


@pytest.mark.parametrize(
    ("payload", "state", "code", "reason"),
    [
        ({"text": "fate=undelivered:30003"}, "undelivered", 30003, "the phone is switched off or out of reach"),
        ({"text": "fate=failed:30999"}, "failed", 30999, None),
        ({"text": "fate=read"}, "read", None, None),
    ],
)
def test_a_message_that_does_not_arrive_says_why(
    on: AwsHarness, peers: Peers, payload: dict[str, str], state: str, code: int | None, reason: str | None
) -> None:
    sid = run("send-sms", {"to": "+4915112345678"} | payload)["sid"]
    peers.report()

    found = shown(on, sid)
    assert (found["state"], found["error_code"], found["reason"]) == (state, code, reason)
    assert ("MessagesLost" in telemetry.metrics.metric_set) == (state != "read")


def test_a_whatsapp_text_outside_the_window_fails_later_and_a_template_does_not(on: AwsHarness, peers: Peers) -> None:
    outside = {"to": "+4915112345678"}
    text = run("send-whatsapp", outside | {"text": "Hello"}, key="text")["sid"]
    by_template = {"content_sid": whatsapp.FOLLOW_UP, "content_variables": {"1": "Cara"}}
    template = run("send-whatsapp", outside | by_template, key="template")["sid"]
    peers.report()

    assert (shown(on, text)["state"], shown(on, text)["error_code"]) == ("failed", 63016)
    assert "24 hours" in shown(on, text)["reason"]
    assert shown(on, template)["state"] == "delivered"


def test_a_report_that_overtakes_its_own_jobs_answer_stays(on: AwsHarness) -> None:
    report(on, "delivered")

    assert messages.from_env().sent(SID, "queued", "job-1", "job-1")
    assert shown(on)["state"] == "delivered"


def test_a_message_belongs_to_the_effect_that_was_first(on: AwsHarness) -> None:
    assert messages.from_env().sent(SID, "queued", "job-1", "job-1")
    assert not messages.from_env().sent(SID, "queued", "job-2", "job-2")
    report(on, "delivered", urlencode({"job": "job-2", "effect": "job-2"}))

    assert (shown(on)["job_id"], shown(on)["state"]) == ("job-1", "queued")
    assert on.http("delivery", "GET /messages/{id}", role="viewer", id="job-2").status == 404


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.sampled_from([state for state in STEPS if STEPS[state] != 4] + ["delivered"]), min_size=1))
def test_in_whatever_order_and_however_often_the_furthest_state_stays(on: AwsHarness, order: list[str]) -> None:
    known, sid = Messages(aws.dynamodb(), on.env["SYSTEM_TABLE"]), next(sids)
    for state in order:
        known.reported(sid, state, "job-1", "job-1")

    furthest = max(STEPS[state] for state in order)
    assert STEPS[known.delivery(sid).state] == furthest


@pytest.mark.parametrize("order", list(itertools.permutations(["delivered", "undelivered", "failed"], 2)))
def test_of_two_ends_the_first_stays(on: AwsHarness, order: tuple[str, str]) -> None:
    for state in order:
        report(on, state)
    assert shown(on)["state"] == order[0]


def test_what_comes_twice_is_counted_once(on: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr(telemetry, "count", lambda name, _value=1: counted.append(name))
    for state in ("sent", "delivered", "delivered", "sent"):
        assert report(on, state).status == 204

    assert counted.count("MessagesDelivered") == 1


@pytest.mark.parametrize(
    ("state", "query"), [("levitating", urlencode(ABOUT)), ("sent", ""), ("sent", urlencode({"job": "job-1"}))]
)
def test_what_is_not_known_here_is_taken_and_ignored(on: AwsHarness, state: str, query: str) -> None:
    assert report(on, state, query).status == 204
    assert on.http("delivery", "GET /messages/{id}", role="viewer", id=SID).status == 404


def test_a_form_that_cannot_be_read_is_refused(on: AwsHarness) -> None:
    assert post(on, "x=" + "y" * 20_000, "s").status == 413
    assert post(on, "&".join("x=1" for _ in range(200)), "s").problem == "malformed-body"
    assert report(on, "").problem == "malformed-body"


def test_no_phone_number_is_kept_and_all_of_it_goes_after_30_days(on: AwsHarness) -> None:
    clock = FakeClock()
    known = Messages(aws.dynamodb(), on.env["SYSTEM_TABLE"], clock)
    known.begin("job-1")
    known.sent(SID, "queued", "job-1", "job-1")

    kept = [row for pk in (f"MESSAGE#{SID}", "SENDING#job-1") for row in rows(on.env["SYSTEM_TABLE"], pk)]
    assert len(kept) == 2
    assert {row["expires_at"] for row in kept} == {NOW // 1000 + 30 * 86_400}
    assert "+49" not in json.dumps(kept, default=str)
