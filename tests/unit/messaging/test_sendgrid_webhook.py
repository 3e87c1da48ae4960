"""POST /webhooks/sendgrid: what is let in, what is written down, and what never is."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sendgrid import EventWebhook

from adbot_queue.core import aws, telemetry
from adbot_queue.messaging import service
from adbot_queue.messaging.model import DeliveryEvent, DeliveryReport, DeliveryStatus
from adbot_queue.providers import sendgrid_webhook
from local.stand_ins import sendgrid_events
from tests.builders.payments import SENDGRID_KEY, failing, rows, secret
from tests.builders.world import Answer, AwsHarness

ADDRESS = "cara@example.com"


def mail(address: str = ADDRESS, job: str = "job-1", message_id: str = "qNwBLgPQQjW6DJvKQwSAbw") -> Any:
    return message_id, {"personalizations": [{"to": [{"email": address}], "custom_args": {"job": job, "key": job}}]}


def events(course: str = "", address: str = ADDRESS, **of: str) -> list[dict[str, Any]]:
    """What SendGrid would tell of a mail whose recipient's address begins with the name of that course."""
    message_id, sent = mail(f"{course}@example.com" if course else address, **of)
    reported = sendgrid_events.course(message_id, sent, int(time.time()))
    return [event | {"email": address} for event in reported]


def post(world: AwsHarness, batch: Any, at: int | None = None, key: str = SENDGRID_KEY, **headers: str) -> Answer:
    raw = batch if isinstance(batch, bytes) else json.dumps(batch).encode() + b"\r\n"
    signed = sendgrid_events.signed(raw, key, int(time.time()) if at is None else at) | headers
    return world.http("delivery", "POST /webhooks/sendgrid", body=raw.decode(), headers=signed)


def deliveries(world: AwsHarness, job: str = "job-1") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = world.http("delivery", "GET /deliveries/{job_id}", role="viewer", job_id=job).json[
        "items"
    ]
    return items


def written(world: AwsHarness) -> list[dict[str, Any]]:
    return rows(world.env["SYSTEM_TABLE"])


def test_a_mail_that_is_delivered_says_so_with_its_history(aws_with_secrets: AwsHarness) -> None:
    answer = post(aws_with_secrets, events())

    assert (answer.status, answer.json) == (200, {"recorded": 2, "ignored": 1})  # an open is private
    (shown,) = deliveries(aws_with_secrets)
    assert (shown["message_id"], shown["channel"], shown["status"]) == (mail()[0], "email", "delivered")
    assert [report["status"] for report in shown["history"]] == ["processed", "delivered"]


def test_what_comes_twice_late_and_in_no_order_ends_the_same(aws_with_secrets: AwsHarness) -> None:
    reported = events("deferred")
    post(aws_with_secrets, reported)
    expected = deliveries(aws_with_secrets)
    before = written(aws_with_secrets)

    post(aws_with_secrets, [reported[2], reported[0]])
    post(aws_with_secrets, [reported[1], reported[1]])

    assert deliveries(aws_with_secrets) == expected
    assert written(aws_with_secrets) == before  # not even written again

    for batch in ([reported[2]], [reported[1], reported[2]], [reported[0]]):
        post(aws_with_secrets, [event | {"job": "job-2"} for event in batch])
    assert deliveries(aws_with_secrets, "job-2") == expected


@pytest.mark.parametrize(
    ("course", "status", "reason", "suppressed"),
    [
        ("bounce", "bounced", "5.1.1 Invalid Address", "bounce"),
        ("blocked", "blocked", "5.7.1", None),
        ("dropped", "dropped", "5.0.0 Bounced Address", None),
        ("spamreport", "reported", "", "spamreport"),
        ("unsubscribe", "unsubscribed", "", "unsubscribe"),
        ("deferred", "delivered", "", None),
    ],
)
def test_an_address_that_bounced_complained_or_unsubscribed_gets_no_mail(
    aws_with_secrets: AwsHarness, course: str, status: str, reason: str, suppressed: str | None
) -> None:
    post(aws_with_secrets, events(course))

    (shown,) = deliveries(aws_with_secrets)
    assert (shown["status"], shown["reason"]) == (status, reason)
    found = aws_with_secrets.http("delivery", "GET /suppressions", role="viewer", query={"address": ADDRESS}).json
    assert [(entry["reason"], entry["job_id"], entry["in_force"]) for entry in found["items"]] == (
        [(suppressed, "job-1", True)] if suppressed else []
    )


def test_no_address_and_no_servers_sentence_is_written_anywhere(aws_with_secrets: AwsHarness) -> None:
    for course in sendgrid_events.COURSES:
        post(aws_with_secrets, events(course, job=f"job-{course}"))

    kept = json.dumps(written(aws_with_secrets), default=str)
    assert written(aws_with_secrets) != []
    assert "cara" not in kept
    assert "does not exist" not in kept


