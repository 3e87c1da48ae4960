"""From recorded events to orders and bots: subscriptions, refunds, disputes, and money of unknown purpose."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import AdbotStatus, OrderStatus
from adbot_queue.core import aws
from adbot_queue.payments import service as payments
from tests.builders.payments import Purchase, audit, happen, metadata, rows, sample
from tests.builders.world import ADMIN, AwsHarness


def status(shop: AwsHarness) -> tuple[OrderStatus, AdbotStatus]:
    found = audit(shop)
    return found.order.status, found.bot.status


def test_an_order_remembers_where_stripe_shows_it(shop: AwsHarness) -> None:
    happen(shop, Purchase().checkout(customer="cus_1"))
    assert audit(shop).order.provider_ids == {"checkout_session": "cs_1", "customer": "cus_1", "payment_intent": "pi_1"}


def test_an_unpaid_checkout_is_pending_until_the_money_comes(shop: AwsHarness) -> None:
    buys = Purchase()
    happen(shop, buys.unpaid())
    assert (audit(shop).order.status, audit(shop).bots) == (OrderStatus.PENDING, [])
    happen(shop, buys.succeeded())
    assert status(shop) == (OrderStatus.PAID, AdbotStatus.QUEUED)


def test_a_payment_that_fails_after_all_leaves_a_failed_order_without_a_bot(shop: AwsHarness) -> None:
    buys = Purchase()
    happen(shop, buys.unpaid(), buys.failed())
    assert (audit(shop).order.status, audit(shop).bots) == (OrderStatus.FAILED, [])
    assert shop.ledger(action="payment.failed")


def test_a_partial_refund_leaves_the_bot_alone_and_a_full_one_cancels_it(shop: AwsHarness) -> None:
    shop.upload(*"abcde")
    buys = Purchase()
    happen(shop, buys.checkout())
    shop.resolve()
    happen(shop, buys.refund(1000))
    assert status(shop) == (OrderStatus.PARTIALLY_REFUNDED, AdbotStatus.READY)
    assert shop.adbots.pools.header("standard").free == 0
    happen(shop, buys.refund())
    assert status(shop) == (OrderStatus.REFUNDED, AdbotStatus.CANCELLED)
    assert shop.adbots.pools.header("standard").free == 5


def test_a_dispute_stops_a_running_bot_and_a_won_one_lets_it_start_again(shop: AwsHarness) -> None:
    shop.upload(*"abcde")
    buys = Purchase()
    happen(shop, buys.checkout())
    shop.resolve()
    shop.adbots.start(buys.bot_id, Command(ADMIN), None)
    happen(shop, buys.dispute())
    assert status(shop) == (OrderStatus.DISPUTED, AdbotStatus.STOPPED)
    assert shop.http("start", "POST /adbots/{id}/start", role="admin", id=buys.bot_id).status == 409
    happen(shop, buys.dispute("won"))
    assert status(shop) == (OrderStatus.PAID, AdbotStatus.STOPPED)
    assert shop.http("start", "POST /adbots/{id}/start", role="admin", id=buys.bot_id).status == 200


def test_a_lost_dispute_cancels_the_bot(shop: AwsHarness) -> None:
    buys = Purchase()
    happen(shop, buys.checkout(), buys.dispute(), buys.dispute("lost"))
    assert status(shop) == (OrderStatus.REFUNDED, AdbotStatus.CANCELLED)


def test_a_dispute_that_is_won_before_it_is_heard_of_holds_nothing_up(shop: AwsHarness) -> None:
    buys = Purchase()
    happen(shop, buys.checkout(), buys.dispute("won"), buys.dispute())
    assert status(shop) == (OrderStatus.PAID, AdbotStatus.QUEUED)
    assert not audit(shop).bot.on_hold


@pytest.mark.parametrize("api", ["new", "old"])
def test_checkout_and_first_invoice_of_a_subscription_are_one_order(shop: AwsHarness, api: str) -> None:
    buys = Purchase(subscription=True)
    happen(shop, buys.invoice(old=api == "old"), buys.checkout())
    found = audit(shop)
    assert (found.order.amount, found.order.invoices, found.order.status) == (4900, ("in_1_1",), OrderStatus.PAID)
    assert found.order.paid_until == 1_700_002_000_000


def test_a_renewal_adds_its_invoice_once_and_makes_no_second_bot(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    again = buys.invoice(2)
    happen(shop, buys.checkout(), buys.invoice(), again, {**again, "id": "evt_same_invoice_told_twice"})
    found = audit(shop)
    assert (found.order.amount, found.order.invoices) == (9800, ("in_1_1", "in_1_2"))
    assert found.order.paid_until == 1_700_003_000_000
    assert found.bot.id == buys.bot_id
    assert shop.ledger(action="payment.renewed")


def test_the_end_of_a_subscription_cancels_its_bot(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    happen(shop, buys.checkout(), buys.invoice(), buys.deleted())
    assert status(shop) == (OrderStatus.ENDED, AdbotStatus.CANCELLED)


@pytest.mark.parametrize("api", ["new", "old"])
def test_refunds_of_all_months_add_up_to_a_full_refund(shop: AwsHarness, api: str) -> None:
    buys, old = Purchase(subscription=True), api == "old"
    links = [] if old else [buys.link(1), buys.link(2)]
    renewal = buys.invoice(2, old=old, billing_reason="subscription_cycle")
    happen(shop, buys.checkout(), buys.invoice(1, old=old), renewal, *links, buys.refund(invoice=1))
    assert status(shop) == (OrderStatus.PARTIALLY_REFUNDED, AdbotStatus.QUEUED)
    happen(shop, buys.refund(invoice=2))
    assert status(shop) == (OrderStatus.REFUNDED, AdbotStatus.CANCELLED)


def test_money_that_comes_for_a_cancelled_bot_makes_a_person_look(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    happen(shop, buys.checkout(), buys.invoice())
    shop.adbots.cancel(buys.bot_id, Command(ADMIN))
    happen(shop, buys.invoice(2))
    found = audit(shop)
    assert (found.order.status, found.order.review_reason) == (
        OrderStatus.REVIEW,
        "paid again although the bot is cancelled",
    )
    assert shop.ledger(action="payment.review")


def test_the_last_invoice_of_an_ended_subscription_needs_no_person(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    happen(shop, buys.checkout(), buys.invoice(), buys.deleted(), buys.invoice(2))
    assert status(shop) == (OrderStatus.ENDED, AdbotStatus.CANCELLED)


@pytest.mark.parametrize(
    "changes",
    [
        {"plan_id": None},
        {"required_sessions": "0"},
        {"required_sessions": "-1"},
        {"required_sessions": "501"},
        {"required_sessions": "many"},
        {"user_id": None},
        {"pool": "nowhere"},
        {"pool": "No Pool!"},
    ],
)
def test_money_with_unusable_metadata_becomes_an_order_in_review(shop: AwsHarness, changes: dict[str, Any]) -> None:
    happen(shop, Purchase(metadata=metadata(**changes)).checkout())
    found = audit(shop)
    assert (found.order.status, found.order.amount, found.bots) == (OrderStatus.REVIEW, 4900, [])
    assert found.order.review_reason
    assert found.order.review_reason.startswith("metadata.")
    listed, _ = shop.adbots.store.orders_in_review(10, None)
    assert [order.id for order in listed] == [Purchase().order_id]


def test_money_without_any_metadata_becomes_an_order_in_review(shop: AwsHarness) -> None:
    happen(shop, Purchase(metadata={}).checkout())
    assert audit(shop).order.review_reason == "metadata.user_id is missing"


def test_metadata_that_names_no_pool_means_the_plans(shop: AwsHarness) -> None:
    happen(shop, Purchase(metadata=metadata(pool=None)).checkout())
    assert audit(shop).bot.pool == "standard"


def test_an_operator_gives_an_order_in_review_its_bot_and_later_events_know_it(shop: AwsHarness) -> None:
    buys = Purchase(metadata=metadata(required_sessions="some"))
    happen(shop, buys.checkout())
    wanted = {"order_id": buys.order_id, "required_sessions": 3, "user_id": "cara", "pool": "standard"}
    made = shop.http("admin_create", "POST /admin/adbots", role="admin", body=wanted)
    assert made.status == 201
    happen(shop, buys.refund(100))
    found = audit(shop)
    assert (found.order.status, found.bot.id) == (OrderStatus.PARTIALLY_REFUNDED, made.json["adbot_id"])
    happen(shop, buys.refund())
    assert status(shop) == (OrderStatus.REFUNDED, AdbotStatus.CANCELLED)


def test_an_order_in_review_mends_itself_when_usable_metadata_comes_later(shop: AwsHarness) -> None:
    buys, bare = Purchase(subscription=True), Purchase(subscription=True, metadata={})
    happen(shop, bare.invoice())
    assert audit(shop).order.status is OrderStatus.REVIEW
    happen(shop, buys.checkout())
    assert status(shop) == (OrderStatus.PAID, AdbotStatus.QUEUED)
    assert audit(shop).order.review_reason is None


def test_facts_before_the_payment_make_no_order_and_are_not_forgotten(shop: AwsHarness) -> None:
    buys = Purchase()
    happen(shop, buys.refund(1000), buys.dispute())
    assert audit(shop).orders == []
    happen(shop, buys.checkout())
    found = audit(shop)
    assert (found.order.status, found.order.amount_refunded, found.bot.on_hold) == (OrderStatus.DISPUTED, 1000, True)


@pytest.mark.parametrize("first", ["refund", "dispute", "deleted"])
def test_what_ended_before_it_was_paid_gets_a_bot_that_is_cancelled_at_once(shop: AwsHarness, first: str) -> None:
    buys = Purchase(subscription=first == "deleted")
    event = {"refund": buys.refund, "dispute": lambda: buys.dispute("lost"), "deleted": buys.deleted}[first]()
    happen(shop, event, buys.checkout())
    assert audit(shop).bot.status is AdbotStatus.CANCELLED


def test_a_refund_that_comes_before_its_subscription_is_known_finds_it_by_the_invoice(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    happen(shop, buys.refund(), buys.link(), buys.checkout())
    assert status(shop) == (OrderStatus.REFUNDED, AdbotStatus.CANCELLED)


def test_facts_about_what_was_never_sold_here_expire(shop: AwsHarness) -> None:
    happen(shop, Purchase("elsewhere").refund())
    (facts,) = rows(shop.env["PAYMENTS_TABLE"], "PAYMENT#")
    assert facts["expires_at"] > facts["version"]
    happen(shop, Purchase("elsewhere").checkout())
    assert all("expires_at" not in item for item in rows(shop.env["PAYMENTS_TABLE"], "PAYMENT#"))


def test_a_link_to_facts_that_have_expired_still_leads_to_one_payment(shop: AwsHarness) -> None:
    buys = Purchase(subscription=True)
    happen(shop, buys.link())
    aws.dynamodb().delete_item(TableName=shop.env["PAYMENTS_TABLE"], Key={"pk": {"S": "PAYMENT#stripe#pi_1_1"}})
    happen(shop, buys.invoice(), buys.refund())
    assert status(shop) == (OrderStatus.REFUNDED, AdbotStatus.CANCELLED)


def test_a_settled_event_is_kept_for_400_days_and_an_unsettled_one_for_good(shop: AwsHarness) -> None:
    happen(shop, Purchase().checkout())
    (event,) = rows(shop.env["PAYMENTS_TABLE"], "EVENT#")
    assert event["expires_at"] == event["settled_at"] // 1000 + 400 * 86_400
    payments.from_env()._store.record("evt_2", "charge.refunded", "{}", 1, ignored=False)
    assert "expires_at" not in next(
        row for row in rows(shop.env["PAYMENTS_TABLE"], "EVENT#") if row["event_id"] == "evt_2"
    )


def test_a_refund_that_fails_days_later_is_reported_once_and_restores_no_bot(shop: AwsHarness, metrics: Any) -> None:
    buys = Purchase()
    happen(shop, buys.checkout(), buys.refund())
    metrics()
    happen(shop, sample("refund.failed"), sample("refund.failed"))
    (entry,) = shop.ledger(action="payment.refund_failed")
    assert (entry["actor"], entry["target"]) == ("stripe", "job:019aaf0c1e2a7c3d9b8e4f5a6b")
    assert (entry["after"]["amount"], entry["reason"]) == (4900, "expired_or_canceled_card")
    assert metrics()["RefundOrPayoutFailed"] == 1
    assert status(shop) == (OrderStatus.REFUNDED, AdbotStatus.CANCELLED)


def test_no_personal_data_leaves_the_recorded_event(shop: AwsHarness) -> None:
    happen(shop, Purchase().checkout(), Purchase("2", metadata={}).checkout())
    elsewhere = [row for row in rows(shop.env["PAYMENTS_TABLE"]) if not row["pk"].startswith("EVENT#")]
    elsewhere += rows(shop.env["ADBOTS_TABLE"]) + rows(shop.env["LEDGER_TABLE"])
    assert "jenny" not in str(elsewhere).lower()
