"""An event is asked whose it is, and a sale whether it fits its plan and its buyer, before a bot is made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adbot_queue.adbots.model import AdbotStatus
from adbot_queue.core import aws, telemetry
from adbot_queue.core.clock import system_clock
from adbot_queue.payments import checks, setbacks
from adbot_queue.payments.decisions import apply
from adbot_queue.payments.facts import Judgement
from adbot_queue.payments.plan import BillingInterval, CheckoutMode, Plan
from adbot_queue.payments.stripe_events import interpret
from adbot_queue.testing.in_process_aws import forget_cached
from tests.builders.payments import (
    SECRET,
    Event,
    Purchase,
    audit,
    configure,
    consume,
    deliver,
    empty,
    happen,
    metadata,
    rows,
    sample,
    sample_names,
    secret,
    signature,
)
from tests.builders.world import AwsHarness, FakeContext, world

USER = "9f8b6c1e-6d2a-4a3e-9b52-0f6f5f2c7a11"
STARTER = {"name": "Starter", "pool": "standard", "required_sessions": 5, "amount": 4900, "currency": "eur"}
MONTHLY = STARTER | {"mode": "subscription", "interval": "month"}


def put(shop: AwsHarness, plan: str, **body: Any) -> None:
    answer = shop.http("checkout", "PUT /admin/plans/{id}", role="admin", body=STARTER | body, id=plan)
    assert answer.status in {200, 201}, answer.text


@pytest.fixture(scope="module")
def _one_world() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def shop(_one_world: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> AwsHarness:
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    empty()
    _one_world.pool()
    put(_one_world, "starter")
    put(_one_world, "monthly", **MONTHLY)
    put(_one_world, "yen", currency="jpy")
    return _one_world


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> Any:
    def read() -> dict[str, float]:
        lines = [line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
        return {
            name: value[-1] for line in lines for name, value in json.loads(line).items() if isinstance(value, list)
        }

    return read


CATALOGUE = {
    "starter": [Plan("starter", "Starter", "standard", 5, 4900, "eur")],
    "monthly": [
        Plan("monthly", "Monthly", "standard", 5, 4900, "eur", CheckoutMode.SUBSCRIPTION, BillingInterval.MONTH)
    ],
    "yen": [Plan("yen", "Yen", "standard", 5, 4900, "jpy")],
}


def sale(**changes: Any) -> Event:
    """A paid Checkout session of the plan `starter`, changed; a change of the metadata replaces its fields."""
    reported = dict(changes)
    written = metadata(**reported.pop("metadata", {}))
    amount = reported.pop("amount", 4900)
    event = sample("checkout.session.completed")
    event["id"] = "evt_sale"
    event["data"]["object"] |= {"id": "cs_1", "payment_intent": "pi_1", "metadata": written}
    event["data"]["object"] |= {"amount_subtotal": amount, "amount_total": amount, **reported}
    return event


def renewal(number: int = 2, *, amount: Any = 4900, plan: str = "monthly", **changes: Any) -> Event:
    """A paid invoice of the subscription `sub_1`."""
    event = sample("invoice.paid.renewal")
    event["id"] = f"evt_invoice_{number}"
    invoice = event["data"]["object"]
    invoice |= {"id": f"in_{number}", **dict.fromkeys(("amount_paid", "amount_due", "subtotal", "total"), amount)}
    invoice |= changes
    details = {"subscription": "sub_1", "metadata": metadata(plan_id=plan)}
    invoice["parent"] = {"type": "subscription_details", "subscription_details": details}
    for line in invoice["lines"]["data"]:
        line |= {"metadata": details["metadata"], "amount": amount}
    return event


def subscribed(**changes: Any) -> Event:
    reported = {"mode": "subscription", "subscription": "sub_1", "invoice": "in_1", "payment_intent": None}
    return sale(**{**reported, "metadata": {"plan_id": "monthly"}, **changes})


def review(shop: AwsHarness) -> str:
    """The reason of the one order, which is in REVIEW and has no bot."""
    found = audit(shop)
    assert (found.order.status, found.bots, found.unsettled) == ("REVIEW", [], [])
    assert found.order.review_reason
    return found.order.review_reason


# Whose is it


OTHERS: dict[str, dict[str, Any]] = {
    "account": {"account": "acct_1"},
    "context": {"context": "acct_1"},
    "account of another shape": {"account": {"id": "acct_1"}},
    "account that is none": {"account": {}},
    "account as truth": {"account": False},
    "context as a number": {"context": 0},
    "live": {"livemode": True},
    "livemode missing": {"livemode": None},
    "livemode as text": {"livemode": "false"},
    "livemode as number": {"livemode": 0},
    "created in a week": {"created": system_clock() // 1000 + 7 * 86_400},
    "created as text": {"created": "yesterday"},
    "created as truth": {"created": True},
}


@pytest.mark.parametrize("name", [*sorted(OTHERS)])
def test_an_event_of_another_account_or_mode_is_rejected(shop: AwsHarness, metrics: Any, name: str) -> None:
    metrics()
    for _ in range(2):
        answer = deliver(shop, sale() | OTHERS[name])
        assert (answer.status, answer.json["outcome"]) == (200, "rejected")
    assert metrics()["EventsRejected"] == 1  # of the last delivery
    assert consume(shop) == []
    found = audit(shop)
    assert (found.orders, found.bots, found.unsettled) == ([], [], [])
    (event,) = rows(shop.env["PAYMENTS_TABLE"], "EVENT#")
    assert event["verdict"] == "rejected"
    assert event["why"].split(":")[0] in {"account", "livemode", "created"}
    assert "payload" not in event


@pytest.mark.parametrize("mark", [{"account": "acct_1"}, {"livemode": True}])
def test_no_type_but_payouts_is_taken_of_others(shop: AwsHarness, mark: dict[str, Any]) -> None:
    for name in sample_names():
        if not name.startswith("payout."):
            assert deliver(shop, sample(name) | mark).json["outcome"] == "rejected", name
    assert (shop.messages("payments"), audit(shop).orders) == ([], [])
    assert rows(shop.env["PAYMENTS_TABLE"], "PAYMENT#") == []


def test_a_payout_of_a_connected_account_is_taken_in_the_own_mode_only(shop: AwsHarness) -> None:
    payout = sample("payout.failed")
    assert deliver(shop, payout).json["outcome"] == "new"
    assert deliver(shop, payout | {"id": "evt_live", "livemode": True}).json["outcome"] == "rejected"


@pytest.mark.parametrize("own", [{"account": None}, {"account": ""}, {"context": None}, {}])
def test_an_event_without_an_account_is_our_own(shop: AwsHarness, own: dict[str, Any]) -> None:
    happen(shop, sale() | own)
    assert audit(shop).order.status == "PAID"


@pytest.mark.parametrize(
    ("key", "live"), [("sk_live_1", True), ("rk_live_1", True), ("sk_test_1", False), ("rk_test_1", False)]
)
def test_the_api_key_says_which_mode_is_the_installations(shop: AwsHarness, key: str, live: bool) -> None:
    with secret("stripe", json.dumps({"api_key": key, "webhook_secret": SECRET})):
        assert deliver(shop, sale() | {"livemode": live}).json["outcome"] == "new"
        assert deliver(shop, sale() | {"id": "evt_2", "livemode": not live}).json["outcome"] == "rejected"


@pytest.mark.parametrize("key", ["", "pk_live_1", "sk_org_1", "whatever", "SK_LIVE_1", " sk_live_1"])
def test_without_a_key_that_tells_the_mode_nothing_is_taken_and_stripe_comes_again(shop: AwsHarness, key: str) -> None:
    with secret("stripe", json.dumps({"api_key": key, "webhook_secret": SECRET})):
        for live in (True, False):
            answer = deliver(shop, sale() | {"livemode": live})
            assert (answer.status, answer.problem) == (503, "not-configured")
            assert "api_key" in answer.json["detail"]
    assert rows(shop.env["PAYMENTS_TABLE"]) == []


def test_what_a_secret_for_connected_accounts_signs_is_no_sale_of_ours(shop: AwsHarness) -> None:
    secrets = [SECRET, {"secret": "whsec_connect", "accepts": "connect"}, {"secret": "whsec_more"}]
    with secret("stripe", json.dumps({"api_key": "sk_test_1", "webhook_secret": secrets})):
        for event, outcome in ((sale(), "rejected"), (sample("payout.failed"), "new")):
            text = json.dumps(event)
            assert deliver(shop, text, header=signature(text, "whsec_connect")).json["outcome"] == outcome
        text = json.dumps(sale() | {"id": "evt_own"})
        assert deliver(shop, text, header=signature(text, "whsec_more")).json["outcome"] == "new"
        assert deliver(shop, text, header=signature(text, "whsec_none")).status == 400


@pytest.mark.parametrize("wrong", [[1], [{}], [{"secret": "whsec_1", "accepts": "all"}], [None], {"secret": 1}])
def test_a_secret_declared_for_nothing_that_exists_is_said_to_be(shop: AwsHarness, wrong: Any) -> None:
    with secret("stripe", json.dumps({"api_key": "sk_test_1", "webhook_secret": wrong})):
        answer = deliver(shop, sale())
    assert (answer.status, answer.problem) == (503, "not-configured")
    assert "webhook_secret" in answer.json["detail"]


def test_only_the_first_hundred_rejected_events_of_a_day_are_stored(shop: AwsHarness, metrics: Any) -> None:
    for number in range(103):
        answer = deliver(shop, sale() | {"id": f"evt_{number}", "account": "acct_1"})
        assert (answer.status, answer.json["outcome"]) == (200, "rejected")
    assert len(rows(shop.env["PAYMENTS_TABLE"], "EVENT#")) == 100
    assert metrics()["EventsRejected"] == 1


# Does it fit


MISFITS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a euro": ({"amount": 100}, ("amount", "100", "4900")),
    "a cent less": ({"amount": 4899}, ("amount", "4899", "4900")),
    "more": ({"amount": 5000}, ("amount", "5000", "4900")),
    "nothing": ({"amount": 0}, ("amount", "0", "4900")),
    "less than nothing": ({"amount": -4900}, ("amount", "-4900", "4900")),
    "an amount as text": ({"amount": "100"}, ("amount", "100", "4900")),
    "no amount": ({"amount": "many"}, ("amount", "many", "4900")),
    "no amount at all": ({"amount": None}, ("amount", "nothing", "4900")),
    "a price and nothing that was paid": ({"amount_total": None}, ("amount", "nothing", "4900")),
    "more than a number holds": ({"amount": 10**45}, ("amount", "100000", "4900")),
    "half a cent": ({"amount": 4900.5}, ("amount", "4900.5", "4900")),
    "a truth": ({"amount": True}, ("amount", "True", "4900")),
    "paid less than the price, unexplained": ({"amount_total": 100}, ("amount", "100", "4900")),
    "a total without a price": ({"amount_subtotal": None, "amount_total": 100}, ("amount", "100", "4900")),
    "another currency": ({"currency": "usd"}, ("currency", "usd", "eur")),
    "a currency without decimals": ({"currency": "jpy"}, ("currency", "jpy", "eur")),
    "no currency": ({"currency": None}, ("currency", "nothing", "eur")),
    "a month": ({"mode": "subscription"}, ("mode", "subscription", "payment")),
    "no mode": ({"mode": None}, ("mode", "nothing", "payment")),
    "a bot of fifty": ({"metadata": {"required_sessions": "50"}}, ("required_sessions", "50", "5")),
    "a bot of one": ({"metadata": {"required_sessions": "1"}}, ("required_sessions", "1", "5")),
    "a decimal": ({"metadata": {"required_sessions": "5.0"}}, ("required_sessions", "5.0")),
    "an exponent": ({"metadata": {"required_sessions": "1e3"}}, ("required_sessions", "1e3")),
    "a plan that is not there": ({"metadata": {"plan_id": "gold"}}, ("plan_id", "gold")),
    "a version as a plan": ({"metadata": {"plan_id": "starter#000001"}}, ("plan_id",)),
    "no plan": ({"metadata": {"plan_id": None}}, ("plan_id", "missing")),
    "a blank plan": ({"metadata": {"plan_id": "  "}}, ("plan_id", "missing")),
    "a plan's price in another plan's currency": ({"metadata": {"plan_id": "yen"}}, ("currency", "eur", "jpy")),
    "a pool that is not there": ({"metadata": {"pool": "nowhere"}}, ("pool", "nowhere")),
    "no user": ({"metadata": {"user_id": None}}, ("user_id", "missing")),
    "a blank user": ({"metadata": {"user_id": "\t\n"}}, ("user_id", "missing")),
    "a user that closes the filter": ({"metadata": {"user_id": 'x" or sub ^= "'}}, ("user_id",)),
    "a user of two lines": ({"metadata": {"user_id": "ca\nra"}}, ("user_id",)),
    "users": ({"metadata": {"user_id": ["cara"]}}, ("user_id",)),
    "a number that is an object": ({"metadata": {"required_sessions": {"count": 5}}}, ("required_sessions",)),
}


def decide(event: Event) -> tuple[str, str, bool]:
    """Status, reason and whether there is a bot, decided without AWS: with every user and pool there is."""
    fact = interpret(event)
    assert fact is not None
    versions = {plan: CATALOGUE.get(plan, []) for plan in checks.plan_ids(fact.facts)}
    plan = checks.offer(fact.facts, versions)
    check_requests = Judgement(
        problems=checks.problems(fact.facts, versions), required=plan.required_sessions if plan else None
    )
    order = apply("pi_1", fact.facts, fact, None, 1, default_pool="standard", judgement=check_requests).order
    assert order is not None
    return order.status, order.review_reason or "", order.adbot_id is not None


@pytest.mark.parametrize("name", sorted(MISFITS.keys() - {"a pool that is not there"}))
@pytest.mark.parametrize("kind", ["completed", "async_payment_succeeded"])
def test_a_sale_that_does_not_fit_waits_for_a_person_with_field_value_and_what_was_expected(
    name: str, kind: str
) -> None:
    changes, said = MISFITS[name]
    status, reason, has_bot = decide(sale(**changes) | {"type": f"checkout.session.{kind}"})
    assert (status, has_bot) == ("REVIEW", False)
    assert all(word in reason for word in said), reason


@pytest.mark.parametrize(
    "name",
    ["a euro", "another currency", "a month", "a bot of fifty", "a plan that is not there", "a pool that is not there"],
)
def test_a_sale_that_does_not_fit_is_an_order_in_review(shop: AwsHarness, name: str, metrics: Any) -> None:
    changes, said = MISFITS[name]
    happen(shop, sale(**changes))
    assert metrics()["OrdersInReview"] == 1
    reason = review(shop)
    assert all(word in reason for word in said), reason


FOREIGN: list[Any] = [None, "", "x", 0, -1, True, 1.5, 1e400, 10**45, [], [None], [{}], {}, {"id": 7}, {"data": [None]}]
OPTIONAL = {
    "checkout.session.completed": (
        *("total_details", "metadata", "client_reference_id", "customer", "currency", "mode", "amount_total"),
        *("amount_subtotal", "payment_intent", "invoice", "subscription", "total_details.amount_discount"),
    ),
    "invoice.paid.first": (
        *(
            "lines",
            "lines.data",
            "lines.data.0",
            "lines.data.0.period",
            "lines.data.0.period.end",
            "lines.data.0.parent",
        ),
        *("status_transitions", "status_transitions.paid_at", "parent", "parent.subscription_details", "amount_paid"),
        *("total_discount_amounts", "customer", "currency", "metadata", "subtotal", "total", "amount_due", "payments"),
    ),
    "invoice.paid.before-2025-03-31": ("subscription_details", "subscription", "payment_intent"),
    "charge.refunded.full": ("payment_intent", "invoice", "metadata", "currency"),
    "charge.dispute.closed.lost": ("charge", "payment_intent"),
    "customer.subscription.deleted": ("ended_at",),
    "refund.failed": ("amount", "currency", "failure_reason", "metadata", "payment_intent", "charge"),
    "payout.failed": ("amount", "currency", "failure_code", "metadata"),
}


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_field_that_does_not_count_never_keeps_an_event_from_being_read(name: str) -> None:
    for path in OPTIONAL[name]:
        for value in FOREIGN:
            event = sample(name)
            *above, last = ("data", "object", *path.split("."))
            place: Any = event
            for step in above:
                place = place[int(step) if isinstance(place, list) else step]
            place[int(last) if isinstance(place, list) else last] = value
            assert setbacks.read(event) if event["type"] in setbacks.SETBACKS else interpret(event), (path, value)


@pytest.mark.parametrize("status", [None, "", "PAID", ["paid"], True, "refunded"])
def test_a_status_of_the_money_that_is_not_known_is_not_guessed(shop: AwsHarness, status: Any) -> None:
    dispute = sample("charge.dispute.closed.won")
    dispute["data"]["object"]["status"] = status
    for event in (sale(payment_status=status), dispute):
        assert deliver(shop, event).json["outcome"] == "new"
        assert consume(shop) == ["m0"]
    assert (audit(shop).orders, len(audit(shop).unsettled)) == ([], 2)


HALF = "\ud800"


def test_half_of_a_surrogate_pair_keeps_no_sale_from_its_order(shop: AwsHarness) -> None:
    happen(shop, sale(metadata={"note": HALF, HALF: "x"}, customer=HALF))
    assert audit(shop).order.status == "PAID"
    happen(shop, sale(id="cs_2", payment_intent="pi_2", metadata={"user_id": HALF}) | {"id": "evt_2"})
    (order,) = [order for order in audit(shop).orders if order.status == "REVIEW"]
    assert "user_id" in (order.review_reason or "")
    for name in ("id", "type"):
        assert deliver(shop, sale() | {name: f"evt_{HALF}"}).status == 400
    assert deliver(shop, "[" * 100_000).status == 400


@pytest.mark.parametrize("created", [None, ...])
def test_an_event_without_a_time_is_of_the_time_when_it_came(shop: AwsHarness, created: Any) -> None:
    lost = Purchase().dispute("lost") | {"created": created}
    if created is ...:
        del lost["created"]
    happen(shop, Purchase().checkout(), lost)
    (payment,) = rows(shop.env["PAYMENTS_TABLE"], "PAYMENT#stripe#pi_1")
    assert payment["lost_at"] == pytest.approx(system_clock(), abs=60_000)


def test_a_sale_of_a_payment_link_names_its_buyer_and_waits_for_a_person(shop: AwsHarness) -> None:
    happen(shop, sale(metadata={"user_id": " "}, client_reference_id=" dora\n"))
    assert "user_id" in review(shop)
    assert audit(shop).order.user_id == "dora"
    body = {"order_id": audit(shop).order.id, "required_sessions": 5}
    assert shop.http("admin_create", "POST /admin/adbots", role="admin", body=body).json["user_id"] == "dora"


@pytest.mark.parametrize("reference", [None, "", "two words", 7, ["dora"], "x" * 129])
def test_a_reference_that_is_no_users_id_names_no_user(shop: AwsHarness, reference: Any) -> None:
    happen(shop, sale(metadata={"user_id": None}, client_reference_id=reference))
    assert "user_id" in review(shop)
    assert audit(shop).order.user_id == ""


def test_a_free_sale_without_a_discount_is_no_sale(shop: AwsHarness) -> None:
    happen(shop, sale(amount=0, payment_status="no_payment_required"))
    assert "amount" in review(shop)


FITS: dict[str, dict[str, Any]] = {
    "as printed": {},
    "a line end behind the user": {"metadata": {"user_id": " cara\n"}},
    "blanks around the number": {"metadata": {"required_sessions": " 5 "}},
    "blanks around plan and pool": {"metadata": {"plan_id": " starter ", "pool": "standard\n"}},
    "the plan's number": {"metadata": {"required_sessions": None}},
    "the plan's pool": {"metadata": {"pool": None}},
    "capitals": {"currency": "EUR"},
    "all of it off": {
        "amount_total": 0,
        "payment_status": "no_payment_required",
        "total_details": {"amount_discount": 4900, "amount_tax": 0},
    },
    "half of it off": {"amount_total": 2450, "total_details": {"amount_discount": 2450, "amount_tax": 0}},
    "a tax": {"amount_total": 5831, "total_details": {"amount_discount": 0, "amount_tax": 931}},
    "a tax that is in the price": {"total_details": {"amount_discount": 0, "amount_tax": 782}},
    "no details": {"total_details": None},
}


@pytest.mark.parametrize("name", sorted(FITS))
def test_a_sale_at_the_plans_price_fits_whatever_was_taken_off(name: str) -> None:
    assert decide(sale(**FITS[name])) == ("PAID", "", True)


@pytest.mark.parametrize("name", ["a line end behind the user", "the plan's number", "all of it off"])
def test_a_sale_at_the_plans_price_becomes_a_bot_of_the_plan(shop: AwsHarness, name: str) -> None:
    happen(shop, sale(**FITS[name]))
    found = audit(shop)
    assert (found.order.status, found.bot.user_id, found.bot.required) == ("PAID", "cara", 5)
    assert (found.bot.pool, found.order.plan_id, found.order.currency) == ("standard", "starter", "eur")


def test_a_plan_gives_its_own_pool_where_the_sale_names_none(shop: AwsHarness) -> None:
    shop.pool("gold")
    put(shop, "starter", pool="gold")
    happen(shop, sale(metadata={"pool": None}))
    assert audit(shop).bot.pool == "gold"


def test_a_sale_at_a_former_price_of_the_plan_is_good_and_mixtures_of_versions_are_not(shop: AwsHarness) -> None:
    put(shop, "starter", amount=9900, required_sessions=10)
    happen(shop, sale())
    assert audit(shop).bot.required == 5
    happen(
        shop, sale(id="cs_2", payment_intent="pi_2", amount=9900, metadata={"required_sessions": "10"}) | {"id": "e2"}
    )
    assert sorted(bot.required for bot in audit(shop).bots) == [5, 10]
    mixed = sale(id="cs_3", payment_intent="pi_3", metadata={"required_sessions": "10"})
    happen(shop, mixed | {"id": "evt_mixed"})
    (order,) = [order for order in audit(shop).orders if order.status == "REVIEW"]
    assert "required_sessions" in (order.review_reason or "") or "amount" in (order.review_reason or "")


def test_a_plan_that_was_removed_and_made_anew_keeps_all_its_prices(shop: AwsHarness) -> None:
    put(shop, "starter", amount=5900)
    assert shop.http("checkout", "DELETE /admin/plans/{id}", role="admin", id="starter").status == 200
    happen(shop, sale())
    put(shop, "starter", amount=6900)
    happen(shop, sale(id="cs_2", payment_intent="pi_2", amount=5900) | {"id": "evt_2"})
    happen(shop, sale(id="cs_3", payment_intent="pi_3", amount=6900) | {"id": "evt_3"})
    assert [order.status for order in audit(shop).orders] == ["PAID"] * 3
    listed = shop.http("checkout", "GET /plans", role="viewer").json["items"]
    assert [(plan["plan_id"], plan["version"]) for plan in listed] == [("monthly", 1), ("starter", 3), ("yen", 1)]


def test_pages_of_plans_are_full_whatever_former_versions_there_are(shop: AwsHarness) -> None:
    for amount in range(100, 1100, 100):
        put(shop, "starter", amount=amount)
    seen, cursor = [], ""
    while True:
        query = {"limit": "1"} | ({"cursor": cursor} if cursor else {})
        page = shop.http("checkout", "GET /plans", role="customer", query=query).json
        seen += [plan["plan_id"] for plan in page["items"]]
        if not (cursor := page["next"]):
            break
    assert seen == ["monthly", "starter", "yen"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"amount": 100}, "amount: found 100, expected 4900"),
        ({"amount": 9900}, "amount: found 9900"),
        ({"amount_paid": 100}, "amount: found 100"),
        ({"currency": "usd"}, "currency: found usd"),
        ({"plan": "starter"}, "mode: found subscription"),
        ({"plan": "gold"}, "metadata.plan_id: found gold"),
    ],
)
def test_a_renewal_that_does_not_fit_is_looked_at_and_its_bot_runs_on(
    shop: AwsHarness, changes: dict[str, Any], said: str
) -> None:
    happen(shop, subscribed(), renewal(**changes))
    found = audit(shop)
    assert (found.order.status, found.bot.status) == ("REVIEW", AdbotStatus.QUEUED)
    assert said in (found.order.review_reason or "")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amount_paid": 0, "amount_due": 0},  # credit of the customer's
        {"amount_paid": 2450, "amount_due": 2450, "total": 2450, "total_discount_amounts": [{"amount": 2450}]},
        {"amount_paid": 5831, "amount_due": 5831, "total": 5831},  # with tax
    ],
)
def test_a_renewal_at_the_plans_price_fits_whatever_was_taken_off(shop: AwsHarness, changes: dict[str, Any]) -> None:
    happen(shop, subscribed(), renewal(**changes))
    assert audit(shop).order.status == "PAID"


def test_a_first_invoice_at_another_price_is_no_bot_even_if_the_session_comes_first_or_last(shop: AwsHarness) -> None:
    for events in ([renewal(1, amount=100), subscribed()], [subscribed(amount=100), renewal(1)]):
        empty()
        shop.pool()
        put(shop, "monthly", **MONTHLY)
        happen(shop, *events)
        assert "amount: found 100" in review(shop)


def test_prorations_are_no_price_and_a_bill_of_them_alone_is_no_sale(shop: AwsHarness) -> None:
    happen(shop, subscribed())
    mixed = renewal(2, subtotal=7400, total=7400, amount_due=7400, amount_paid=7400)
    part = {**mixed["data"]["object"]["lines"]["data"][0], "amount": 2500, "proration": True}
    mixed["data"]["object"]["lines"]["data"].append(part)
    alone = renewal(3, amount=1200, billing_reason="subscription_update")
    alone["data"]["object"]["lines"]["data"][0]["proration"] = True
    happen(shop, mixed, alone)
    found = audit(shop)
    assert (found.order.status, found.order.amount) == ("PAID", 4900 + 7400 + 1200)


def test_a_settled_payment_stays_settled_and_so_does_the_same_price_in_its_renewals(shop: AwsHarness) -> None:
    happen(shop, subscribed(amount=3900))
    body = {"order_id": audit(shop).order.id, "required_sessions": 5, "reason": "agreed on the phone"}
    assert shop.http("admin_create", "POST /admin/adbots", role="admin", body=body).status == 201
    happen(shop, renewal(2, amount=3900), subscribed(amount=3900) | {"id": "evt_again"})
    assert audit(shop).order.status == "PAID"
    put(shop, "monthly", **MONTHLY | {"amount": 5900})
    happen(shop, sample("charge.refunded.partial") | {"id": "evt_other"})
    assert audit(shop).orders[0].status == "PAID"
    happen(shop, renewal(3, amount=100))
    assert audit(shop).order.status == "REVIEW"


amounts = st.one_of(st.integers(-5000, 20_000), st.sampled_from([4900, "4900", "49.00", "", None, True, 4900.0]))
numbers = st.sampled_from(
    ["5", " 5", "05", "6", "500", "501", "-5", "5.0", "1e3", "", "five", "\N{ARABIC-INDIC DIGIT FIVE}", None]
)
currencies = st.sampled_from(["eur", "EUR", " eur ", "usd", "jpy", "krw", "", None])
modes = st.sampled_from(["payment", "subscription", "", None])
plans = st.sampled_from(["starter", "monthly", "gold", "", None, "starter#000001", "../starter"])


@given(amount=amounts, number=numbers, currency=currencies, mode=modes, plan=plans)
def test_whatever_a_sale_says_it_is_a_bot_exactly_if_all_of_it_fits(
    amount: Any, number: Any, currency: Any, mode: Any, plan: Any
) -> None:
    event = sale(amount=amount, currency=currency, mode=mode, metadata={"required_sessions": number, "plan_id": plan})
    fits = (
        (amount == "4900" or (type(amount) is int and amount == 4900))
        and (number or "").strip() in {"5", "05", ""}
        and (currency or "").strip().lower() == "eur"
        and (mode, plan) in {("payment", "starter"), ("subscription", "monthly")}
    )
    status, reason, has_bot = decide(event)
    assert (status, has_bot, bool(reason)) == (("PAID", True, False) if fits else ("REVIEW", False, True))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(st.sampled_from(["session", "again", "first invoice", "renewal"]), min_size=1, max_size=5),
    price=st.sampled_from([4900, 100]),
)
def test_a_sale_reported_often_and_in_any_order_is_one_order(shop: AwsHarness, events: list[str], price: int) -> None:
    empty()
    shop.pool()
    put(shop, "monthly", **MONTHLY)
    reported = {
        "session": subscribed(amount=price),
        "again": subscribed(amount=price) | {"id": "evt_again"},
        "first invoice": renewal(1, amount=price, billing_reason="subscription_create"),
        "renewal": renewal(2, amount=price),
    }
    happen(shop, *(reported[name] for name in events))
    found = audit(shop)
    assert (found.order.status, len(found.bots)) == (("PAID", 1) if price == 4900 else ("REVIEW", 0))


# Who buys


@pytest.fixture
def pool(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user pool with one user, and the shop asking it."""
    client = aws.cognito()
    pool_id: str = client.create_user_pool(PoolName="people")["UserPool"]["Id"]
    made = client.admin_create_user(
        UserPoolId=pool_id, Username="cara", UserAttributes=[{"Name": "email", "Value": "cara@example.com"}]
    )["User"]
    monkeypatch.setenv("KNOWN_USERS", pool_id)
    forget_cached()
    found = next(one["Value"] for one in made["Attributes"] if one["Name"] == "sub")
    yield str(found)
    forget_cached()