def test_hundreds_of_events_of_many_mails_are_one_batch(aws_with_secrets: AwsHarness) -> None:
    batch = [
        event for number in range(150) for event in events(job=f"job-{number}", message_id=f"message-{number}")[:2]
    ]

    answer = post(aws_with_secrets, batch)

    assert answer.json == {"recorded": 300, "ignored": 0}
    assert len(written(aws_with_secrets)) == 150
    assert deliveries(aws_with_secrets, "job-149")[0]["status"] == "delivered"


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        None,
        [],
        {},
        {"event": "delivered"},
        {"event": ["delivered"]},
        {"event": "delivered", "email": ADDRESS, "timestamp": "soon", "sg_event_id": "e"},
        {"event": "delivered", "email": ADDRESS, "timestamp": -1, "sg_event_id": "e"},
        {"event": "delivered", "email": ADDRESS, "timestamp": 1, "sg_event_id": "two words"},
        {"event": "account_status_change", "type": "compliance_suspend", "timestamp": 1, "sg_event_id": "e"},
    ],
)
def test_an_event_that_cannot_be_read_does_not_hold_up_the_others(aws_with_secrets: AwsHarness, bad: Any) -> None:
    answer = post(aws_with_secrets, [bad, *events()[:2]])

    assert (answer.status, answer.json) == (200, {"recorded": 2, "ignored": 1})
    assert deliveries(aws_with_secrets)[0]["status"] == "delivered"


def test_events_of_mails_that_no_job_sent_leave_no_delivery_but_their_bounces_count(
    aws_with_secrets: AwsHarness,
) -> None:
    foreign = [{name: value for name, value in event.items() if name != "job"} for event in events("bounce")]

    assert post(aws_with_secrets, foreign).json == {"recorded": 2, "ignored": 0}

    assert [item["pk"].split("#")[0] for item in written(aws_with_secrets)] == ["SUPPRESSED"]


@pytest.mark.parametrize(
    ("sg_message_id", "message_id"),
    [
        ("qNwBLgPQQjW6DJvKQwSAbw.filterdrecv-canary-547b64655b-cw6zx-1-6089EA4A-56.0", "qNwBLgPQQjW6DJvKQwSAbw"),
        ("qNwBLgPQQjW6DJvKQwSAbw.recvd-6f54457649-9zn5w-1-6582E3C4-2.0", "qNwBLgPQQjW6DJvKQwSAbw"),
        ("14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0", "14c5d75ce93.dfd.64b469"),
        ("plain", "plain"),
    ],
)
def test_the_id_that_the_sender_was_given_is_the_front_of_sendgrids(
    aws_with_secrets: AwsHarness, sg_message_id: str, message_id: str
) -> None:
    post(aws_with_secrets, [event | {"sg_message_id": sg_message_id} for event in events()])

    assert [shown["message_id"] for shown in deliveries(aws_with_secrets)] == [message_id]


# Signatures


BATCH = json.dumps(events()).encode()
NOW = int(time.time())


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({sendgrid_webhook.SIGNATURE: "MEUC", sendgrid_webhook.TIMESTAMP: str(NOW)}, id="cut off"),
        pytest.param({sendgrid_webhook.SIGNATURE: "no base64!", sendgrid_webhook.TIMESTAMP: str(NOW)}, id="no base64"),
        pytest.param(sendgrid_events.signed(BATCH, sendgrid_events.new_key(), NOW), id="another key"),
        pytest.param(sendgrid_events.signed(BATCH + b" ", SENDGRID_KEY, NOW), id="another body"),
        pytest.param(
            sendgrid_events.signed(BATCH, SENDGRID_KEY, NOW) | {sendgrid_webhook.TIMESTAMP: str(NOW + 1)},
            id="another timestamp",
        ),
        pytest.param(
            {
                name: value
                for name, value in sendgrid_events.signed(BATCH, SENDGRID_KEY, NOW).items()
                if name != sendgrid_webhook.TIMESTAMP
            },
            id="no timestamp",
        ),
        pytest.param(sendgrid_events.signed(BATCH, SENDGRID_KEY, NOW - 26 * 3600), id="too old"),
        pytest.param(sendgrid_events.signed(BATCH, SENDGRID_KEY, NOW + 86_400), id="ahead of time"),
    ],
)
def test_a_batch_without_a_good_signature_is_refused_and_leaves_no_trace(
    aws_with_secrets: AwsHarness, headers: dict[str, str]
) -> None:
    answer = aws_with_secrets.http("delivery", "POST /webhooks/sendgrid", body=BATCH.decode(), headers=headers)

    assert (answer.status, answer.problem) == (400, "bad-signature")
    assert written(aws_with_secrets) == []


