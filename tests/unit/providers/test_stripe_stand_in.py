"""The stand-in for Stripe keeps Stripe's contract where money goes back and out: keys, lists, refusals, balances."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from tests.builders.providers import Peers
from tests.builders.stripe_calls import charge_of, paid

ACCOUNT = "acct_1SellerOfBots"


def ask(peers: Peers, method: str, path: str, key: str = "", account: str = "", **params: Any) -> TestResponse:
    headers = {"authorization": "Bearer sk_test_1", "idempotency-key": key, "stripe-account": account}
    kind = "data" if method == "POST" else "query_string"
    sent: dict[str, Any] = {kind: params, "headers": {name: value for name, value in headers.items() if value}}
    return Client(peers.stand_ins).open(f"/stripe{path}", method=method, **sent)


def code(answer: TestResponse) -> tuple[int, str | None, str | None]:
    error = answer.get_json()["error"]
    return answer.status_code, error.get("code"), error.get("param")


def test_a_key_is_good_for_one_request_to_one_address_of_one_account(peers: Peers) -> None:
    payment = paid()
    wish = {"amount": 100, "currency": "eur"}
    first = ask(peers, "POST", "/v1/payouts", "k", **wish)
    again = ask(peers, "POST", "/v1/payouts", "k", **wish)

    assert again.get_json() == first.get_json()
    assert again.headers["idempotent-replayed"] == "true"
    for other in (
        ask(peers, "POST", "/v1/payouts", "k", **wish | {"amount": 101}),
        ask(peers, "POST", "/v1/transfers", "k", destination=ACCOUNT, **wish),
        ask(peers, "POST", "/v1/refunds", "k", payment_intent=payment),
    ):
        assert (other.status_code, other.get_json()["error"]["type"]) == (400, "idempotency_error")
    assert code(ask(peers, "POST", "/v1/payouts", "k", ACCOUNT, **wish))[1] == "balance_insufficient"


def test_a_refusal_for_want_of_money_is_remembered_and_one_for_a_wrong_parameter_is_not(peers: Peers) -> None:
    wish = {"amount": 100, "currency": "eur"}
    assert code(ask(peers, "POST", "/v1/payouts", "poor", **wish)) == (400, "balance_insufficient", None)
    assert code(ask(peers, "POST", "/v1/payouts", "wrong", amount=0, currency="eur"))[1] == "parameter_invalid_integer"
    paid()

    assert code(ask(peers, "POST", "/v1/payouts", "poor", **wish))[1] == "balance_insufficient"
    assert ask(peers, "POST", "/v1/payouts", "wrong", **wish).status_code == 200


def test_refunds_are_refused_as_stripe_does(peers: Peers) -> None:
    payment = paid()

    assert code(ask(peers, "POST", "/v1/refunds", payment_intent=payment, amount=4901)) == (400, None, "amount")
    assert code(ask(peers, "POST", "/v1/refunds"))[1] == "parameter_missing"
    assert code(ask(peers, "POST", "/v1/refunds", charge="ch_1"))[1:] == ("resource_missing", "charge")
    assert code(ask(peers, "POST", "/v1/refunds", payment_intent=payment, colour="red"))[1] == "parameter_unknown"
    assert ask(peers, "POST", "/v1/refunds", payment_intent=payment).status_code == 200
    assert code(ask(peers, "POST", "/v1/refunds", payment_intent=payment)) == (400, "charge_already_refunded", None)
    charge = ask(peers, "GET", f"/v1/charges/{charge_of(peers, payment)}").get_json()
    assert (charge["refunded"], charge["amount_refunded"]) == (True, 4900)


def test_what_cards_pay_is_pending_and_what_is_sent_on_is_available(peers: Peers) -> None:
    paid("one", card="pm_card_visa")
    paid("two", 1000)
    ask(peers, "POST", "/v1/transfers", amount=400, currency="eur", destination=ACCOUNT)

    def funds(account: str = "") -> tuple[Any, Any]:
        shown = ask(peers, "GET", "/v1/balance", account=account).get_json()
        return [[fund["amount"] for fund in shown[kind]] for kind in ("available", "pending")]  # type: ignore[return-value]

    assert funds() == [[600], [4900]]
    assert funds(ACCOUNT) == [[400], []]


def test_lists_come_newest_first_and_page_by_page(peers: Peers) -> None:
    payment = paid()
    made = [ask(peers, "POST", "/v1/refunds", payment_intent=payment, amount=10).get_json()["id"] for _ in range(3)]

    def listed(**params: Any) -> Any:
        return ask(peers, "GET", "/v1/refunds", **params).get_json()

    first = listed(payment_intent=payment, limit=2)
    assert [one["id"] for one in first["data"]] == [made[2], made[1]]
    assert first["has_more"] is True
    rest = listed(payment_intent=payment, limit=2, starting_after=made[1])
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([made[0]], False)
    assert listed(payment_intent="pi_other")["data"] == []
    assert listed(**{"created[gte]": 9_999_999_999})["data"] == []
    for wrong in ({"limit": 0}, {"limit": 101}, {"colour": "red"}, {"starting_after": "re_1"}):
        assert ask(peers, "GET", "/v1/refunds", **wrong).status_code == 400


@pytest.mark.parametrize("query", ["", "amount>5", "metadata['job']:paid"])
def test_a_search_that_is_not_understood_is_refused(peers: Peers, query: str) -> None:
    assert code(ask(peers, "GET", "/v1/payment_intents/search", query=query)) == (400, None, "query")


def test_accounts_that_are_not_connected_cannot_be_acted_for(peers: Peers) -> None:
    assert code(ask(peers, "GET", "/v1/balance", account="acct_1"))[:2] == (403, "account_invalid")
    assert code(ask(peers, "GET", "/v1/charges/ch_1"))[0] == 404
    assert code(ask(peers, "DELETE", "/v1/charges/ch_1"))[0] == 404
