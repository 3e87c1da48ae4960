"""The stand-in of Twilio does what Twilio and WhatsApp do: windows, templates, opt-outs, people without a phone."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest

from adbot_queue.core.errors import BadSignature
from adbot_queue.providers import registry, twilio
from local.stand_ins import whatsapp
from local.stand_ins.stub_response import StubResponse
from local.stand_ins.twilio import Twilio
from local.stand_ins.whatsapp import FAILURES, FIRST, FOLLOW_UP, PAUSED, PENDING, REJECTED, WINDOW_S, bsuid

ACCOUNT, TOKEN = f"AC{'0' * 32}", "1" * 32
MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
BASIC = "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
INBOUND, REPORTS = "https://api.example.com/webhooks/twilio/inbound", "https://api.example.com/reports"
CARA, ADA = "+4915112345678", "+14155550100"


@dataclass
class Phones:
    """The stand-in, and what it posts to us."""

    clock: float = 1_000_000.0
    posted: list[tuple[str, dict[str, str], str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        def call(url: str, body: bytes, headers: dict[str, str]) -> int:
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            self.posted.append((url, form, headers["x-twilio-signature"]))
            return 200

        self.twilio = Twilio(call, lambda report: report(), lambda: self.clock, lambda: INBOUND)

    def ask(self, method: str, path: str, body: str = "") -> StubResponse:
        form = "application/x-www-form-urlencoded"
        return self.twilio.respond(method, path, {"authorization": BASIC, "content-type": form}, body)

    def send(self, to: str = CARA, **form: str) -> StubResponse:
        content = form or {"ContentSid": FOLLOW_UP, "ContentVariables": '{"1": "Cara"}'}
        common = {"To": f"whatsapp:{to}", "From": "whatsapp:+15005550006", "StatusCallback": REPORTS}
        return self.ask("POST", MESSAGES, urlencode(common | content))

    def hear(self, phone: str = CARA, **said: Any) -> dict[str, Any]:
        reply = self.twilio.respond("POST", f"/people/{phone}/messages", {}, json.dumps(said))
        assert reply.status == 200, reply.body
        heard: dict[str, Any] = reply.body
        return heard

    def end(self) -> tuple[str, int | None]:
        """How the latest message ended."""
        message = self.twilio.messages[-1]
        return message["status"], message["error_code"]

    @property
    def reported(self) -> list[str]:
        return [form["MessageStatus"] for url, form, _ in self.posted if url == REPORTS]


@pytest.fixture
def phones() -> Phones:
    made = Phones()
    made.ask("GET", MESSAGES)  # by which the stand-in knows the account
    return made


@pytest.mark.parametrize("code", FAILURES)
def test_a_number_that_ends_in_a_code_fails_with_it(phones: Phones, code: int) -> None:
    assert phones.send(f"+49151000{code}").status == 201
    assert phones.end() == (FAILURES[code], code)
    assert phones.posted[-1][1]["ErrorCode"] == str(code)


@pytest.mark.parametrize("code", whatsapp.REFUSED)
def test_a_number_that_ends_in_a_refusal_is_refused_with_it(phones: Phones, code: int) -> None:
    reply = phones.send(f"+49151000{code}")

    assert (reply.status, reply.body["code"]) == (400, code)
    assert not phones.twilio.messages


@pytest.mark.parametrize(
    ("code", "reports"),
    [
        (whatsapp.LOST, []),
        (whatsapp.TWICE, ["sent", "sent", "delivered", "delivered"]),
        (whatsapp.REVERSED, ["delivered", "sent"]),
    ],
)
def test_reports_get_lost_come_twice_and_in_another_order(phones: Phones, code: int, reports: list[str]) -> None:
    phones.send(f"+49151000{code}")

    assert phones.reported == reports
    assert phones.end() == ("delivered", None)


def test_a_text_passes_only_within_a_day_of_the_persons_last_message(phones: Phones) -> None:
    phones.send(Body="Hello")
    assert phones.end() == ("failed", 63016)

    phones.hear(text="Hi")
    phones.clock += WINDOW_S - 1
    phones.send(Body="Hello")
    assert phones.end() == ("delivered", None)

    phones.clock += 1
    phones.send(Body="Hello")
    assert phones.end() == ("failed", 63016)


@pytest.mark.parametrize(
    ("to", "sid", "variables", "end"),
    [
        (CARA, FIRST, {"1": "Cara", "2": "bots"}, ("delivered", None)),
        (CARA, FIRST, {"1": "Cara"}, ("failed", 63013)),
        (CARA, FIRST, {"1": "Cara", "2": " "}, ("failed", 63013)),
        (CARA, FIRST, {"1": "Cara", "2": "one\ntwo"}, ("failed", 63013)),
        (CARA, FIRST, {"1": "Cara", "2": "a     b"}, ("failed", 63013)),
        (ADA, FIRST, {"1": "Ada", "2": "bots"}, ("undelivered", 63049)),
        (ADA, FOLLOW_UP, {"1": "Ada"}, ("delivered", None)),
        (CARA, PAUSED, {"1": "Cara"}, ("failed", 63041)),
        (CARA, REJECTED, {"1": "Cara"}, ("failed", 63040)),
        (CARA, PENDING, {"1": "Cara"}, ("failed", 63016)),
    ],
)
def test_a_template_passes_as_whatsapp_lets_it(
    phones: Phones, to: str, sid: str, variables: dict[str, str], end: tuple[str, int | None]
) -> None:
    phones.send(to, ContentSid=sid, ContentVariables=json.dumps(variables))

    assert phones.end() == end


def test_an_unknown_template_is_refused(phones: Phones) -> None:
    assert phones.send(ContentSid=f"HX{'9' * 32}").body["code"] == 21655


def test_a_message_of_a_person_is_signed_over_the_address_it_is_posted_to(
    phones: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "credential", lambda _provider, _field: TOKEN)
    phones.hear(text="Grüße & 100%", times=2)

    first, again = phones.posted
    assert first == again
    url, form, signed = first
    assert (url, form["Body"], form["From"], form["WaId"]) == (INBOUND, "Grüße & 100%", f"whatsapp:{CARA}", CARA[1:])
    twilio.verify(url, form.items(), signed)
    with pytest.raises(BadSignature):
        twilio.verify(url, (form | {"Body": "STOP"}).items(), signed)


def test_a_person_may_write_without_a_phone_and_can_be_answered(phones: Phones) -> None:
    user = bsuid(CARA)
    assert phones.send(user, Body="Hello").body["code"] == 21211

    heard = phones.hear(text="Hi", hides_phone=True)
    form = phones.posted[-1][1]
    assert (heard["from"], form["From"], form["ExternalUserId"]) == (f"whatsapp:{user}",) * 3
    assert "WaId" not in form
    assert CARA[1:] not in json.dumps(form)
    assert phones.send(user, Body="Hello").status == 201
    assert phones.end() == ("delivered", None)


def test_a_delivery_report_tells_the_phones_id(phones: Phones) -> None:
    phones.send()

    assert {form["ExternalUserId"] for _, form, _ in phones.posted} == {f"whatsapp:{bsuid(CARA)}"}


def test_twilio_keeps_messages_from_a_person_only_with_advanced_opt_out(phones: Phones) -> None:
    phones.hear(text="STOP")
    assert "OptOutType" not in phones.posted[-1][1]
    assert phones.send().status == 201

    phones.hear(text=" stop ", advanced=True)
    assert phones.posted[-1][1]["OptOutType"] == "STOP"
    assert phones.send().body["code"] == 21610

    phones.hear(text="START", advanced=True)
    assert phones.send().status == 201


def test_a_button_carries_its_payload(phones: Phones) -> None:
    phones.hear(text="No more messages", button="STOP")

    form = phones.posted[-1][1]
    assert (form["ButtonPayload"], form["ButtonText"], form["Body"]) == ("STOP", "No more messages", "No more messages")


def test_a_person_cannot_write_before_an_account_is_known() -> None:
    unknown = Phones()
    assert unknown.twilio.respond("POST", f"/people/{CARA}/messages", {}, "{}").status == 409


def test_templates_are_listed_page_by_page_with_their_approval(phones: Phones) -> None:
    phones.twilio.respond("PUT", f"/templates/{FIRST}", {}, '{"status": "disabled"}')
    shown: dict[str, str] = {}
    page = 0
    while True:
        answer = phones.ask("GET", "/v1/ContentAndApprovals", urlencode({"PageSize": 4, "Page": page})).body
        shown |= {one["sid"]: one["approval_requests"]["status"] for one in answer["contents"]}
        if not answer["meta"]["next_page_url"]:
            break
        page += 1

    assert page == 1
    assert shown[FIRST] == "disabled"
    assert (shown[FOLLOW_UP], shown[PAUSED], shown[PENDING]) == ("approved", "paused", "pending")
    one = phones.ask("GET", f"/v1/Content/{PAUSED}/ApprovalRequests").body
    assert (one["sid"], one["whatsapp"]["status"]) == (PAUSED, "paused")
    assert phones.ask("GET", f"/v1/Content/HX{'9' * 32}/ApprovalRequests").status == 404