def test_a_user_of_the_pool_gets_a_bot_and_one_who_is_not_there_does_not(shop: AwsHarness, pool: str) -> None:
    happen(shop, sale(metadata={"user_id": f"{pool}\n"}))
    assert audit(shop).bot.user_id == pool
    for number, user in enumerate(("cara", USER, "ghost", "cara@example.com", pool.upper(), f"{pool}x"), 2):
        happen(
            shop,
            sale(id=f"cs_{number}", payment_intent=f"pi_{number}", metadata={"user_id": user}) | {"id": f"e{number}"},
        )
    waiting = [order for order in audit(shop).orders if order.status == "REVIEW"]
    assert len(waiting) == 6
    assert all((order.review_reason or "").startswith("metadata.user_id: found ") for order in waiting)
    assert not any("@" in (order.review_reason or "") for order in waiting)
    assert len(audit(shop).bots) == 1


@pytest.mark.parametrize("code", ["TooManyRequestsException", "InternalErrorException", "AccessDeniedException", None])
def test_a_pool_that_gives_no_answer_is_asked_again_and_never_a_review_or_a_bot(
    shop: AwsHarness, pool: str, monkeypatch: pytest.MonkeyPatch, code: str | None
) -> None:
    asked: list[str] = []
    answer = aws.cognito().list_users

    def down(**request: Any) -> Any:
        asked.append(request["Filter"])
        if code is None:
            raise ConnectionError("no")
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "ListUsers")

    monkeypatch.setattr(aws.cognito(), "list_users", down)
    deliver(shop, sale(metadata={"user_id": pool}))
    assert consume(shop) == ["m0"]
    assert (audit(shop).orders, len(audit(shop).unsettled)) == ([], 1)
    assert asked == [f'sub = "{pool}"']
    monkeypatch.setattr(aws.cognito(), "list_users", answer)
    happen(shop, sale(metadata={"user_id": pool}))
    assert audit(shop).order.status == "PAID"