def test_what_sendgrid_repeats_for_a_day_is_still_taken(aws_with_secrets: AwsHarness) -> None:
    assert post(aws_with_secrets, events(), at=int(time.time()) - 24 * 3600).status == 200


def test_the_bytes_count_as_they_came(aws_with_secrets: AwsHarness) -> None:
    raw = ('[ {"event":"processed","email":"c\\u00e4ra@example.com", "x":"ü"} ]\r\n').encode()
    headers = sendgrid_events.signed(raw, SENDGRID_KEY, int(time.time()))
    body = base64.b64encode(raw).decode()

    answer = aws_with_secrets.http("delivery", "POST /webhooks/sendgrid", body=body, headers=headers, base64=True)

    assert answer.status == 200


def test_sendgrids_own_library_agrees_with_who_signs_here() -> None:
    headers = sendgrid_events.signed(BATCH, SENDGRID_KEY, NOW)
    judge = EventWebhook(sendgrid_events.public_key(SENDGRID_KEY))

    assert judge.verify_signature(BATCH.decode(), headers[sendgrid_webhook.SIGNATURE], str(NOW))
    assert not judge.verify_signature(BATCH.decode() + " ", headers[sendgrid_webhook.SIGNATURE], str(NOW))


@pytest.mark.parametrize("text", ['{"api_key": "SG.1"}', '{"api_key": "SG.1", "webhook_public_key": "bm90IGEga2V5"}'])
def test_without_a_public_key_nothing_is_taken_and_the_setting_is_named(
    aws_with_secrets: AwsHarness, text: str
) -> None:
    with secret("sendgrid", text):
        answer = post(aws_with_secrets, events())

    assert (answer.status, answer.problem) == (503, "not-configured")
    assert "SendGridSecretArn" in answer.json["detail"]
    assert written(aws_with_secrets) == []


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'"x"', b"\xff"])
def test_a_body_that_is_no_list_of_events_is_malformed(aws_with_secrets: AwsHarness, body: bytes) -> None:
    headers = sendgrid_events.signed(body, SENDGRID_KEY, int(time.time()))
    text = base64.b64encode(body).decode()

    answer = aws_with_secrets.http("delivery", "POST /webhooks/sendgrid", body=text, headers=headers, base64=True)

    assert (answer.status, answer.problem) == (400, "malformed-body")


# When writing fails


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "BatchGetItem"])
def test_a_batch_that_cannot_be_written_is_not_acknowledged_and_the_next_time_is_whole(
    aws_with_secrets: AwsHarness, operation: str
) -> None:
    batch = [*events("bounce"), *events("bounce", job="job-2")]
    with failing(aws.dynamodb(), operation):
        assert post(aws_with_secrets, batch).status == 503

    assert post(aws_with_secrets, batch).status == 200
    assert deliveries(aws_with_secrets)[0]["status"] == deliveries(aws_with_secrets, "job-2")[0]["status"] == "bounced"


def test_of_two_that_write_at_the_same_time_both_count(
    aws_with_secrets: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = [
        DeliveryReport("email", "job-1", "job-1", "m-1", DeliveryEvent(f"e-{name}", DeliveryStatus(name), 1000))
        for name in ("processed", "delivered")
    ]
    deliveries_, write = service.from_env(), service.DeliveryStore.put
    raced: list[int] = []

    def put(self: Any, *args: Any) -> None:
        if not raced:
            raced.append(1)
            deliveries_.record(reported[1:])
        write(self, *args)

    monkeypatch.setattr(service.DeliveryStore, "put", put)
    deliveries_.record(reported[:1])

    (found,) = deliveries_.of_job("job-1")
    assert (found.furthest.status, len(found.history)) == (DeliveryStatus.DELIVERED, 2)


def test_that_a_mail_was_accepted_is_noted_if_possible_and_never_a_failure(aws_with_secrets: AwsHarness) -> None:
    with failing(aws.dynamodb(), "PutItem"):
        service.from_env().accepted("email", "job-1", "job-1", "m-1")
    assert deliveries(aws_with_secrets) == []

    service.from_env().accepted("email", "job-1", "job-1", "m-1")
    assert telemetry.metrics.metric_set["EmailsAccepted"]["Value"] == [1.0]
    assert deliveries(aws_with_secrets)[0]["status"] == "accepted"


def test_a_conflict_that_does_not_end_is_raised(aws_with_secrets: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": "ConditionalCheckFailedException", "Message": ""}}, "PutItem")

    monkeypatch.setattr(aws.dynamodb(), "put_item", refuse)

    assert post(aws_with_secrets, events()).status == 503
