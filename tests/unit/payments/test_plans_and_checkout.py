"""The plan catalogue, and starting a checkout through Stripe's own library against the stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from adbot_queue.core import aws, settings, telemetry
from adbot_queue.core.attribute_values import encode
from adbot_queue.payments import checkout, plans
from adbot_queue.payments.plan import BillingInterval, CheckoutMode, Plan
from adbot_queue.payments.wishes import wish_of
from adbot_queue.providers import stripe_client
from tests.builders.payments import empty, rows, secret
from tests.builders.providers import Peers, connect, down, refusing
from tests.builders.world import Answer, AwsHarness

STARTER = {"name": "Starter", "pool": "standard", "required_sessions": 5, "amount": 4900, "currency": "eur"}
PRO = STARTER | {"name": "Pro", "required_sessions": 25, "amount": 19900, "mode": "subscription", "interval": "month"}


@pytest.fixture
def shop(shop: AwsHarness) -> AwsHarness:
    """Without a plan."""
    empty()
    shop.pool()
    return shop


@pytest.fixture
def peers(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peers]:
    made = connect(monkeypatch)
    _forget()
    yield made
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    for cached in (settings.settings, checkout.from_env, plans.from_env, stripe_client.make):
        cached.cache_clear()


def put(shop: AwsHarness, plan: str, body: Any, role: str = "admin") -> Answer:
    return shop.http("checkout", "PUT /admin/plans/{id}", role=role, body=body, id=plan)


def listed(shop: AwsHarness, role: str, **query: str) -> Any:
    return shop.http("checkout", "GET /plans", role=role, query=query).json


def buy(shop: AwsHarness, body: Any = None, user: str = "cara", **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return shop.http(
        "checkout", "POST /checkout", role="customer", user=user, body=body or {"plan_id": "starter"}, headers=given
    )


# Plans


def test_a_plan_is_made_changed_listed_and_removed_and_every_change_is_signed(shop: AwsHarness) -> None:
    assert put(shop, "starter", STARTER).status == 201
    assert put(shop, "starter", STARTER | {"amount": 5900}).status == 200
    again = put(shop, "starter", STARTER | {"amount": 5900})
    assert (again.status, again.json["version"]) == (200, 2)
    assert [(plan["plan_id"], plan["amount"]) for plan in listed(shop, "customer")["items"]] == [("starter", 5900)]
    assert shop.http("checkout", "DELETE /admin/plans/{id}", role="owner", id="starter").json["amount"] == 5900
    assert listed(shop, "viewer")["items"] == []
    signed = shop.ledger(target="plan:starter")
    assert [(entry["action"], entry["before"].get("amount"), entry["after"].get("amount")) for entry in signed] == [
        ("plan.remove", 5900, None),
        ("plan.put", 4900, 5900),
        ("plan.put", None, 4900),
    ]


def test_customers_see_only_what_is_for_sale(shop: AwsHarness) -> None:
    put(shop, "starter", STARTER)
    put(shop, "legacy", STARTER | {"active": False})
    assert [plan["plan_id"] for plan in listed(shop, "customer")["items"]] == ["starter"]
    assert [plan["plan_id"] for plan in listed(shop, "viewer")["items"]] == ["legacy", "starter"]


def test_plans_come_in_pages(shop: AwsHarness) -> None:
    for name in ("a", "b", "c"):
        put(shop, name, STARTER)
    first = listed(shop, "owner", limit="2")
    second = listed(shop, "owner", limit="2", cursor=first["next"])
    assert [plan["plan_id"] for page in (first, second) for plan in page["items"]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"required_sessions": 0}, "required_sessions"),
        ({"required_sessions": -1}, "required_sessions"),
        ({"required_sessions": 501}, "required_sessions"),
        ({"required_sessions": "5"}, "required_sessions"),
        ({"amount": 0}, "amount"),
        ({"amount": 12.5}, "amount"),
        ({"currency": "EUR"}, "currency"),
        ({"pool": "nowhere"}, "pool"),
        ({"name": ""}, "name"),
        ({"mode": "rent"}, "mode"),
        ({"mode": "subscription"}, "interval"),
        ({"interval": "month"}, "interval"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_plan_that_breaks_a_rule_is_refused_by_field(shop: AwsHarness, changes: dict[str, Any], field: str) -> None:
    answer = put(shop, "starter", STARTER | changes)
    assert (answer.status, answer.problem, answer.fields) == (422, "validation", [field])


def test_a_plan_id_is_held_to_its_alphabet(shop: AwsHarness) -> None:
    assert put(shop, "No Plan", STARTER).fields == ["id"]


def test_removing_a_plan_that_is_not_there_is_not_found(shop: AwsHarness) -> None:
    assert shop.http("checkout", "DELETE /admin/plans/{id}", role="admin", id="none").status == 404


@pytest.mark.parametrize("role", ["viewer", "customer", None])
def test_only_admins_change_plans(shop: AwsHarness, role: Any) -> None:
    assert put(shop, "starter", STARTER, role).status == (403 if role else 401)


def test_two_admins_changing_a_plan_at_once_both_count(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shop, "starter", STARTER)
    catalogue = plans.from_env()
    read, raced = catalogue._read, iter([True])

    def slow(plan_id: str) -> Any:
        found = read(plan_id)
        if next(raced, False):
            put(shop, "starter", STARTER | {"amount": 5900})
        return found

    monkeypatch.setattr(catalogue, "_read", slow)
    assert put(shop, "starter", STARTER | {"amount": 6900}).json["version"] == 3


# Checkout


def test_a_checkout_carries_what_was_bought_to_every_later_event(shop: AwsHarness, peers: Peers) -> None:
    put(shop, "starter", STARTER)
    answer = buy(shop)
    assert answer.status == 201
    session = peers.stand_ins.stripe.sessions[answer.json["checkout_session_id"]]
    assert (session["amount_total"], session["currency"], session["mode"]) == (4900, "eur", "payment")
    assert (session["client_reference_id"], session["success_url"]) == ("cara", "https://shop.example.com/thanks")
    wish = wish_of(session["metadata"])
    assert (wish.problem, wish.user_id, wish.required, wish.pool, wish.plan_id) == (
        None,
        "cara",
        5,
        "standard",
        "starter",
    )
    assert answer.json["url"].endswith(answer.json["checkout_session_id"])


def test_a_subscription_puts_the_metadata_on_the_subscription() -> None:
    params = checkout.params_of(
        Plan("pro", "Pro", "standard", 25, 100, "eur", CheckoutMode.SUBSCRIPTION, BillingInterval.MONTH),
        "cara",
        "s",
        "c",
    )
    assert params["subscription_data"]["metadata"] == params["metadata"]
    assert params["line_items"][0]["price_data"]["recurring"] == {"interval": "month"}
    assert "payment_intent_data" not in params


def test_stripe_accepts_a_subscription_as_we_ask_for_it(shop: AwsHarness, peers: Peers) -> None:
    put(shop, "pro", PRO)
    answer = buy(shop, {"plan_id": "pro", "success_url": "http://localhost:3000/ok", "cancel_url": "https://x.test/no"})
    assert answer.status == 201
    assert peers.stand_ins.stripe.sessions[answer.json["checkout_session_id"]]["mode"] == "subscription"


def test_the_same_idempotency_key_is_one_session_for_one_user_and_another_for_another(
    shop: AwsHarness, peers: Peers
) -> None:
    put(shop, "starter", STARTER)
    made = [buy(shop, user=user, idempotency_key="k1") for user in ("cara", "cara", "dora")]
    ids = [answer.json["checkout_session_id"] for answer in made]
    assert ids[0] == ids[1] != ids[2]
    assert [(answer.status, answer.headers.get("idempotent-replayed")) for answer in made] == [
        (201, None),
        (200, "true"),
        (201, None),
    ]


def test_the_same_idempotency_key_with_another_plan_is_refused(shop: AwsHarness, peers: Peers) -> None:
    put(shop, "starter", STARTER)
    put(shop, "pro", PRO)
    buy(shop, idempotency_key="k1")
    answer = buy(shop, {"plan_id": "pro"}, idempotency_key="k1")
    assert (answer.status, answer.problem) == (409, "idempotency-key-reused")


def test_a_plan_that_is_unknown_or_not_for_sale_cannot_be_bought(shop: AwsHarness, peers: Peers) -> None:
    put(shop, "legacy", STARTER | {"active": False})
    assert buy(shop, {"plan_id": "none"}).status == 404
    assert buy(shop, {"plan_id": "legacy"}).status == 409
    assert peers.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "http://shop.example.com",
        "javascript:alert(1)",
        "https://",
        "ftp://x.test",
        "//x.test",
        "https://a@x.test",
        "x" * 2001,
    ],
)
def test_the_customer_is_sent_to_https_addresses_only(shop: AwsHarness, peers: Peers, address: str) -> None:
    put(shop, "starter", STARTER)
    answer = buy(shop, {"plan_id": "starter", "success_url": address})
    assert (answer.status, answer.fields) == (422, ["success_url"])


def test_an_unknown_field_is_refused(shop: AwsHarness) -> None:
    assert buy(shop, {"plan_id": "starter", "amount": 1}).fields == ["amount"]


def test_staff_do_not_buy(shop: AwsHarness) -> None:
    assert shop.http("checkout", "POST /checkout", role="admin", body={"plan_id": "starter"}).status == 403


def test_a_connection_that_fails_is_tried_again_and_then_reported(shop: AwsHarness, peers: Peers) -> None:
    put(shop, "starter", STARTER)
    peers.instead += [down, down]
    assert buy(shop).status == 201
    peers.instead += [down, down, down]
    answer = buy(shop)
    assert (answer.status, answer.problem, answer.json["retryable"]) == (502, "provider-failed", True)


@pytest.mark.parametrize(
    ("problems", "retryable", "says"),
    [
        ([refusing(500)] * 3, True, "busy"),
        ([refusing(409)] * 3, True, "busy"),
        ([refusing(429, kind="rate_limit_error")], True, "busy"),
        ([refusing(400, "Amount too small", "invalid_request_error")], False, "Amount too small"),
    ],
)
def test_what_stripe_refuses_says_whether_to_try_again(
    shop: AwsHarness,
    peers: Peers,
    problems: list[Any],
    retryable: bool,
    says: str,
) -> None:
    put(shop, "starter", STARTER)
    peers.instead += problems
    answer = buy(shop)
    assert (answer.status, answer.problem, answer.json["retryable"]) == (502, "provider-failed", retryable)
    assert says in answer.json["detail"]
    assert peers.instead == []


def test_without_a_key_or_with_one_that_stripe_does_not_know_it_is_not_configured(
    shop: AwsHarness, peers: Peers
) -> None:
    put(shop, "starter", STARTER)
    for text in ('{"api_key": ""}', json.dumps({"api_key": "nonsense"})):
        with secret("stripe", text):
            answer = buy(shop)
        assert (answer.status, answer.problem) == (503, "not-configured")
        assert "StripeSecretArn" in answer.json["detail"]


def test_without_pages_to_go_to_it_is_not_configured(
    shop: AwsHarness, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(shop, "starter", STARTER)
    monkeypatch.setenv("CHECKOUT_SUCCESS_URL", "")
    _forget()
    answer = buy(shop)
    assert (answer.status, "CHECKOUT_SUCCESS_URL" in answer.json["detail"]) == (503, True)


def test_being_an_api_error_does_not_make_an_error_retryable() -> None:
    assert not stripe_client.is_retryable(stripe.APIError("no", http_status=400))
    assert stripe_client.is_retryable(stripe.APIError("no", http_status=503))
    assert stripe_client.is_retryable(stripe.RateLimitError("no", http_status=429))


DAMAGE: dict[str, tuple[str, Any]] = {
    "a mode of a newer version": ("mode", "lease"),
    "an interval of a newer version": ("interval", "decade"),
    "an amount as text": ("amount", "4900"),
    "an amount that is true": ("amount", True),
    "no amount": ("amount", None),
    "no name": ("name", None),
    "a pool that is a number": ("pool", 1),
    "active as text": ("active", "yes"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_plan_that_cannot_be_read_harms_itself_alone(
    shop: AwsHarness, peers: Peers, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attribute, value = DAMAGE[name]
    for plan in ("starter", "unreadable", "value"):
        put(shop, plan, STARTER)
    stored = rows(shop.env["ADBOTS_TABLE"], "PLANS")
    (damaged,) = [row for row in stored if row["sk"] == "unreadable"]
    item = encode({**damaged, attribute: value})
    aws.dynamodb().put_item(TableName=shop.env["ADBOTS_TABLE"], Item=item)

    counted: list[str] = []
    monkeypatch.setattr(telemetry.metrics, "add_metric", lambda name, **_: counted.append(name))
    listed = shop.http("checkout", "GET /plans", role="viewer")
    refused = buy(shop, {"plan_id": "unreadable"})

    assert [plan["plan_id"] for plan in listed.json["items"]] == ["starter", "value"]
    assert (refused.status, refused.problem) == (503, "unavailable")
    assert f"attribute {attribute}" in refused.json["detail"]
    assert "PlansUnreadable" in counted
    assert peers.requests == []
    assert buy(shop).status == 201


@pytest.mark.parametrize(
    ("currency", "amount", "step"),
    [
        ("isk", 4950, 100),
        ("ugx", 1, 100),
        ("kwd", 4905, 10),
        ("jpy", 4905, None),
        ("eur", 4905, None),
        ("isk", 4900, None),
    ],
)
def test_the_amount_of_a_plan_can_be_charged(
    shop: AwsHarness, peers: Peers, currency: str, amount: int, step: int | None
) -> None:
    answer = put(shop, "starter", STARTER | {"currency": currency, "amount": amount})
    if step is None:
        assert answer.status == 201
    else:
        assert (answer.status, answer.fields) == (422, ["amount"])
        assert f"must be a multiple of {step}" in answer.json["detail"]