def test_a_batch_that_waits_for_a_pool_that_hangs_gives_back_what_it_has_no_time_for(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(shop, sale())
    (body,) = shop.messages("payments")
    record = {"messageId": "m0", "eventSource": "aws:sqs", "receiptHandle": "r", "body": json.dumps(body)}
    record |= {"eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:payments", "attributes": {}}
    answer = shop.app("settle_payments").handler({"Records": [record]}, FakeContext(left=5000))
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    assert audit(shop).orders == []


def test_an_answer_is_remembered_for_five_minutes_a_failure_is_not(shop: AwsHarness) -> None:
    from adbot_queue.payments.customers import Customers  # noqa: PLC0415

    now, answers = [1_000_000], iter([True, ClientError({}, "ListUsers"), False, True])
    asked: list[str] = []

    def exists(user: str) -> bool:
        asked.append(user)
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    customers = Customers(exists, lambda: now[0])
    assert [customers.knows("a") for _ in range(3)] == [True] * 3
    with pytest.raises(ClientError):
        customers.knows("b")
    assert [customers.knows("b") for _ in range(2)] == [False] * 2
    now[0] += 300_001
    assert customers.knows("b")
    assert asked == ["a", "b", "b", "b"]


def test_the_pool_is_not_asked_about_a_sale_that_does_not_fit(
    shop: AwsHarness, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws.cognito(), "list_users", None)
    happen(shop, sale(amount=100, metadata={"user_id": pool}))
    assert "amount" in review(shop)


def test_a_renewal_for_a_user_who_is_gone_is_looked_at(
    shop: AwsHarness, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(shop, subscribed(metadata={"plan_id": "monthly", "user_id": pool}))
    forget_cached()
    monkeypatch.setattr(aws.cognito(), "list_users", lambda **_: {"Users": []})
    happen(shop, renewal())
    found = audit(shop)
    assert (found.order.status, found.bot.user_id) == ("REVIEW", pool)
    assert "user_id" in (found.order.review_reason or "")


def test_a_user_whom_a_person_has_accepted_is_accepted_in_the_renewals(shop: AwsHarness, pool: str) -> None:
    happen(shop, subscribed(metadata={"plan_id": "monthly", "user_id": "ghost"}))
    assert "ghost" in review(shop)
    body = {"order_id": audit(shop).order.id, "required_sessions": 5}
    assert shop.http("admin_create", "POST /admin/adbots", role="admin", body=body).json["user_id"] == "ghost"
    happen(shop, renewal())
    assert audit(shop).order.status == "PAID"


def test_with_any_user_only_the_form_of_the_id_counts(shop: AwsHarness) -> None:
    for number, user in enumerate(["auth0|abc", "17", "cara@example.com", "x" * 128]):
        happen(
            shop,
            sale(id=f"cs_{number}", payment_intent=f"pi_{number}", metadata={"user_id": user}) | {"id": f"e{number}"},
        )
    assert {bot.user_id for bot in audit(shop).bots} == {"auth0|abc", "17", "cara@example.com", "x" * 128}
    happen(shop, sale(id="cs_9", payment_intent="pi_9", metadata={"user_id": "x" * 129}) | {"id": "e9"})
    assert len(audit(shop).bots) == 4


def test_the_samples_fit_the_seeded_shop(shop: AwsHarness) -> None:
    from local.seed import PLANS  # noqa: PLC0415

    empty()
    shop.pool()
    for plan, body in PLANS.items():
        put(shop, plan, **body)
    happen(shop, *(sample(name) for name in sample_names()))
    assert not [order for order in audit(shop).orders if order.status == "REVIEW"]
