"""What Stripe would send as the story of one purchase, and the ways into and around the payments functions."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends

from adbot_queue.adbots.model import Adbot, Order, OrderStatus
from adbot_queue.adbots.storage import readers
from adbot_queue.core import aws, secrets
from adbot_queue.core.attribute_values import decode, encode
from adbot_queue.payments.model import bot_id_of, order_id_of
from adbot_queue.payments.plan import BillingInterval, CheckoutMode, Plan
from adbot_queue.platform import circuit_breaker as circuits
from adbot_queue.platform import rate_limits as limits
from adbot_queue.testing.in_process_aws import REGION
from local.stand_ins import sendgrid_events
from tests.builders.world import Answer, AwsHarness, FakeContext

SAMPLES = Path(__file__).parents[2] / "events" / "stripe"
SECRET = "whsec_test"
SENDGRID_KEY = sendgrid_events.new_key()
"""What SendGrid signs its events with."""
Event = dict[str, Any]


@lru_cache(maxsize=64)
def _read(name: str) -> str:
    return (SAMPLES / f"{name}.json").read_text()


def sample(name: str) -> Event:
    """A sample out of events/stripe."""
    event: Event = json.loads(_read(name))
    return event


def sample_names() -> list[str]:
    return sorted(path.name.removesuffix(".json") for path in SAMPLES.glob("*.json"))


def metadata(**changes: Any) -> dict[str, str]:
    """What POST /checkout writes, changed; None takes a field away."""
    baseline = {"plan_id": "starter", "pool": "standard", "required_sessions": "5", "user_id": "cara"}
    return {name: value for name, value in (baseline | changes).items() if value is not None}


PLANS = {
    plan.id: plan
    for plan in (
        Plan("starter", "Starter", "standard", 5, 4900, "eur"),
        Plan("monthly", "Monthly", "standard", 5, 4900, "eur", CheckoutMode.SUBSCRIPTION, BillingInterval.MONTH),
    )
}
"""What a `Purchase` buys, unless it says otherwise."""


def open_shop(world: AwsHarness) -> None:
    """A pool without stock, and the plans that a `Purchase` buys, there without anybody's having signed for them."""
    world.pool()
    for plan in PLANS.values():
        item = encode({"pk": "PLANS", "sk": plan.id, **asdict(plan)})
        aws.dynamodb().put_item(TableName=world.env["ADBOTS_TABLE"], Item=item)


@dataclass
class Purchase:
    """One purchase; every method gives the next event of it. Ids are its own, as Stripe would make them."""

    name: str = "1"
    subscription: bool = False
    metadata: dict[str, str] = field(default_factory=metadata)
    amount: int = 4900
    invoices: int = 1

    def __post_init__(self) -> None:
        if self.subscription and self.metadata.get("plan_id") == "starter":
            self.metadata = self.metadata | {"plan_id": "monthly"}

    @property
    def key(self) -> str:
        return f"sub_{self.name}" if self.subscription else f"pi_{self.name}"

    @property
    def order_id(self) -> str:
        return order_id_of(self.key)

    @property
    def bot_id(self) -> str:
        return bot_id_of(self.order_id)

    def intent(self, invoice: int = 1) -> str:
        return f"pi_{self.name}_{invoice}" if self.subscription else f"pi_{self.name}"

    def _event(self, name: str, kind: str, **changes: Any) -> Event:
        event = copy.deepcopy(sample(name))
        event["id"] = f"evt_{self.name}_{kind}"
        event["data"]["object"] |= changes
        return event

    def checkout(self, name: str = "checkout.session.completed", kind: str = "checkout", **changes: Any) -> Event:
        ids = {"id": f"cs_{self.name}", "metadata": self.metadata, "amount_total": self.amount}
        ids |= {"amount_subtotal": self.amount}
        if self.subscription:
            ids |= {
                "mode": "subscription",
                "subscription": self.key,
                "invoice": f"in_{self.name}_1",
                "payment_intent": None,
            }
        else:
            ids |= {"payment_intent": self.key}
        return self._event(name, kind, **ids | changes)

    def unpaid(self) -> Event:
        return self.checkout("checkout.session.completed.unpaid", "unpaid")

    def succeeded(self) -> Event:
        return self.checkout("checkout.session.async_payment_succeeded", "succeeded")

    def failed(self) -> Event:
        return self.checkout("checkout.session.async_payment_failed", "failed")

    def invoice(self, number: int = 1, *, old: bool = False, **changes: Any) -> Event:
        """The first one, or a renewal."""
        name = (
            "invoice.paid.before-2025-03-31" if old else "invoice.paid.first" if number == 1 else "invoice.paid.renewal"
        )
        sums = dict.fromkeys(("amount_paid", "amount_due", "subtotal", "total"), self.amount)
        event = self._event(name, f"invoice{number}", **{"id": f"in_{self.name}_{number}", **sums, **changes})
        invoice = event["data"]["object"]
        if old:
            invoice |= {"subscription": self.key, "payment_intent": self.intent(number)}
            invoice["subscription_details"] = {"metadata": self.metadata}
        else:
            details = {"subscription": self.key, "metadata": self.metadata} if self.subscription else None
            invoice["parent"] = {"subscription_details": details, "type": "subscription_details"}
        for line in invoice["lines"]["data"]:
            line["metadata"] = self.metadata
            line["period"] = {"start": 1_700_000_000 + number * 1000, "end": 1_700_001_000 + number * 1000}
        return event

    def link(self, number: int = 1) -> Event:
        event = self._event("invoice_payment.paid", f"link{number}", invoice=f"in_{self.name}_{number}")
        event["data"]["object"]["payment"] = {"payment_intent": self.intent(number), "type": "payment_intent"}
        return event

    def deleted(self) -> Event:
        return self._event("customer.subscription.deleted", "deleted", id=self.key)

    def refund(self, amount: int | None = None, invoice: int = 1) -> Event:
        """Of so much in all, by default of everything."""
        total = self.amount if amount is None else amount
        ids = {"id": f"ch_{self.intent(invoice)}", "payment_intent": self.intent(invoice)}
        return self._event("charge.refunded.full", f"refund{total}_{invoice}", amount_refunded=total, **ids)

    def dispute(self, closed: str = "", number: int = 1, invoice: int = 1) -> Event:
        """Opened, or closed as `won` or `lost`."""
        name = f"charge.dispute.closed.{closed}" if closed else "charge.dispute.created"
        ids = {
            "id": f"du_{self.name}_{number}",
            "charge": f"ch_{self.intent(invoice)}",
            "payment_intent": self.intent(invoice),
        }
        return self._event(name, f"dispute{number}{closed}", **ids)


