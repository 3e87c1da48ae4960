"""Admin notices: one mail for a minute's events, at least once, and never a customer's data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.error import URLError

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from adbot_queue.adbots import announce
from adbot_queue.core import aws, queues, settings
from adbot_queue.core.errors import AccountRefused, NotConfigured, ProviderFailed, Unavailable
from adbot_queue.core.telemetry import metrics
from adbot_queue.system import notices
from adbot_queue.system.notices import compose
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.payments import empty, failing, rows, secret
from tests.builders.providers import Peers, connect, refusing
from tests.builders.world import REGION, FakeContext, World

SAMPLE = {
    "event": "adbot.queued",
    "adbot_id": "bot_1",
    "pool": "standard",
    "missing_sessions_count": 3,
    "user_id": "cara",
}
MINUTE = "2025-11-22T00:05"
NOW = 1_763_769_900_000 + 30_000


@pytest.fixture
def mail(shop: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peers]:
    peers = connect(monkeypatch)
    _forget()
    monkeypatch.setattr(notices.from_env(), "_now", lambda: NOW)
    yield peers
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    for cached in (settings.settings, notices.from_env, announce.from_env):
        cached.cache_clear()


def consume(shop: World, *minutes: str) -> list[str]:
    """Run the consumer on these minutes, or on what waits in the queue."""
    waiting = [{"minute": minute} for minute in minutes] or shop.messages("notices")
    records = [
        {
            "messageId": f"m{number}",
            "body": json.dumps(body),
            "eventSource": "aws:sqs",
            "receiptHandle": "r",
            "attributes": {},
        }
        for number, body in enumerate(waiting)
    ]
    answer = shop.app("notify").handler({"Records": records}, FakeContext())
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def record(batch: str, **counts: int) -> None:
    notices.from_env().record(batch, counts, [SAMPLE])


def test_a_minute_of_notices_is_one_mail(shop: World, mail: Peers) -> None:
    with crash_after(None) as calls:
        record("b1", queued=2)
        record("b2", queued=1, resolved=1)
    assert calls.names.count("SendMessage") == 1
    assert consume(shop, MINUTE) == []
    (sent,) = mail.mails
    assert sent["subject"] == "AdBot Queue: 3 queued, 1 resolved"
    assert sent["personalizations"][0]["to"] == [{"email": "admin@example.com"}]
    assert [part["type"] for part in sent["content"]] == ["text/plain", "text/html"]
    assert all("bot_1" in part["value"] for part in sent["content"])


def test_the_mail_is_asked_for_when_the_minute_is_over(
    shop: World, mail: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(queues, "send", lambda *_args, **options: asked.append((_args[2], options)))
    record("b1", queued=1)
    assert asked == [({"minute": MINUTE}, {"delay": 75})]


def test_customers_data_stays_out_of_the_mail_and_of_what_is_kept(shop: World, mail: Peers) -> None:
    record("b1", queued=1)
    consume(shop, MINUTE)
    assert "cara" not in str(mail.mails) + str(rows(shop.env["SYSTEM_TABLE"]))


def test_the_same_batch_again_is_counted_once(shop: World, mail: Peers) -> None:
    record("b1", queued=2)
    record("b1", queued=2)
    consume(shop, MINUTE)
    assert mail.mails[0]["subject"] == "AdBot Queue: 2 queued"


def test_a_message_that_comes_twice_sends_one_mail(shop: World, mail: Peers) -> None:
    record("b1", queued=2)
    assert consume(shop, MINUTE, MINUTE) == []
    assert consume(shop, MINUTE) == []
    assert len(mail.mails) == 1


def test_killed_after_any_call_of_recording_the_batch_comes_again_and_the_mail_is_sent(
    shop: World, mail: Peers
) -> None:
    for call in every_call(3):
        empty()
        with crash_after(call), suppress(Killed):
            record("b1", queued=2)
        record("b1", queued=2)
        assert consume(shop, MINUTE) == []
        assert mail.mails[-1]["subject"] == "AdBot Queue: 2 queued"
        assert [body["minute"] for body in _all_messages(shop)] == [MINUTE] * (2 if call == 3 else 1)


def _all_messages(shop: World) -> list[dict[str, Any]]:
    queue = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues["test_notices"]
    return [json.loads(message.body) for message in queue._messages]


def test_when_sqs_refuses_the_batch_is_delivered_again(shop: World, mail: Peers) -> None:
    with failing(aws.sqs(), "SendMessage"), pytest.raises(queues.QueueRefused):
        record("b1", queued=2)
    record("b1", queued=2)
    assert len(_all_messages(shop)) == 1


def test_two_workers_do_not_both_send(shop: World, mail: Peers) -> None:
    record("b1", queued=2)
    service = notices.from_env()
    sender = service._sender
    assert sender is not None

    def meanwhile(message: Any) -> None:
        with pytest.raises(Unavailable, match="somebody else"):
            service.send(MINUTE)
        sender(message)

    service._sender = meanwhile
    service.send(MINUTE)
    assert len(mail.mails) == 1


def test_a_worker_that_died_sending_is_replaced_when_its_lease_is_over(
    shop: World, mail: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    record("b1", queued=2)
    with crash_after(1), suppress(Killed):
        notices.from_env().send(MINUTE)
    assert consume(shop, MINUTE) == ["m0"]
    monkeypatch.setattr(notices.from_env(), "_now", lambda: NOW + 121_000)
    assert consume(shop, MINUTE) == []
    assert len(mail.mails) == 1


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (refusing(500), "HTTP 500"),
        (refusing(401), "HTTP 401"),
        (lambda: _raise(URLError("no route")), "could not be reached"),
    ],
)
def test_a_mail_that_sendgrid_does_not_take_is_tried_again(
    shop: World, mail: Peers, monkeypatch: pytest.MonkeyPatch, problem: Any, says: str
) -> None:
    record("b1", queued=2)
    mail.instead.append(problem)
    with pytest.raises((AccountRefused, ProviderFailed), match=says):
        notices.from_env().send(MINUTE)
    monkeypatch.setattr(notices.from_env(), "_now", lambda: NOW + 480_000)
    assert consume(shop, MINUTE) == []
    assert len(mail.mails) == 1


def _raise(error: Exception) -> Any:
    raise error


def test_without_a_key_the_mail_stays_in_the_queue_and_says_what_is_missing(shop: World, mail: Peers) -> None:
    record("b1", queued=2)
    with secret("sendgrid", '{"api_key": ""}'):
        with pytest.raises(NotConfigured, match="SendGridSecretArn"):
            notices.from_env().send(MINUTE)
        assert consume(shop, MINUTE) == ["m0"]
    assert mail.mails == []


def test_without_a_sender_address_it_says_so(shop: World, mail: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_FROM", "")
    _forget()
    with pytest.raises(NotConfigured, match="MAIL_FROM"):
        notices.from_env()._sender(compose(MINUTE, {}, []))  # type: ignore[misc]


def test_without_an_address_notices_are_counted_but_not_sent(
    shop: World, mail: Peers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADMIN_EMAIL", "")
    _forget()
    monkeypatch.setattr(notices.from_env(), "_now", lambda: NOW)
    metrics.clear_metrics()
    record("b1", queued=2, review=1)
    assert consume(shop, MINUTE) == []
    assert mail.requests == []
    assert '"NoticeVolume":[3.0]' in capsys.readouterr().out


def test_a_mail_shows_twenty_examples_and_says_how_many_more_there_are() -> None:
    mail = compose(MINUTE, {"queued": 30}, [{"adbot_id": f"bot_{number}"} for number in range(25)])
    assert mail.text.count("- adbot_id") == 20
    assert mail.text.endswith("and 10 more\n")


def test_what_stands_in_a_mail_cannot_become_html() -> None:
    mail = compose(MINUTE, {"queued": 1}, [{"review_reason": "<script>x</script>"}])
    assert "<script>" not in mail.html


def test_notices_expire(shop: World, mail: Peers) -> None:
    record("b1", queued=2)
    assert all(item["expires_at"] == NOW // 1000 + 7 * 86_400 for item in rows(shop.env["SYSTEM_TABLE"]))


def test_a_stream_record_of_an_order_in_review_becomes_a_notice(shop: World, mail: Peers) -> None:
    image = {"pk": {"S": "ORDER#ord_1"}, "id": {"S": "ord_1"}, "status": {"S": "REVIEW"}, "review_reason": {"S": "why"}}
    change = {"eventID": "e1", "dynamodb": {"Keys": {"pk": image["pk"]}, "NewImage": image}}
    shop.app("tally").handler({"Records": [change]}, FakeContext())
    consume(shop, MINUTE)
    assert mail.mails[0]["subject"] == "AdBot Queue: 1 review"
    assert "order_id ord_1, review_reason why" in mail.mails[0]["content"][0]["value"]
