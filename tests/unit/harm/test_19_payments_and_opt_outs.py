"""Money and opt-outs are read by the fields that count, whatever else an event or a message holds."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from adbot_queue.core import telemetry
from adbot_queue.leads import inbound_messages
from adbot_queue.messaging import suppressions
from adbot_queue.messaging.opt_outs import Wish
from adbot_queue.messaging.sendgrid_events import MAX_AGE_MS, read
from adbot_queue.payments import setbacks, stripe_events
from tests.builders.payments import Purchase, configure, empty, happen, open_shop, sample, sample_names
from tests.builders.world import AwsHarness, world

NOW = 1_795_000_000_000
MISSING = object()
FOREIGN: dict[str, Any] = {
    "missing": MISSING,
    "empty": "",
    "null": None,
    "zero": 0,
    "negative": -1,
    "a time of 1970": 42,
    "fraction": 1.5,
    "huge": 10**25,
    "true": True,
    "words": "user 5 of another program",
    "list": ["a", {"a": 1}],
    "list of nothing": [None],
    "empty list": [],
    "object": {"error": {"code": None}},
    "empty object": {},
}
HANDLED = [name for name in sample_names() if stripe_events.is_handled(sample(name)["type"])]
COUNTS = {
    "charge.dispute": {"id", "status", "payment_intent"},
    "charge.refunded": {"id", "amount_refunded", "payment_intent"},
    "checkout.session": {"id", "mode", "payment_status", "amount_total", "payment_intent", "subscription", "invoice"},
    "customer.subscription": {"id"},
    "invoice.paid": {"id", "amount_paid", "payment_intent", "subscription", "parent", "payments"},
    "invoice_payment": {"invoice", "payment"},
    "payout": {"id"},
    "refund": {"id"},
}
"""Of each kind: what moved, how much, and the ids by which an order is found."""


def places(thing: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in an object, its lists and its objects."""
    names = thing.items() if isinstance(thing, Mapping) else enumerate(thing) if isinstance(thing, list) else ()
    for name, inner in names:
        yield (*at, name)
        yield from places(inner, (*at, name))


