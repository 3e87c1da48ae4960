"""POST /webhooks/stripe: what is let in, what is written down, and who carries it on."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adbot_queue.adbots.model import ExecutionMode, OrderStatus
from adbot_queue.core import aws, telemetry
from tests.builders.payments import SECRET, Purchase, audit, consume, deliver, failing, rows, sample, secret, signature
from tests.builders.world import AwsHarness

PAYLOAD = json.dumps(Purchase().checkout())


def nothing_recorded(shop: AwsHarness) -> bool:
    return rows(shop.env["PAYMENTS_TABLE"]) == [] and shop.messages("payments") == []


def test_a_paid_checkout_becomes_an_order_and_a_bot_although_there_is_no_stock(shop: AwsHarness) -> None:
    answer = deliver(shop, PAYLOAD)
    assert (answer.status, answer.json) == (200, {"event_id": "evt_1_checkout", "outcome": "new"})
    assert audit(shop).orders == []  # the webhook itself only records and hands over
    assert consume(shop) == []
    found = audit(shop)
    assert (found.order.id, found.order.status) == (Purchase().order_id, OrderStatus.PAID)
    assert (found.bot.id, found.bot.missing, found.bot.execution_mode) == (
        Purchase().bot_id,
        5,
        ExecutionMode.ASYNC_QUEUE,
    )
    assert found.actions == ["adbot.create", "payment.completed", "pool.create"]
    (signed,) = shop.ledger(action="payment.completed")
    assert (signed["actor"], signed["role"], signed["request_id"]) == ("stripe", "provider", "evt_1_checkout")


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(lambda: "", id="empty"),
        pytest.param(lambda: "nonsense", id="malformed"),
        pytest.param(lambda: "t=abc,v1=00", id="no time"),
        pytest.param(lambda: f"t={int(time.time())}", id="no signature"),
        pytest.param(lambda: f"t={int(time.time())},v1={'0' * 64}", id="wrong"),
        pytest.param(lambda: signature(PAYLOAD, "whsec_other"), id="other secret"),
        pytest.param(lambda: signature(PAYLOAD + " "), id="other body"),
        pytest.param(lambda: signature(PAYLOAD, at=int(time.time()) - 310), id="expired"),
        pytest.param(lambda: signature(PAYLOAD).replace("v1=", "v0="), id="old scheme"),
    ],
)
def test_a_delivery_without_a_good_signature_is_refused_and_leaves_no_trace(
    shop: AwsHarness, header: Callable[[], str]
) -> None:
    """Signed when it runs, not when it is collected: an old signature is refused for its age, whatever else it is."""
    answer = deliver(shop, PAYLOAD, header=header())
    assert (answer.status, answer.problem) == (400, "bad-signature")
    assert nothing_recorded(shop)


def test_a_delivery_without_a_signature_header_asks_neither_for_secrets_nor_for_stripes_library(
    shop: AwsHarness,
) -> None:
    answer = shop.http("webhook", "POST /webhooks/stripe", body=PAYLOAD)
    assert (answer.status, answer.problem) == (400, "bad-signature")


def test_a_signature_is_good_for_five_minutes(shop: AwsHarness) -> None:
    assert deliver(shop, PAYLOAD, header=signature(PAYLOAD, at=int(time.time()) - 290)).status == 200


def test_the_exact_bytes_are_verified_whether_they_came_as_text_or_in_base64(shop: AwsHarness) -> None:
    odd = json.dumps(Purchase("odd").checkout(), indent=3, ensure_ascii=False).replace("Jenny", "Jenný\u2028")
    assert deliver(shop, odd).status == 200
    again = json.dumps(Purchase("b64").checkout(), indent=1, ensure_ascii=False).replace("Jenny", "Ženny")
    assert deliver(shop, again, base64=True).status == 200
    assert consume(shop) == []
    assert len(audit(shop).bots) == 2


def test_a_body_that_is_not_utf8_cannot_have_been_signed(shop: AwsHarness) -> None:
    header = {"stripe-signature": signature("\ufffd" * 4)}
    answer = shop.http("webhook", "POST /webhooks/stripe", body="/////w==", base64=True, headers=header)
    assert (answer.status, answer.problem) == (400, "bad-signature")


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"text"', "{}", '{"id": "evt_1"}', '{"id": 1, "type": "x"}'])
def test_a_signed_body_that_is_no_event_is_malformed(shop: AwsHarness, body: str) -> None:
    answer = deliver(shop, body)
    assert (answer.status, answer.problem) == (400, "malformed-body")
    assert nothing_recorded(shop)


def test_an_event_id_longer_than_any_is_malformed(shop: AwsHarness) -> None:
    assert deliver(shop, {"id": "evt_" + "x" * 300, "type": "x"}).status == 400


def test_a_body_over_256_kib_is_refused_before_it_is_looked_at(shop: AwsHarness) -> None:
    answer = deliver(shop, "x" * (256 * 1024 + 1), header="")
    assert (answer.status, answer.problem) == (413, "body-too-large")


def test_unknown_fields_do_not_matter(shop: AwsHarness) -> None:
    event = Purchase().checkout(brand_new_field={"deep": [1]}) | {"another": True}
    assert deliver(shop, event).status == 200
    assert consume(shop) == []
    assert audit(shop).order.status is OrderStatus.PAID


def test_events_of_other_types_are_recorded_ignored_and_kept_without_their_content(shop: AwsHarness) -> None:
    for _ in range(2):
        answer = deliver(shop, sample("payment_intent.created"))
        assert answer.status == 200
    assert answer.json["outcome"] == "settled"
    (event,) = rows(shop.env["PAYMENTS_TABLE"])
    assert (event["outcome"], "payload" in event, "unsettled" in event) == ("ignored", False, False)
    assert shop.messages("payments") == []


def test_a_thin_event_is_recorded_and_ignored(shop: AwsHarness) -> None:
    thin = {"id": "evt_2", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found", "livemode": False}
    answer = deliver(shop, thin | {"created": "2025-11-22T00:01:01.000Z"})
    assert (answer.status, answer.json["outcome"]) == (200, "ignored")


def test_a_checkout_that_sells_nothing_is_marked_ignored_when_it_is_settled(shop: AwsHarness) -> None:
    deliver(shop, Purchase().checkout(mode="setup"))
    assert consume(shop) == []
    assert (audit(shop).orders, audit(shop).unsettled) == ([], [])


def test_a_second_delivery_changes_nothing(shop: AwsHarness) -> None:
    deliver(shop, PAYLOAD)
    consume(shop)
    before = audit(shop), rows(shop.env["PAYMENTS_TABLE"]), rows(shop.env["LEDGER_TABLE"])
    answer = deliver(shop, PAYLOAD)
    assert (answer.status, answer.json["outcome"]) == (200, "settled")
    assert consume(shop) == []
    assert (audit(shop), rows(shop.env["PAYMENTS_TABLE"]), rows(shop.env["LEDGER_TABLE"])) == before


def test_a_second_delivery_of_what_is_not_settled_yet_hands_it_over_again(shop: AwsHarness) -> None:
    deliver(shop, PAYLOAD)
    assert len(shop.messages("payments")) == 1  # and the message is lost
    assert deliver(shop, PAYLOAD).json["outcome"] == "repeated"
    assert consume(shop) == []
    assert audit(shop).order.status is OrderStatus.PAID


def test_a_message_that_sqs_delivers_twice_is_settled_once(shop: AwsHarness) -> None:
    deliver(shop, PAYLOAD)
    deliver(shop, PAYLOAD)
    assert consume(shop) == []
    assert audit(shop).actions.count("adbot.create") == 1


@pytest.mark.parametrize("body", ['{"event": "EVENT#stripe#evt_none"}', "{}"])
def test_a_message_that_points_to_no_event_is_dropped_and_counted_and_holds_up_no_other(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    counted: Counter[str] = Counter()
    monkeypatch.setattr(telemetry, "count", lambda name, value=1: counted.update({name: value}))
    aws.sqs().send_message(QueueUrl=shop.queues["payments"], MessageBody=body)
    deliver(shop, PAYLOAD)
    assert consume(shop) == []
    assert (counted["MessagesDropped"], counted["MessagesFailed"]) == (1, 0)
    assert audit(shop).order.status is OrderStatus.PAID


@pytest.mark.parametrize("code", [None, "AWS.SimpleQueueService.NonExistentQueue"])
def test_when_sqs_refuses_the_request_itself_settles(shop: AwsHarness, code: str | None) -> None:
    with failing(aws.sqs(), "SendMessage", code=code):
        answer = deliver(shop, PAYLOAD)
    assert answer.status == 200
    found = audit(shop)
    assert (found.unsettled, found.bot.execution_mode) == ([], ExecutionMode.SYNC_DIRECT)


def test_when_settling_in_the_request_fails_as_well_stripe_is_asked_to_come_again_and_that_settles(
    shop: AwsHarness,
) -> None:
    with failing(aws.sqs(), "SendMessage"), failing(aws.dynamodb(), "TransactWriteItems", code="InternalServerError"):
        answer = deliver(shop, PAYLOAD)
    assert (answer.status, answer.problem) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    found = audit(shop)
    assert (found.orders, found.unsettled) == ([], ["EVENT#stripe#evt_1_checkout"])
    assert deliver(shop, PAYLOAD).status == 200
    assert consume(shop) == []
    assert audit(shop).order.status is OrderStatus.PAID


def test_when_dynamodb_is_down_nothing_is_taken(shop: AwsHarness) -> None:
    with failing(aws.dynamodb(), "PutItem"):
        assert deliver(shop, PAYLOAD).status == 503
    assert nothing_recorded(shop)


def test_when_dynamodb_throttles_the_answer_says_try_again(shop: AwsHarness) -> None:
    with failing(aws.dynamodb(), "PutItem", code="ThrottlingException"):
        answer = deliver(shop, PAYLOAD)
    assert (answer.status, answer.problem) == (503, "unavailable")


def test_settling_survives_being_throttled_for_a_while(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(shop, PAYLOAD)
    commit = aws.dynamodb().transact_write_items
    refusals = iter(["ThrottlingException", "TransactionConflictException", "ThrottlingException"])

    def moody(**request: Any) -> Any:
        if code := next(refusals, None):
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, "TransactWriteItems")
        return commit(**request)

    monkeypatch.setattr(aws.dynamodb(), "transact_write_items", moody)
    assert consume(shop) == []
    assert audit(shop).order.status is OrderStatus.PAID


def test_while_one_secret_replaces_the_other_both_are_good(shop: AwsHarness) -> None:
    with secret("stripe", json.dumps({"api_key": "sk_test_1", "webhook_secret": ["whsec_new", SECRET]})):
        assert deliver(shop, PAYLOAD).status == 200
        assert deliver(shop, PAYLOAD, header=signature(PAYLOAD, "whsec_new")).status == 200
        assert deliver(shop, PAYLOAD, header=signature(PAYLOAD, "whsec_older")).status == 400


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"webhook_secret": ""}', '{"webhook_secret": []}'])
def test_a_secret_that_is_not_filled_in_is_said_to_be(shop: AwsHarness, text: str) -> None:
    with secret("stripe", text):
        answer = deliver(shop, PAYLOAD)
    assert (answer.status, answer.problem) == (503, "not-configured")
    assert "StripeSecretArn" in answer.json["detail"]
    assert nothing_recorded(shop)


def test_a_secret_that_cannot_be_read_is_for_now(shop: AwsHarness) -> None:
    with secret("stripe", None):
        answer = deliver(shop, PAYLOAD)
    assert (answer.status, answer.problem) == (503, "unavailable")


def test_a_secret_is_kept_for_five_minutes(shop: AwsHarness) -> None:
    assert deliver(shop, PAYLOAD).status == 200
    with failing(aws.secrets_manager(), "GetSecretValue", code="InternalServiceError") as asked:
        assert deliver(shop, PAYLOAD).status == 200
    assert asked == []
