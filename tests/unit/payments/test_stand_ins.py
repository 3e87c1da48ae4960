"""The stand-ins behave as the providers do, asked through the providers' own libraries."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import stripe
from python_http_client.exceptions import HTTPError
from sendgrid import EventWebhook, SendGridAPIClient
from werkzeug.test import Client

from adbot_queue.payments import checkout
from adbot_queue.payments.plan import Plan
from adbot_queue.providers import stripe_client
from local.stand_ins import sendgrid_events
from local.stand_ins.app import StandIns
from local.stand_ins.sign import webhook_event
from tests.builders.payments import SAMPLES, SECRET, deliver, happen
from tests.builders.providers import SENDGRID_BASE, STRIPE_BASE, Peers, connect
from tests.builders.world import AwsHarness, FakeContext

PLAN = Plan("starter", "Starter", "standard", 5, 4900, "eur")
GOOD = checkout.params_of(PLAN, "cara", "https://x.test/ok", "https://x.test/no")
PRICE = {"currency": "eur", "unit_amount": 4900, "product_data": {"name": "Starter"}}


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Peers:
    return connect(monkeypatch)


def create(params: dict[str, Any], key: str | None = None, api_key: str = "sk_test_1") -> Any:
    client = stripe_client.make(api_key, STRIPE_BASE)
    return client.v1.checkout.sessions.create(params, {"idempotency_key": key} if key else {})  # type: ignore[arg-type]


def test_stripe_makes_a_session_that_can_be_read(peers: Peers) -> None:
    made = create(GOOD)
    found = stripe_client.make("sk_test_1", STRIPE_BASE).v1.checkout.sessions.retrieve(made.id)
    assert (found.object, found.payment_status, found.status, found.amount_total) == (
        "checkout.session",
        "unpaid",
        "open",
        4900,
    )
    assert found.metadata is not None
    assert found.metadata["required_sessions"] == "5"
    listed = stripe_client.make("sk_test_1", STRIPE_BASE).v1.checkout.sessions.list()
    assert [session.id for session in listed.data] == [made.id]


def test_stripe_answers_the_same_key_with_the_same_session(peers: Peers) -> None:
    assert create(GOOD, "k1").id == create(GOOD, "k1").id != create(GOOD, "k2").id


def test_stripe_refuses_the_same_key_with_other_parameters(peers: Peers) -> None:
    create(GOOD, "k1")
    with pytest.raises(stripe.IdempotencyError):
        create(GOOD | {"client_reference_id": "dora"}, "k1")


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"colour": "red"}, "colour", "parameter_unknown"),
        ({"payment_intent_data": {"meta": {}, "x": "1"}}, "payment_intent_data[x]", "parameter_unknown"),
        ({"success_url": None}, "success_url", "parameter_missing"),
        ({"success_url": "nowhere"}, "success_url", "url_invalid"),
        ({"mode": "rent"}, "mode", None),
        ({"line_items": None}, "line_items", "parameter_missing"),
        (
            {"line_items": [{"quantity": "many", "price_data": PRICE}]},
            "line_items[0][quantity]",
            "parameter_invalid_integer",
        ),
        ({"line_items": [{"quantity": 1, "price": "price_1"}]}, "line_items[0][price]", "resource_missing"),
        ({"line_items": [{"price_data": PRICE | {"unit_amount": 10}}]}, None, "amount_too_small"),
        ({"line_items": [{"price_data": PRICE | {"currency": "euro"}}]}, "line_items[0][price_data][currency]", None),
        ({"line_items": [{"price_data": PRICE | {"product": "prod_1"}}]}, None, None),
        ({"line_items": [{"price_data": PRICE | {"recurring": {"interval": "month"}}}]}, "line_items[0]", None),
        ({"mode": "subscription"}, "payment_intent_data", None),
        ({"subscription_data": {"metadata": {"a": "b"}}}, "subscription_data", None),
        ({"metadata": {"k": "x" * 501}}, "metadata", None),
        ({"metadata": {f"k{number}": "x" for number in range(51)}}, "metadata", None),
    ],
)
def test_stripe_refuses_what_stripe_refuses(
    peers: Peers, changes: dict[str, Any], param: str | None, code: str | None
) -> None:
    wanted = {name: value for name, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        create(wanted)
    if "meta" not in str(changes):
        assert refused.value.param == param
    assert refused.value.code == code
    assert refused.value.request_id


def test_stripe_wants_a_test_key(peers: Peers) -> None:
    with pytest.raises(stripe.AuthenticationError):
        create(GOOD, api_key="sk_live_1")


def test_stripe_knows_no_other_addresses(peers: Peers) -> None:
    client = stripe_client.make("sk_test_1", STRIPE_BASE)
    for ask in (client.v1.customers.list, lambda: client.v1.checkout.sessions.retrieve("cs_none")):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            ask()
        assert refused.value.http_status == 404


def mail(**changes: Any) -> dict[str, Any]:
    baseline = {
        "personalizations": [{"to": [{"email": "a@example.com"}]}],
        "from": {"email": "b@example.com"},
        "subject": "s",
        "content": [{"type": "text/plain", "value": "x"}],
    }
    return {name: value for name, value in (baseline | changes).items() if value is not None}


def send(message: dict[str, Any], key: str = "SG.1") -> int:
    api = SendGridAPIClient(key, host=SENDGRID_BASE)
    api.client.timeout = 1
    return int(api.send(message).status_code)


def test_sendgrid_takes_a_mail_and_shows_it(peers: Peers) -> None:
    assert send(mail()) == 202
    shown = Client(peers.stand_ins).get("/sendgrid/messages").get_json()
    assert [entry["message"]["subject"] for entry in shown["items"]] == ["s"]


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": None},
        {"subject": ""},
        {"from": None},
        {"from": {"email": "nobody"}},
        {"personalizations": []},
        {"personalizations": [{"to": []}]},
        {"content": []},
        {"content": [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}]},
        {"content": [{"type": "text/plain", "value": ""}]},
        {"colour": "red"},
        {"categories": ["x"] * 11},
    ],
)
def test_sendgrid_refuses_what_sendgrid_refuses(peers: Peers, changes: dict[str, Any]) -> None:
    with pytest.raises(HTTPError) as refused:
        send(mail(**changes))
    assert refused.value.status_code == 400
    assert json.loads(refused.value.body)["errors"][0]["message"]
    assert peers.mails == []


def test_sendgrid_wants_a_key(peers: Peers) -> None:
    with pytest.raises(HTTPError) as refused:
        send(mail(), key="nonsense")
    assert refused.value.status_code == 401


def test_paying_on_the_page_sends_the_signed_event_that_makes_the_bot(shop: AwsHarness) -> None:
    answers: list[int] = []

    def webhook(payload: str, headers: dict[str, str]) -> int:
        answers.append(deliver(shop, payload, header=headers["stripe-signature"]).status)
        happen(shop, json.loads(payload))
        return answers[-1]

    stand_ins = StandIns("http://127.0.0.1:8099", webhook, lambda: "whsec_test")
    browser = Client(stand_ins)
    form = "mode=payment&success_url=https://x.test/ok&cancel_url=https://x.test/no&line_items[0][quantity]=1"
    form += "&line_items[0][price_data][currency]=eur&line_items[0][price_data][unit_amount]=4900"
    form += "&line_items[0][price_data][product_data][name]=Starter"
    form += "&metadata[required_sessions]=5&metadata[user_id]=cara&metadata[plan_id]=starter"
    made = browser.post(
        "/stripe/v1/checkout/sessions", data=form, headers={"authorization": "Bearer sk_test_1"}
    ).get_json()
    page = made["url"].removeprefix("http://127.0.0.1:8099")
    assert "49.00 EUR" in browser.get(page).text
    for _ in range(2):
        answer = browser.post(page)
        assert (answer.status_code, answer.location) == (303, "https://x.test/ok")
    assert answers == [200, 200]
    (bot,) = shop.adbots.list_adbots("cara", None, 10, None)[0]
    assert bot.required == 5


def test_a_sample_signed_for_sam_local_is_taken_by_the_webhook(shop: AwsHarness) -> None:
    event = webhook_event((SAMPLES / "checkout.session.completed.json").read_text(), SECRET)
    assert shop.app("webhook").handler(event, FakeContext())["statusCode"] == 200


def test_a_payment_page_that_is_not_there_says_so_and_one_whose_webhook_fails_offers_to_repeat() -> None:
    browser = Client(StandIns("http://127.0.0.1:8099", lambda _payload, _headers: 503, lambda: "whsec_test"))
    assert browser.get("/stripe/pay/cs_none").status_code == 404
    assert {"/stripe", "/sendgrid", "/segment", "/solana"} <= set(browser.get("/").get_json()["stand_ins"])
    assert browser.get("/nowhere").status_code == 404


def test_sendgrid_tells_what_becomes_of_a_mail_signed_twice_and_not_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendgrid_events, "PAUSE_S", 0)
    batches: list[tuple[bytes, dict[str, str]]] = []
    came = threading.Event()

    def post(batch: bytes, headers: dict[str, str]) -> int:
        batches.append((batch, headers))
        if len(batches) == 2:
            came.set()
        return 503 if len(batches) == 1 else 200

    key = sendgrid_events.new_key()
    stand_ins = StandIns("http://peers.test", lambda *_: 200, lambda: "", sendgrid_events.Events(post, lambda: key))
    mail = {
        "personalizations": [{"to": [{"email": "bounce-1@example.com"}], "custom_args": {"job": "j", "key": "k"}}],
        "from": {"email": "bots@example.com"},
        "subject": "Hello",
        "content": [{"type": "text/plain", "value": "Hello."}],
    }
    sent = Client(stand_ins).post("/sendgrid/v3/mail/send", json=mail, headers={"authorization": "Bearer SG.1"})

    assert (sent.status_code, came.wait(20)) == (202, True)
    batch, headers = batches[1]
    judge = EventWebhook(sendgrid_events.public_key(key))
    signature, timestamp = (headers[f"x-twilio-email-event-webhook-{name}"] for name in ("signature", "timestamp"))
    assert judge.verify_signature(batch.decode(), signature, timestamp)
    assert [event["event"] for event in json.loads(batch)] == ["bounce", "processed", "processed"]
    assert {event["job"] for event in json.loads(batch)} == {"j"}
    assert all(event["sg_message_id"].startswith(sent.headers["x-message-id"]) for event in json.loads(batch))


def test_however_many_mails_there_are_their_events_come_in_one_batch_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sendgrid_events, "PAUSE_S", 0)
    all_sent, all_reported, posting = threading.Event(), threading.Event(), threading.Lock()
    posts: list[bool] = []
    reported: list[str] = []

    def post(batch: bytes, _headers: dict[str, str]) -> int:
        posts.append(posting.acquire(blocking=False))
        all_sent.wait(20)  # the first batch is being posted while the other mails are taken
        reported.extend({event["job"] for event in json.loads(batch)})
        posting.release()
        if len(reported) == 120:
            all_reported.set()
        return 200

    key = sendgrid_events.new_key()
    events = sendgrid_events.Events(post, lambda: key)
    for number in range(120):
        to = {"to": [{"email": "cara@example.com"}], "custom_args": {"job": f"j{number}", "key": "k"}}
        events.follow(f"m{number}", {"personalizations": [to]})
    all_sent.set()

    assert all_reported.wait(20)
    assert sorted(reported) == sorted(f"j{number}" for number in range(120))
    assert all(posts)  # no other thread was posting
    assert len(posts) <= 4
