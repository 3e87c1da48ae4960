"""The peers themselves: what they accept, what they refuse, and that they listen on this machine only."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.support import peers
from tests.support.published import check_request, schema_of

MAIL = {
    "personalizations": [{"to": [{"email": "cara@example.com"}]}],
    "from": {"email": "bots@example.com"},
    "subject": "Hello",
    "content": [{"type": "text/plain", "value": "Welcome."}],
}
MESSAGES = f"/2010-04-01/Accounts/AC{'0' * 32}/Messages.json"


@pytest.mark.parametrize(
    ("provider", "method", "path", "body"),
    [
        ("stripe.com", "POST", "/v1/refunds", "payment_intent=pi_1&amount=5&metadata[job]=1&expand[]=charge"),
        (
            "stripe.com",
            "POST",
            "/v1/payment_intents",
            "amount=5&currency=eur&confirm=true&payment_method_types[0]=card",
        ),
        ("stripe.com", "GET", "/v1/refunds?payment_intent=pi_1&limit=100&created[gte]=5", None),
        ("stripe.com", "GET", "/v1/payment_intents/pi_1", ""),
        ("sendgrid.com", "POST", "/v3/mail/send", MAIL),
        (
            "twilio.com/api",
            "POST",
            MESSAGES,
            "To=%2B4930123&Body=Hello&MediaUrl=https://a.test/1&MediaUrl=https://a.test/2",
        ),
    ],
)
def test_a_request_as_published_passes(provider: str, method: str, path: str, body: Any) -> None:
    check_request(schema_of(provider), method, path, body)


@pytest.mark.parametrize(
    ("provider", "method", "path", "body", "problem"),
    [
        ("stripe.com", "POST", "/v1/refunds", "colour=red", "colour"),
        ("stripe.com", "POST", "/v1/refunds", "amount=5.5", "not of type 'integer'"),
        ("stripe.com", "POST", "/v1/refunds", "amount=5&amount=6", "not of type 'integer'"),
        ("stripe.com", "POST", "/v1/refunds", "reason=boredom", "'boredom' is not one of"),
        ("stripe.com", "POST", "/v1/payouts", "currency=eur", "'amount' is a required property"),
        ("stripe.com", "POST", "/v1/payouts", None, "a body is required"),
        ("stripe.com", "POST", "/v1/payment_intents", "amount=5&currency=eur&shipping[color]=red", "color"),
        ("stripe.com", "GET", "/v1/refunds?limit=many", None, "query: $.limit"),
        ("stripe.com", "GET", "/v1/refunds?colour=red", None, "query: $.colour"),
        ("stripe.com", "GET", "/v1/nothing", None, "nothing is published"),
        ("stripe.com", "PUT", "/v1/refunds", None, "nothing is published"),
        ("sendgrid.com", "POST", "/v3/mail/send", MAIL | {"colour": "red"}, "colour"),
        ("sendgrid.com", "POST", "/v3/mail/send", {"from": {"name": "x"}}, "'email' is a required property"),
        ("twilio.com/api", "POST", MESSAGES, "To=1&Colour=red", "Colour"),
    ],
)
def test_a_request_that_is_not_does_not(provider: str, method: str, path: str, body: Any, problem: str) -> None:
    with pytest.raises(AssertionError) as refused:
        check_request(schema_of(provider), method, path, body)

    assert problem in str(refused.value)


def test_prism_refuses_what_the_schema_does_not_have() -> None:
    with peers.prism("sendgrid.com", "/v3/mail/send") as base:
        send = f"{base}/v3/mail/send"
        headers = {"authorization": "Bearer SG.1"}
        assert requests.post(send, json=MAIL, headers=headers, timeout=10).status_code == 202
        wrong = requests.post(send, json=MAIL | {"from": {}}, headers=headers, timeout=10)
        assert wrong.status_code in {400, 422}
        assert requests.post(f"{base}/v3/mail/batch", headers=headers, timeout=10).status_code == 404


def test_peers_are_reached_from_this_machine_alone() -> None:
    with peers.localstripe() as stripe, peers.web_push() as push:
        assert requests.get(f"{stripe}/v1/customers", auth=("sk_test_1", ""), timeout=10).json()["data"] == []
        assert requests.post(f"{push}/status", timeout=10).status_code == 200
        for base in (stripe, push):
            with socket.socket() as outside, pytest.raises(OSError, match=r"refused|assign"):
                outside.connect(("127.0.0.2", urlsplit(base).port))