def signature(payload: str, secret: str = SECRET, at: int | None = None) -> str:
    """A Stripe-Signature header, made by hand: the library that checks it must not be the one that makes it."""
    at = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f"{at}.{payload}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


DEFAULT_SECRETS = {
    "stripe": {"api_key": "sk_test_1", "webhook_secret": SECRET},
    "sendgrid": {"api_key": "SG.1", "webhook_public_key": sendgrid_events.public_key(SENDGRID_KEY)},
    "segment": {"write_key": "wk_1"},
    # The key whose seed is 32 times 7.
    "solana": {
        "signing_key": "99eUso3aSbE9tqGSTXzo3TLfKb9RkMTURrHKQ1K7Zh3StnzFNUx8FKCPPPPpR479qsw5zv2WNBKmgiz7WqgAJfM",
        "rpc_url": "http://peers.test/solana/",
    },
    "twilio": {
        "account_sid": f"AC{'0' * 32}",
        "auth_token": "1" * 32,
        "messaging_service_sid": "",
        "from": "+15005550006",
        "whatsapp_from": "+15005550006",
    },
    "otp": {"pepper": "p" * 64},
    "web-push": {"private_key": "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw", "subject": "mailto:bots@example.com"},
    "address-key": {"key": "a-key-of-the-installations-own"},
}


def configure() -> None:
    """Fill in the providers' secrets, those that are not there yet."""
    manager = aws.secrets_manager()
    for name, value in DEFAULT_SECRETS.items():
        with suppress(manager.exceptions.ResourceExistsException):
            manager.create_secret(Name=name, SecretString=json.dumps(value))


@contextmanager
def secret(name: str, text: str | None) -> Iterator[None]:
    """A secret that holds something else, ("") has no value, as the template makes it, or (None) cannot be read."""
    aws.secrets_manager().delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    if text is not None:
        aws.secrets_manager().create_secret(Name=name, **({"SecretString": text} if text else {}))
    secrets._kept.cache_clear()
    try:
        yield
    finally:
        if text is not None:
            aws.secrets_manager().delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        aws.secrets_manager().create_secret(Name=name, SecretString=json.dumps(DEFAULT_SECRETS[name]))
        secrets._kept.cache_clear()


def deliver(world: AwsHarness, event: Event | str, *, header: str | None = None, base64: bool = False) -> Answer:
    """One delivery of the webhook, signed unless a header is given."""
    payload = event if isinstance(event, str) else json.dumps(event)
    headers = {"stripe-signature": signature(payload) if header is None else header}
    body = b64encode(payload.encode()).decode() if base64 else payload
    return world.http("webhook", "POST /webhooks/stripe", body=body, headers=headers, base64=base64)


