"""A provider's report is read by the fields that count; a field that is missing, empty or foreign decides nothing.

Every kind of event is taken whole, and each field but those that count is taken away or replaced by what other programs
and other times put there. What the event is about must be written all the same.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.exceptions import ClientError

from adbot_queue.core import aws, telemetry
from adbot_queue.messaging import sent_messages as messages
from adbot_queue.messaging import suppressions
from adbot_queue.messaging.sendgrid_events import read, unreadable
from adbot_queue.providers import twilio
from local.stand_ins import sendgrid_events
from local.stand_ins.twilio import signature
from tests.builders.payments import SENDGRID_KEY, configure, empty, rows
from tests.builders.providers import connect
from tests.builders.world import Answer, AwsHarness, world

NOW_S = 1_795_000_000
ADDRESS = "Cara@Example.com"
TOKEN = "1" * 32
SID = f"SM{'5' * 32}"
MISSING = object()
FOREIGN: dict[str, Any] = {
    "missing": MISSING,
    "empty": "",
    "null": None,
    "zero": 0,
    "negative": -1,
    "number": 42,
    "fraction": 1795000000.5,
    "huge": 10**25,
    "true": True,
    "words": "user 5 of another program",
    "umlauts": "grüße \ud800",
    "iso": "2026-11-27T20:40:00Z",
    "list": ["bounce", {"a": 1}],
    "object": {"error": {"code": None}},
    "very long": "x" * 200_000,
}
BASE = {
    "email": ADDRESS,
    "timestamp": NOW_S,
    "smtp-id": "<m-1@geopod-ismtpd-1>",
    "category": ["tickets"],
    "sg_event_id": "e-1",
    "sg_message_id": "m-1.recvd-1-1-6089EA4A-56.0",
    "job": "job-1",
    "key": "job-1",
    "ip": "192.0.2.1",
    "useragent": "Mozilla",
    "pool": {"name": "default", "id": 210},
}
KINDS: dict[str, dict[str, Any]] = {
    "bounce": {
        "event": "bounce",
        "type": "bounce",
        "status": "5.1.1",
        "reason": "550 5.1.1 unknown",
        "bounce_classification": "Invalid Address",
        "tls": 1,
    },
    "spamreport": {"event": "spamreport", "type": None},
    "unsubscribe": {"event": "unsubscribe", "type": None},
}
COUNTS = {"email", "event"}
FIELDS = [(kind, field) for kind, event in KINDS.items() for field in sorted((BASE | event).keys() - COUNTS)]


def altered(kind: str, field: str, value: Any) -> dict[str, Any]:
    event = BASE | KINDS[kind]
    return {name: was for name, was in event.items() if name != field} | ({} if value is MISSING else {field: value})


@pytest.fixture(scope="module", autouse=True)
def on() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture(autouse=True)
def _empty(on: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    empty()
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    telemetry.metrics.clear_metrics()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for module in ("sendgrid_webhook", "service", "twilio_webhook.telemetry"):
        monkeypatch.setattr(f"adbot_queue.messaging.{module}.count", lambda name, value=1: found.append((name, value)))
    return found


def post(on: AwsHarness, raw: bytes) -> Answer:
    headers = sendgrid_events.signed(raw, SENDGRID_KEY, int(time.time()))
    return on.http("delivery", "POST /webhooks/sendgrid", body=raw.decode("latin-1"), headers=headers, base64=False)


def batch(*events: Any) -> bytes:
    return json.dumps(events).encode()


def suppressed(address: str = ADDRESS) -> str | None:
    return suppressions.from_env().reason("email", address)


# SendGrid


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_a_suppression_is_read_whatever_another_field_holds(kind: str, field: str) -> None:
    found = {name: read(altered(kind, field, value), NOW_S * 1000) for name, value in FOREIGN.items()}

    unwanted = {name: one.unwanted for name, one in found.items() if one and one.unwanted}
    assert unwanted.keys() == FOREIGN.keys()
    assert {(one.address, one.reason) for one in unwanted.values()} == {(ADDRESS, kind)}
    assert all(0 < one.at < 10**14 for one in unwanted.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", FOREIGN)
def test_a_suppression_is_written_although_every_other_field_is_foreign(on: AwsHarness, kind: str, value: str) -> None:
    event = {name: FOREIGN[value] for name in BASE | KINDS[kind] if FOREIGN[value] is not MISSING}

    answer = post(on, batch(event | {"event": kind, "email": ADDRESS}))

    assert (answer.status, suppressed()) == (200, kind)


def test_a_blocked_mail_suppresses_nothing_and_a_block_is_no_property_of_other_kinds() -> None:
    blocked = read(altered("bounce", "type", "blocked"))
    unsubscribed = read(altered("unsubscribe", "type", "blocked"))

    assert blocked
    assert blocked.unwanted is None
    assert unsubscribed
    assert unsubscribed.unwanted


@pytest.mark.parametrize(
    "field", ["timestamp", "sg_event_id", "type", "status", "reason", "category", "bounce_classification"]
)
@pytest.mark.parametrize("value", FOREIGN)
def test_the_report_of_a_message_is_read_whatever_an_optional_field_holds(field: str, value: str) -> None:
    found = read(altered("bounce", field, FOREIGN[value]), NOW_S * 1000)

    assert found
    assert found.report
    assert (found.report.job, found.report.key, found.report.message_id) == ("job-1", "job-1", "m-1")
    assert found.report.report.status == "bounced"


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        (NOW_S, NOW_S * 1000),
        (str(NOW_S), NOW_S * 1000),
        (f" {NOW_S}\n", NOW_S * 1000),
        (NOW_S + 0.25, NOW_S * 1000 + 250),
        (NOW_S + 0.9999, NOW_S * 1000 + 999),
        (f"{NOW_S}.123999", NOW_S * 1000 + 123),
        (None, 7),
        ("soon", 7),
        (0, 7),
        (-5, 7),
        (NOW_S * 1000, 7),
        (float("inf"), 7),
        (float("nan"), 7),
        ("9" * 5000, 7),
        (10**400, 7),
        (True, 7),
        ([NOW_S], 7),
    ],
)
def test_a_time_that_cannot_be_read_is_the_time_of_the_batch(timestamp: Any, at: int) -> None:
    found = read(altered("spamreport", "timestamp", timestamp), 7)

    assert found
    assert found.unwanted
    assert found.unwanted.at == at


@pytest.mark.parametrize(
    "reported",
    [
        "cara@münchen.example",
        "CARA@MÜNCHEN.EXAMPLE",
        "  Cara@münchen.example \r\n",
        "cara@mu\u0308nchen.example",
        "cara@xn--mnchen-3ya.example",
        "cara@münchen.example.",
        "\u200bcara@münchen.example\ufeff",
        "Cara <cara@münchen.example>",
    ],
)
def test_an_address_is_suppressed_in_every_spelling(on: AwsHarness, reported: str) -> None:
    post(on, batch({"event": " Bounce ", "email": reported}))

    for sent_to in ("cara@münchen.example", "Cara@xn--mnchen-3ya.example", "cara@mu\u0308nchen.example"):
        assert suppressed(sent_to) == "bounce"
    assert suppressed("dora@münchen.example") is None


POISON: dict[str, bytes] = {
    "text": b'"text"',
    "null": b"null",
    "list": b"[[]]",
    "empty": b"{}",
    "no event": b'{"email": "dora@example.com"}',
    "event is a list": b'{"event": ["bounce"], "email": "dora@example.com"}',
    "no address": b'{"event": "bounce"}',
    "address is null": b'{"event": "bounce", "email": null}',
    "address is a list": b'{"event": "unsubscribe", "email": ["dora@example.com"]}',
    "address is no address": b'{"event": "spamreport", "email": "dora"}',
    "address of half a letter": b'{"event": "bounce", "email": "d\\ud800ra@example.com"}',
    "address in another encoding": b'{"event": "bounce", "email": "d\xf6ra@example.com"}',
    "very long address": b'{"event": "bounce", "email": "' + b"x" * 100_000 + b'@example.com"}',
}


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_unreadable_event_is_counted_and_the_others_of_its_batch_are_written(
    on: AwsHarness, counted: list[tuple[str, int]], capsys: pytest.CaptureFixture[str], poison: str, place: int
) -> None:
    good = [
        json.dumps(BASE | KINDS[kind] | {"email": f"{kind}@example.com"}).encode() for kind in ("bounce", "spamreport")
    ]
    good.insert(place, POISON[poison])

    raw = b"[" + b",".join(good) + b"]"
    headers = sendgrid_events.signed(raw, SENDGRID_KEY, int(time.time()))
    answer = on.http(
        "delivery", "POST /webhooks/sendgrid", body=base64.b64encode(raw).decode(), headers=headers, base64=True
    )

    assert answer.status == 200
    assert (suppressed("bounce@example.com"), suppressed("spamreport@example.com")) == ("bounce", "spamreport")
    assert ("EventsUnreadable", 1) in counted
    assert "example.com" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (BASE | KINDS["bounce"], None),
        ({"event": "open", "email": ADDRESS}, None),
        ({"event": "account_status_change", "type": "compliance_suspend"}, None),
        ({"event": "delivered", "email": ADDRESS, "job": "user 5"}, None),
        ({"event": "delivered"}, None),
        ("text", "event"),
        ({}, "event"),
        ({"event": 5}, "event"),
        ({"event": "unsubscribe", "email": 5}, "email"),
        (BASE | {"event": "delivered", "sg_message_id": ""}, "sg_message_id"),
    ],
)
def test_what_is_missing_of_an_event_is_named(event: Any, field: str | None) -> None:
    assert unreadable(event) == field


def test_a_number_too_long_for_an_integer_spoils_no_batch(on: AwsHarness) -> None:
    raw = batch(BASE | KINDS["bounce"]).replace(str(NOW_S).encode(), b"9" * 6000)

    assert (post(on, raw).status, suppressed()) == (200, "bounce")


@pytest.mark.parametrize("operation", ["update_item", "put_item"])
def test_one_event_that_cannot_be_written_stops_no_other_and_the_batch_is_not_acknowledged(
    on: AwsHarness, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    events = [
        BASE | KINDS["bounce"] | {"email": f"{name}@example.com", "job": name, "key": name} for name in ("a", "b", "c")
    ]
    write, failed = getattr(aws.dynamodb(), operation), []

    def fail_once(**request: Any) -> Any:
        if not failed:
            failed.append(1)
            raise ClientError({"Error": {"Code": "InternalServerError", "Message": ""}}, operation)
        return write(**request)

    with monkeypatch.context() as broken:
        broken.setattr(aws.dynamodb(), operation, fail_once)
        assert post(on, batch(*events)).status >= 500

    table = on.env["SYSTEM_TABLE"]
    written = len(rows(table, "SUPPRESSED#")), len(rows(table, "DELIVERY#"))
    assert written == ((2, 3) if operation == "update_item" else (3, 2))
    assert post(on, batch(*events)).status == 200
    assert (len(rows(table, "SUPPRESSED#")), len(rows(table, "DELIVERY#"))) == (3, 3)


def test_a_delivery_that_another_version_wrote_harms_no_other(on: AwsHarness, counted: list[tuple[str, int]]) -> None:
    post(on, batch(*({**BASE, "event": "delivered", "job": name} for name in ("old", "new"))))
    aws.dynamodb().update_item(
        TableName=on.env["SYSTEM_TABLE"],
        Key={"pk": {"S": "DELIVERY#new"}, "sk": {"S": "m-1"}},
        UpdateExpression="SET furthest.#status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": "teleported"}},
    )
    before = rows(on.env["SYSTEM_TABLE"], "DELIVERY#new")

    answer = post(on, batch(*({**BASE, **KINDS["bounce"], "job": name} for name in ("new", "old"))))

    shown = {
        name: on.http("delivery", "GET /deliveries/{job_id}", role="viewer", job_id=name).json["items"]
        for name in ("old", "new")
    }
    assert answer.status == 200
    assert [entry["status"] for entry in shown["old"]] == ["bounced"]
    assert shown["new"] == []
    assert rows(on.env["SYSTEM_TABLE"], "DELIVERY#new") == before
    assert ("DeliveriesUnreadable", 1) in counted


# Twilio

ABOUT = {"job": "job-1", "effect": "job-1"}
FORM = {
    "SmsSid": SID,
    "SmsStatus": "undelivered",
    "MessageStatus": "undelivered",
    "MessageSid": SID,
    "To": "+4915112345678",
    "AccountSid": f"AC{'0' * 32}",
    "From": "+15005550006",
    "ApiVersion": "2010-04-01",
    "ErrorCode": "30003",
    "RawDlrDoneDate": "2611272040",
    "ChannelToAddress": "whatsapp:+49151XXXXX",
}
FOREIGN_TEXT = {name: value for name, value in FOREIGN.items() if isinstance(value, str) and len(value) < 100} | {
    "missing": MISSING,
    "not a number": "NaN",
    "other digits": "\uff13\uff10\uff10\uff10\uff13",
    "long number": "9" * 6000,
    "json": '{"code": 30003}',
}


def report(on: AwsHarness, form: Mapping[str, str], given: str = urlencode(ABOUT), came: str | None = None) -> Answer:
    """Twilio signs the address as it was given; the request may come with its parameters in another order."""
    signed = signature(f"https://api.example.com/webhooks/twilio{'?' if given else ''}{given}", form, TOKEN)
    query = given if came is None else came
    return on.http(
        "delivery",
        "POST /webhooks/twilio",
        body=urlencode(form),
        headers={"X-Twilio-Signature": signed},
        query=dict(pair.split("=") for pair in query.split("&")) if query else None,
    )


def state(sid: str = SID) -> tuple[str, int | None]:
    found = messages.from_env().delivery(sid)
    return found.state, found.error_code


@pytest.mark.parametrize("field", sorted(FORM.keys() - {"MessageSid", "MessageStatus"}))
def test_a_status_is_read_whatever_an_optional_parameter_holds(on: AwsHarness, field: str) -> None:
    for number, text in enumerate(FOREIGN_TEXT.values()):
        sid = f"SM{number:032x}"
        form = {name: was for name, was in FORM.items() if name != field} | {"MessageSid": sid}
        form |= {} if text is MISSING else {field: text.encode("utf-8", "replace").decode()}

        assert report(on, form).status == 204, text
        assert state(sid) == ("undelivered", None if field == "ErrorCode" else 30003), text


def test_a_status_under_its_older_names_is_read(on: AwsHarness) -> None:
    form = {name: value for name, value in FORM.items() if name not in {"MessageSid", "MessageStatus"}}

    assert report(on, form).status == 204
    assert state() == ("undelivered", 30003)


def test_parameters_that_twilio_adds_are_signed_and_change_nothing(on: AwsHarness) -> None:
    assert report(on, FORM | {f"New{number}": "x" for number in range(60)}).status == 204
    assert state() == ("undelivered", 30003)


def test_parameters_of_the_address_may_come_in_another_order(on: AwsHarness) -> None:
    assert report(on, FORM, came="effect=job-1&job=job-1").status == 204
    assert state() == ("undelivered", 30003)


def test_another_order_makes_no_other_job_believed(on: AwsHarness) -> None:
    assert report(on, FORM, came="effect=job-1&job=job-2").problem == "bad-signature"


@pytest.mark.parametrize("given", ["", "job=job-1", "effect=job-1", "job=&effect=job-1"])
def test_a_message_that_its_sender_wrote_down_needs_no_parameters(on: AwsHarness, given: str) -> None:
    messages.from_env().sent(SID, "queued", "job-1", "job-1")

    assert report(on, FORM, given=given).status == 204
    assert state() == ("undelivered", 30003)


@pytest.mark.parametrize("unknown", ["levitating", "x" * 3000, "{}"])
def test_an_unknown_status_is_counted_and_the_known_one_stays(
    on: AwsHarness, counted: list[tuple[str, int]], unknown: str
) -> None:
    report(on, FORM)

    assert report(on, FORM | {"MessageStatus": unknown}).status == 204
    assert state() == ("undelivered", 30003)
    assert ("DeliveriesIgnored", 1) in counted


@pytest.mark.parametrize("sid", ["", "x" * 3000, "SM 5", "grüße"])
def test_a_report_of_no_message_is_refused_and_counted(
    on: AwsHarness, counted: list[tuple[str, int]], sid: str
) -> None:
    form = {name: value for name, value in FORM.items() if name != "SmsSid"} | {"MessageSid": sid}

    assert report(on, form).problem == "malformed-body"
    assert ("EventsUnreadable", 1) in counted


@pytest.mark.parametrize("status", [MISSING, None, "", 5, "levitating"])
def test_a_message_that_twilio_took_is_taken_whatever_its_answer_says_of_the_status(
    monkeypatch: pytest.MonkeyPatch, status: Any
) -> None:
    peers = connect(monkeypatch)
    answer = {"sid": SID} | ({} if status is MISSING else {"status": status})
    peers.instead.append(lambda: (201, answer))

    assert twilio.send(twilio.Message("+4915112345678", "Hello")).sid == SID


@pytest.mark.parametrize("listed", [{}, {"messages": None}, {"messages": [None, "x", {"direction": "outbound-api"}]}])
def test_a_list_of_messages_that_says_nothing_holds_none(monkeypatch: pytest.MonkeyPatch, listed: Any) -> None:
    peers = connect(monkeypatch)
    peers.instead.append(lambda: (200, listed))

    assert twilio.find(twilio.Message("+4915112345678", "Hello"), 0) == []
