"""The main job over real HTTP: a signed payment becomes a bot that waits, completes by itself and runs."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import stripe

from local.stack import Stack
from tests.e2e.conftest import Api

Eventually = Callable[..., Any]
Aws = Callable[[str], Any]


class Shop:
    """Stripe's side: signed events about payments of one customer, for bots of one pool."""

    def __init__(self, api: Api, stack: Stack, pool: str) -> None:
        self._api = api
        self._secret = stack["stripe_webhook_secret"]
        claims = api.token("customer").split(".")[1]
        self.user = json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"]
        self.pool = pool

    def completed(self, sessions: int | str, **changed: Any) -> dict[str, Any]:
        """A paid Checkout session."""
        name = uuid.uuid4().hex[:16]
        plan = self.plan(sessions if isinstance(sessions, int) else 1)
        metadata = {"user_id": self.user, "pool": self.pool, "required_sessions": str(sessions), "plan_id": plan}
        return event(
            "checkout.session.completed",
            {
                "id": f"cs_test_{name}",
                "object": "checkout.session",
                "mode": "payment",
                "payment_status": "paid",
                "payment_intent": f"pi_{name}",
                "amount_total": 4900,
                "currency": "eur",
                "metadata": metadata,
                **changed,
            },
        )

    def plan(self, sessions: int) -> str:
        """Create a plan of that many sessions for 49.00 euros."""
        name = f"e2e-{sessions}"
        body = {"name": name, "pool": self.pool, "required_sessions": sessions, "amount": 4900, "currency": "eur"}
        assert self._api("admin", "PUT", f"/admin/plans/{name}", json=body).status_code in {200, 201}
        return name

    def refunded(self, paid: dict[str, Any], amount: int) -> dict[str, Any]:
        """Money of that payment given back, so much in all."""
        intent = paid["data"]["object"]["payment_intent"]
        charge = {"id": f"ch_{intent[3:]}", "object": "charge", "payment_intent": intent, "amount": 4900}
        return event("charge.refunded", {**charge, "amount_refunded": amount, "refunded": amount == 4900})

    def send(self, sent: dict[str, Any], secret: str | None = None, at: int | None = None) -> requests.Response:
        """Deliver an event as Stripe does."""
        return self.deliver(json.dumps(sent), secret, at)

    def deliver(
        self, body: str, secret: str | None = None, at: int | None = None, kind: str = "application/json"
    ) -> requests.Response:
        moment = at or int(time.time())
        signed = stripe.WebhookSignature._compute_signature(f"{moment}.{body}", secret or self._secret)
        headers = {"stripe-signature": f"t={moment},v1={signed}", "content-type": kind}
        return self._api(None, "POST", "/webhooks/stripe", data=body.encode(), headers=headers)


def event(kind: str, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "event",
        "type": kind,
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": about},
    }


@pytest.fixture
def pool(api: Api) -> str:
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    assert api("admin", "PUT", f"/admin/stock/pools/{name}").status_code == 201
    return name


@pytest.fixture
def shop(api: Api, stack: Stack, pool: str) -> Shop:
    return Shop(api, stack, pool)


def bots_of(api: Api, pool: str) -> list[dict[str, Any]]:
    listed = api("customer", "GET", "/adbots?limit=100").json()["items"]
    return [bot for bot in listed if bot["pool"] == pool]


def upload(api: Api, pool: str, *ids: str) -> dict[str, Any]:
    lines = "\n".join(json.dumps({"session_id": one, "token": "t"}) for one in ids)
    answer = api("admin", "POST", f"/admin/stock/sessions/bulk?pool={pool}", data=lines.encode())
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def fresh(count: int) -> list[str]:
    name = uuid.uuid4().hex[:10]
    return [f"{name}-{number}" for number in range(count)]


def test_a_paid_order_waits_for_stock_completes_by_itself_and_can_be_started(
    api: Api, shop: Shop, pool: str, eventually: Eventually
) -> None:
    sessions = fresh(5)
    upload(api, pool, *sessions[:2])

    assert shop.send(shop.completed(5)).status_code == 200

    (bot,) = eventually(lambda: [b for b in bots_of(api, pool) if b["sessions_assigned"] == 2])
    assert (bot["status"], bot["missing_sessions_count"]) == ("QUEUED", 3)
    refused = api("customer", "POST", f"/adbots/{bot['adbot_id']}/start")
    assert (refused.status_code, refused.json()["missing_sessions_count"]) == (403, 3)
    assert refused.json()["queued_reason"] == "INSUFFICIENT_STOCK"
    stats = api("viewer", "GET", f"/admin/queue/stats?pool={pool}").json()
    assert (stats["queue_length"], stats["missing_total"], stats["free_stock"]) == (1, 3, 0)

    upload(api, pool, *sessions[2:])

    eventually(lambda: api("customer", "GET", f"/adbots/{bot['adbot_id']}").json()["status"] == "READY")
    assert api("viewer", "GET", f"/adbots/{bot['adbot_id']}").json()["session_ids"] == sessions
    started = api("customer", "POST", f"/adbots/{bot['adbot_id']}/start")
    assert (started.status_code, started.json()["status"]) == (200, "RUNNING")
    order = api("customer", "GET", f"/orders/{bot['order_id']}").json()
    assert (order["status"], order["amount"], order["currency"]) == ("PAID", 4900, "eur")