def consume(world: AwsHarness) -> list[str]:
    """Run the consumer on all that waits in the payments queue; the ids of messages that failed."""
    records = [
        {
            "messageId": f"m{number}",
            "body": json.dumps(body),
            "eventSource": "aws:sqs",
            "receiptHandle": "r",
            "attributes": {},
        }
        for number, body in enumerate(world.messages("payments"))
    ]
    if not records:
        return []
    answer = world.app("settle_payments").handler({"Records": records}, FakeContext())
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


@contextmanager
def failing(client: Any, operation: str, *, code: str | None = None, after: int = 0) -> Iterator[list[str]]:
    """Let every call of that name fail after `after` successes; without a code the service cannot be reached."""
    calls: list[str] = []

    def refuse(model: Any, **_: Any) -> None:
        calls.append(model.name)
        if len(calls) <= after:
            return
        if code is None:
            raise EndpointConnectionError(endpoint_url="https://aws.test")
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, model.name)

    event = f"before-call.*.{operation}"
    client.meta.events.register(event, refuse, unique_id="failing")
    try:
        yield calls
    finally:
        client.meta.events.unregister(event, unique_id="failing")


def happen(world: AwsHarness, *events: Event) -> None:
    """Each is delivered and settled before the next comes."""
    for event in events:
        assert deliver(world, event).status == 200, event["type"]
        assert consume(world) == []


def rows(table: str, prefix: str = "") -> list[dict[str, Any]]:
    """Every item of a table whose key begins so."""
    found = aws.dynamodb().get_paginator("scan").paginate(TableName=table)
    decoded = [decode(item) for page in found for item in page["Items"]]
    return [item for item in decoded if item["pk"].startswith(prefix)]


def empty() -> None:
    """Take everything out of all tables and queues, and what this process remembers of circuits and limits.

    Behind the API's back: moto copies whole tables for a transaction, and tests that keep theirs small are many times
    faster than those that do not.
    """
    for table in _tables():
        table.items.clear()
    for queue in sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues.values():
        queue._messages.clear()
    for made in (circuits.from_env, limits.from_env):
        if clear := getattr(made, "cache_clear", None):  # some tests put a function of their own there
            clear()


def snapshot() -> Callable[[], None]:
    """Remember what all tables hold; calling the result puts it back, and empties the queues."""
    kept = {table.name: copy.deepcopy(table.items) for table in _tables()}

    def restore() -> None:
        empty()
        for table in _tables():
            table.items.update(copy.deepcopy(kept[table.name]))

    return restore


def _tables() -> list[Any]:
    return list(dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables.values())


@dataclass
class Audit:
    """All rows after a story."""

    orders: list[Order]
    bots: list[Adbot]
    unsettled: list[str]
    actions: list[str]

    @property
    def order(self) -> Order:
        (order,) = self.orders
        return order

    @property
    def bot(self) -> Adbot:
        (bot,) = self.bots
        return bot


def audit(world: AwsHarness) -> Audit:
    """Read everything, and check what must hold whatever happened: nothing lost, nothing doubled, all signed for."""
    env = world.env
    table = rows(env["ADBOTS_TABLE"])
    orders = [readers.order_of(item) for item in table if item["pk"].startswith("ORDER#")]
    bots = [readers.adbot_of(item) for item in table if item["pk"].startswith("ADBOT#")]
    events = rows(env["PAYMENTS_TABLE"], "EVENT#")
    entries = rows(env["LEDGER_TABLE"])
    unsettled = [event["pk"] for event in events if "unsettled" in event]
    assert sorted(bot.id for bot in bots) == sorted(order.adbot_id for order in orders if order.adbot_id)
    assert all(bot.order_id in {order.id for order in orders if order.adbot_id == bot.id} for bot in bots)
    for order in orders:
        assert order.adbot_id or order.status in {
            OrderStatus.PENDING,
            OrderStatus.FAILED,
            OrderStatus.REVIEW,
            OrderStatus.REFUNDED,
        }, order
    # Each settled event that means something is signed for once, each bot's making and ending once.
    provider = [entry for entry in entries if entry["role"] == "provider"]
    signed = sorted(entry["actor_event"] for entry in _events_of(provider) if entry["action"].startswith("payment."))
    settled = sorted(event["event_id"] for event in events if event.get("outcome", "ignored") != "ignored")
    assert signed == settled
    made = [entry["target"] for entry in entries if entry["action"] == "adbot.create"]
    assert sorted(made) == sorted(f"adbot:{bot.id}" for bot in bots)
    ended = [entry["target"] for entry in entries if entry["action"] == "adbot.cancel"]
    assert sorted(ended) == sorted(f"adbot:{bot.id}" for bot in bots if bot.status == "CANCELLED")
    return Audit(orders, bots, unsettled, sorted(entry["action"] for entry in entries))


def _events_of(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A provider signs with the event's id."""
    return [entry | {"actor_event": entry["request_id"]} for entry in entries]