def altered(event: dict[str, Any], at: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(event)
    *outer, name = ("data", "object", *at)
    inner: Any = made
    for part in outer:
        inner = inner[part]
    if value is MISSING:
        del inner[name]
    else:
        inner[name] = value
    return made


def said_by(event: dict[str, Any]) -> Any:
    """What an event tells of money."""
    if event["type"] in setbacks.SETBACKS:
        setback = setbacks.read(event)
        return setback.id, setback.action
    fact = stripe_events.interpret(event, NOW)
    assert fact
    facts = fact.facts
    return fact.ids, facts.paid, facts.refunded, facts.disputes, facts.ended, facts.began, facts.failed


@pytest.mark.parametrize("name", HANDLED)
def test_what_an_event_tells_of_money_is_read_whatever_another_field_holds(name: str) -> None:
    event = sample(name)
    counts = next(fields for kind, fields in COUNTS.items() if event["type"].startswith(kind))
    others = [place for place in places(event["data"]["object"]) if place[0] not in counts]
    wrong = {}
    for place in others:
        for kind, value in FOREIGN.items():
            try:
                found = said_by(altered(event, place, value))
            except Exception as error:  # noqa: BLE001  whatever it is, the event would stay unsettled
                found = error
            if found != said_by(event):
                wrong[place, kind] = found
    assert len(others) >= (1 if event["type"].startswith("customer") else 3)
    assert wrong == {}


@pytest.mark.parametrize("value", FOREIGN)
def test_money_is_of_the_day_it_came_when_its_event_has_no_time(value: str) -> None:
    for name in ("invoice.paid.renewal", "checkout.session.completed", "charge.refunded.full"):
        event = altered(sample(name), ("status_transitions",), {"paid_at": FOREIGN[value]} | {"x": 1})
        event["data"]["object"]["status_transitions"] = {} if FOREIGN[value] is MISSING else {"paid_at": FOREIGN[value]}
        event |= {"created": None if FOREIGN[value] is MISSING else FOREIGN[value]}
        fact = stripe_events.interpret(event, NOW)
        assert fact
        times = [*fact.facts.paid_at.values(), *(at for one in fact.facts.returned_at.values() for at in one.values())]
        assert times == [NOW], name


@pytest.fixture(scope="module")
def shop() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.mark.parametrize("value", [kind for kind in FOREIGN if kind != "missing"])
def test_a_sale_becomes_a_bot_although_every_optional_field_is_foreign(
    shop: AwsHarness, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty()
    open_shop(shop)
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    once, monthly = Purchase("1"), Purchase("2", subscription=True)
    optional = ("customer", "customer_details", "total_details", "status_transitions", "total_discount_amounts")

    happen(
        shop,
        once.checkout(**dict.fromkeys(optional, FOREIGN[value])),
        monthly.invoice(**dict.fromkeys(optional, FOREIGN[value])),
    )

    for purchase in (once, monthly):
        assert shop.adbots.store.order(purchase.order_id).status == "PAID"
        assert shop.bot(purchase.bot_id).required == 5


# SendGrid's times


@pytest.mark.parametrize("timestamp", [1, 42, 1_000_000_000, "1", NOW // 1000 - MAX_AGE_MS // 1000])
def test_a_cause_with_a_time_long_past_counts_from_when_it_was_reported(timestamp: Any) -> None:
    found = read({"event": "bounce", "email": "cara@example.com", "timestamp": timestamp}, NOW)

    assert found
    assert found.unwanted
    assert found.unwanted.at == NOW


def test_a_cause_with_a_time_long_past_wins_over_an_earlier_removal(on_aws: AwsHarness, monkeypatch: Any) -> None:
    configure()
    known = suppressions.from_env()
    known.resubscribe("email", "cara@example.com", "group_unsubscribe", NOW - 1000, 7)
    event = {"event": "group_unsubscribe", "email": "cara@example.com", "asm_group_id": 7, "timestamp": 42}

    found = read(event, NOW)
    assert found
    assert found.unwanted
    known.add("email", found.unwanted.address, found.unwanted.reason, found.unwanted.at, None, found.unwanted.group)

    assert known.reason("email", "cara@example.com", group=7) == "group_unsubscribe"


# Opt-outs to Twilio's numbers

STOP = {"From": "whatsapp:+4915112345678", "Body": "STOP"}
FORM = {
    "MessageSid": f"SM{'5' * 32}",
    "SmsMessageSid": f"SM{'5' * 32}",
    "SmsSid": f"SM{'5' * 32}",
    "AccountSid": f"AC{'0' * 32}",
    "To": "whatsapp:+15005550006",
    "WaId": "4915112345678",
    "ExternalUserId": "DE.123",
    "ProfileName": "Cara",
    "ButtonText": "Stop",
    "ButtonPayload": "STOP",
    "OptOutType": "STOP",
    "NumMedia": "0",
    "NumSegments": "1",
    "MessageType": "text",
}
TEXTS = ["", " ", "user 5", "START", "HELP", "NaN", "9" * 6000, "\U0001f600", "{}", "\ufffd", "-1", "\x00"]


@pytest.mark.parametrize("field", FORM)
def test_a_stop_is_heard_whatever_another_parameter_holds(field: str) -> None:
    for text in [None, *TEXTS]:
        form = {name: value for name, value in (FORM | STOP).items() if name != field}
        found = inbound_messages.read(form if text is None else form | {field: text})
        assert (found.phone, found.wish, found.channel) == ("+4915112345678", Wish.STOP, "whatsapp"), text


def test_a_stop_is_heard_with_nothing_else() -> None:
    first, again = inbound_messages.read(STOP), inbound_messages.read(dict(reversed(STOP.items())))
    assert (first.wish, first.phone) == (Wish.STOP, "+4915112345678")
    assert first.sid == again.sid
    assert first.sid != inbound_messages.read(STOP | {"From": "whatsapp:+4915112345679"}).sid


@pytest.mark.parametrize("sender", ["+4915112345678", "rcs:+4915112345678", " whatsapp:+4915112345678 "])
def test_a_stop_is_heard_on_every_channel(sender: str) -> None:
    found = inbound_messages.read({"From": sender, "Body": json.loads('"Stop\\u200b."')})
    assert (found.phone, found.wish) == ("+4915112345678", Wish.STOP)