def test_the_same_event_many_times_is_one_bot(api: Api, shop: Shop, pool: str, eventually: Eventually) -> None:
    sent = shop.completed(1)
    assert {shop.send(sent).status_code for _ in range(4)} == {200}
    eventually(lambda: bots_of(api, pool))
    assert shop.send(sent).status_code == 200
    assert len(bots_of(api, pool)) == 1


def test_a_refund_that_comes_before_its_payment_ends_in_a_cancelled_bot(
    api: Api, shop: Shop, pool: str, eventually: Eventually
) -> None:
    paid = shop.completed(1)
    assert shop.send(shop.refunded(paid, 4900)).status_code == 200
    assert shop.send(paid).status_code == 200
    (bot,) = eventually(lambda: [b for b in bots_of(api, pool) if b["status"] == "CANCELLED"])
    assert api("customer", "GET", f"/orders/{bot['order_id']}").json()["status"] == "REFUNDED"


def test_a_partial_refund_leaves_the_bot_alone(api: Api, shop: Shop, pool: str, eventually: Eventually) -> None:
    paid = shop.completed(1)
    shop.send(paid)
    (bot,) = eventually(lambda: bots_of(api, pool))
    shop.send(shop.refunded(paid, 900))
    order = f"/orders/{bot['order_id']}"
    eventually(lambda: api("customer", "GET", order).json()["status"] == "PARTIALLY_REFUNDED")
    assert bots_of(api, pool)[0]["status"] == "QUEUED"


def test_a_payment_without_usable_metadata_is_reviewed_and_gets_its_bot_manually(
    api: Api, shop: Shop, pool: str, eventually: Eventually
) -> None:
    sent = shop.completed("many")
    shop.send(sent)
    intent = sent["data"]["object"]["payment_intent"]

    def found() -> list[dict[str, Any]]:
        orders = api("viewer", "GET", "/orders?status=REVIEW&limit=100").json()["items"]
        return [order for order in orders if order["provider_ids"].get("payment_intent") == intent]

    (order,) = eventually(found)
    assert "required_sessions" in order["review_reason"]
    body = {"order_id": order["order_id"], "user_id": shop.user, "required_sessions": 1, "pool": pool}
    assert api("admin", "POST", "/admin/adbots", json=body).status_code == 201
    assert api("viewer", "GET", f"/orders/{order['order_id']}").json()["status"] == "PAID"


@pytest.mark.parametrize(
    ("secret", "at"), [("whsec_wrong", None), (None, int(time.time()) - 3600)], ids=["wrong", "expired"]
)
def test_a_bad_signature_is_refused_and_records_nothing(
    api: Api, shop: Shop, pool: str, secret: str | None, at: int | None
) -> None:
    answer = shop.send(shop.completed(1), secret, at)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].endswith(":bad-signature")
    assert bots_of(api, pool) == []


def test_no_signature_is_refused(api: Api) -> None:
    assert api(None, "POST", "/webhooks/stripe", json={"id": "evt_1"}).status_code == 400


def test_signed_nonsense_is_malformed_and_an_unknown_event_is_recorded_and_ignored(shop: Shop) -> None:
    assert shop.deliver("{nonsense").status_code == 400
    ignored = shop.send(event("customer.created", {"id": "cus_1"}))
    assert (ignored.status_code, ignored.json()["outcome"]) == (200, "ignored")


def test_a_body_that_arrives_in_base64_keeps_its_signature(shop: Shop) -> None:
    """An HTTP API hands form bodies over in base64; the signature is over the bytes."""
    body = json.dumps(event("customer.created", {"id": "cus_1"}))
    assert shop.deliver(body, kind="application/x-www-form-urlencoded").status_code == 200


def test_a_body_over_the_limit_is_413(shop: Shop) -> None:
    answer = shop.deliver(json.dumps({"id": "evt_1", "filler": "x" * 300_000}))
    assert (answer.status_code, answer.json()["limit"]) == (413, 262_144)


def test_ten_thousand_lines_are_uploaded_with_a_verdict_each_and_one_bad_line_loses_no_other(
    api: Api, pool: str
) -> None:
    ids = fresh(10_000)
    lines = [json.dumps({"session_id": one}) for one in ids]
    lines[4_321] = "{broken"
    path = f"/admin/stock/sessions/bulk?pool={pool}"
    answer = api(
        "admin", "POST", path, data="\n".join(lines).encode(), headers={"content-type": "application/x-ndjson"}
    )
    assert answer.status_code == 200, answer.text
    reported = answer.json()
    assert (reported["accepted"], reported["invalid"], len(reported["lines"])) == (9_999, 1, 10_000)
    assert reported["lines"][4_321]["status"] == "invalid"
    assert api("viewer", "GET", f"/admin/queue/stats?pool={pool}").json()["free_stock"] == 9_999


def test_domain_events_reach_the_bus(
    api: Api, aws: Aws, stack: Stack, pool: str, eventually: Eventually, listener: Callable[[], list[dict[str, Any]]]
) -> None:
    upload(api, pool, *fresh(1))
    made = api("admin", "POST", "/admin/adbots", json={"required_sessions": 1, "pool": pool}).json()
    api("admin", "POST", f"/adbots/{made['adbot_id']}/start")

    heard: list[str] = []

    def all_heard() -> bool:
        heard.extend(
            reported["detail-type"] for reported in listener() if reported["detail"]["adbot_id"] == made["adbot_id"]
        )
        return {"adbot.created", "adbot.resolved", "adbot.started"} <= set(heard)

    eventually(all_heard)


@pytest.fixture
def listener(aws: Aws, stack: Stack) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the bus sends from now on."""
    bus, name = stack["outputs"]["EventBus"], f"listen-{uuid.uuid4().hex[:8]}"
    queue = aws("sqs").create_queue(QueueName=name)["QueueUrl"]
    arn = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws("events").put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"source": ["adbot-queue"]}))
    aws("events").put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "1", "Arn": arn}])

    def read() -> list[dict[str, Any]]:
        got = aws("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in got:
            aws("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in got]

    yield read
    aws("events").remove_targets(Rule=name, EventBusName=bus, Ids=["1"])
    aws("events").delete_rule(Name=name, EventBusName=bus)
    aws("sqs").delete_queue(QueueUrl=queue)


def test_an_operator_creates_reassigns_loses_and_cancels(api: Api, pool: str, eventually: Eventually) -> None:
    one, two, three = fresh(3)
    upload(api, pool, one, two, three)
    key = {"idempotency-key": uuid.uuid4().hex}
    body = {"required_sessions": 2, "pool": pool, "reason": "goodwill"}
    made = api("admin", "POST", "/admin/adbots", json=body, headers=key)
    again = api("admin", "POST", "/admin/adbots", json=body, headers=key)
    assert (made.status_code, made.json()["status"]) == (201, "READY")
    assert (again.json()["adbot_id"], again.headers["idempotent-replayed"]) == (made.json()["adbot_id"], "true")
    bot = made.json()["adbot_id"]

    swapped = api("admin", "PUT", f"/admin/adbots/{bot}/sessions", json={"add": [three], "remove": [one]})
    assert swapped.status_code == 200, swapped.text
    assert api("viewer", "GET", f"/adbots/{bot}").json()["session_ids"] == [two, three]

    lost = api("admin", "POST", f"/admin/stock/sessions/{two}/lost", json={"reason": "banned"})
    assert lost.json()["state"] == "lost"
    eventually(lambda: api("viewer", "GET", f"/adbots/{bot}").json()["session_ids"] in ([one, three], [three, one]))

    assert api("admin", "POST", f"/admin/adbots/{bot}/cancel", json={}).json()["status"] == "CANCELLED"
    assert api("viewer", "GET", f"/admin/stock/sessions/{one}").json()["state"] == "free"
    actions = [entry["action"] for entry in api("viewer", "GET", f"/admin/ledger?target=adbot:{bot}").json()["items"]]
    assert actions == ["adbot.cancel", "session.lost", "adbot.reassign", "adbot.create"]
    report = api("admin", "POST", f"/admin/queue/reconcile?pool={pool}").json()
    assert (report["conclusive"], report["findings"]) == (True, [])


def test_a_manual_run_is_accepted(api: Api, pool: str) -> None:
    answer = api("admin", "POST", "/admin/queue/resolve", json={"pool": pool})
    assert (answer.status_code, answer.json()) == (202, {"pools": [pool], "not_sent": []})


def test_a_customer_starts_a_checkout_for_a_plan_that_an_operator_made(api: Api, pool: str) -> None:
    plan = f"plan-{uuid.uuid4().hex[:8]}"
    body = {"name": "Test", "pool": pool, "required_sessions": 3, "amount": 1500, "currency": "eur", "mode": "payment"}
    assert api("viewer", "PUT", f"/admin/plans/{plan}", json=body).status_code == 403
    assert api("admin", "PUT", f"/admin/plans/{plan}", json=body).status_code == 201
    begun = api("customer", "POST", "/checkout", json={"plan_id": plan})
    assert begun.status_code == 201, begun.text
    assert begun.json()["url"].startswith("http")
    assert api("customer", "POST", "/checkout", json={"plan_id": "no-such-plan"}).status_code == 404
