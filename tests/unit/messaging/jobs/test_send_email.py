"""send-email: one mail to one person through SendGrid's own library, and every refusal is classified."""

from __future__ import annotations

from typing import Any
from urllib.error import URLError

import pytest
from pydantic import ValidationError

from adbot_queue.core import settings, telemetry
from adbot_queue.messaging import service as deliveries
from adbot_queue.messaging import suppressions
from adbot_queue.messaging.jobs.send_email import SendEmail
from adbot_queue.messaging.sendgrid_events import read
from local.stand_ins import sendgrid_events
from tests.builders.payments import secret
from tests.builders.processors import failure, run
from tests.builders.providers import Peers

GOOD = {"to": "cara@example.com", "subject": "Your ticket", "text": "Here it is.", "html": "<p>Here it is.</p>"}


def send(key: str = "job-1", **changes: Any) -> dict[str, Any]:
    result: dict[str, Any] = run("send-email", GOOD | changes, key=key)
    return result


def refused(seconds: float = 20, **changes: Any) -> tuple[str, str, float | None]:
    found, retry_after = failure("send-email", GOOD | changes, seconds=seconds)
    return found.kind, found.message, retry_after


def test_a_mail_goes_out_with_both_parts_its_categories_and_the_jobs_key(peers: Peers) -> None:
    result = send(categories=["tickets", "tickets", "seven"])

    (kept,) = peers.stand_ins.sendgrid.messages
    assert result == {"message_id": kept["id"]}
    mail = kept["message"]
    assert mail["from"] == {"email": "bots@example.com", "name": "AdBot Queue"}
    assert mail["personalizations"] == [
        {"to": [{"email": "cara@example.com"}], "custom_args": {"job": "job-1", "key": "job-1"}}
    ]
    assert [part["type"] for part in mail["content"]] == ["text/plain", "text/html"]
    assert mail["categories"] == ["tickets", "seven"]
    assert peers.effects("sendgrid") == {"job-1": {"requests": 1, "effects": 1}}
    assert "MailsSent" in telemetry.metrics.metric_set


def test_either_part_alone_will_do(peers: Peers) -> None:
    send(html=None)
    send("job-2", text=None)

    assert [[part["type"] for part in mail["content"]] for mail in peers.mails] == [["text/plain"], ["text/html"]]


@pytest.mark.parametrize(
    ("wish", "kind", "message", "seconds"),
    [
        ("fail=503x1", "transient", "SendGrid refused the mail (HTTP 503)", None),
        ("fail=500x1", "transient", "SendGrid refused the mail (HTTP 500)", None),
        ("fail=429x1", "throttled", "SendGrid refused the mail (HTTP 429)", 2.0),
        ("fail=400", "permanent", "SendGrid refused the mail (HTTP 400)", None),
        ("fail=413", "permanent", "SendGrid refused the mail (HTTP 413)", None),
    ],
)
def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    peers: Peers, wish: str, kind: str, message: str, seconds: float | None
) -> None:
    assert refused(subject=wish) == (kind, message, seconds)
    assert peers.effects("sendgrid")["job-1"] == {"requests": 1, "effects": 0}
    if kind == "transient":
        send(subject=wish)
        assert peers.effects("sendgrid")["job-1"] == {"requests": 2, "effects": 1}


def test_a_network_that_is_down_or_an_answer_that_is_late_is_tried_again(peers: Peers) -> None:
    def no_route() -> Any:
        raise URLError(ConnectionRefusedError())

    peers.instead.append(no_route)
    assert refused() == ("transient", "SendGrid could not be reached (ConnectionRefusedError)", None)
    assert refused(subject="hang=60x1") == ("transient", "SendGrid could not be reached (TimeoutError)", None)


def test_sendgrid_has_no_idempotency_keys_so_a_mail_whose_answer_was_lost_goes_twice_and_shows_it(
    peers: Peers,
) -> None:
    refused(subject="hang=60x1")
    send(subject="hang=60x1")

    assert peers.effects("sendgrid")["job-1"] == {"requests": 2, "effects": 2}
    assert {mail["personalizations"][0]["custom_args"]["key"] for mail in peers.mails} == {"job-1"}


@pytest.mark.parametrize("reported", [1, 2])
def test_a_mail_that_sendgrid_has_reported_is_not_sent_again_although_its_answer_was_lost(
    peers: Peers, reported: int
) -> None:
    refused(subject="hang=60x1")
    (kept,) = peers.stand_ins.sendgrid.messages
    events = sendgrid_events.course(kept["id"], kept["message"], 1_763_769_000)
    deliveries.from_env().record(found.report for event in events[:reported] if (found := read(event)) and found.report)

    assert send(subject="hang=60x1") == {"message_id": kept["id"]}
    assert peers.effects("sendgrid")["job-1"] == {"requests": 1, "effects": 1}


def test_a_mail_that_went_out_is_not_sent_again_when_its_job_could_not_be_ended(peers: Peers) -> None:
    first = send()

    assert send() == first
    assert peers.effects("sendgrid")["job-1"] == {"requests": 1, "effects": 1}


def test_what_was_refused_for_good_and_is_retried_by_a_person_is_another_mail(peers: Peers) -> None:
    send()
    send(key="job-1-1")

    assert len(peers.mails) == 2


def test_to_whom_mails_bounced_none_is_sent_and_the_job_says_why(peers: Peers) -> None:
    suppressions.from_env().add("email", "Cara@Example.com", "bounce", 1_763_769_000_000, "job-0")

    assert refused() == ("permanent", "suppressed: bounce", None)
    assert peers.requests == []
    send("job-2", to="dora@example.com")
    assert len(peers.mails) == 1


def test_that_the_list_cannot_be_asked_is_no_reason_to_send(peers: Peers) -> None:
    with secret("address-key", None):
        kind, message, _ = refused()

    assert kind == "transient"
    assert "ADDRESS_KEY_ID" in message
    assert peers.requests == []


def test_a_refusal_names_the_field_and_not_the_address(peers: Peers) -> None:
    complaint = {"message": "cara@example.com is not valid.", "field": "personalizations.0.to.0.email"}
    peers.instead.append(lambda: (400, {"errors": [complaint, {"message": "and more"}]}))

    assert refused()[1] == "SendGrid refused the mail (HTTP 400, personalizations.0.to.0.email)"


def test_a_key_that_is_missing_closes_sendgrid_and_names_the_setting(peers: Peers) -> None:
    with secret("sendgrid", '{"api_key": ""}'):
        kind, message, _ = refused()

    assert kind == "provider_closed"
    assert "SendGridSecretArn" in message


def test_a_key_that_sendgrid_does_not_accept_closes_sendgrid(peers: Peers) -> None:
    with secret("sendgrid", '{"api_key": "nonsense"}'):
        kind, message, _ = refused()

    assert kind == "provider_closed"
    assert "the API key is not accepted (HTTP 401)" in message
    assert "SendGridSecretArn" in message


def test_without_a_sender_the_job_fails_and_names_the_setting(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_FROM", "")
    settings.settings.cache_clear()

    kind, message, _ = refused()

    assert kind == "permanent"
    assert "MAIL_FROM" in message


@pytest.mark.parametrize(("seconds", "timeout"), [(20, 10), (4, 4)])
def test_a_call_ends_before_the_job_must(peers: Peers, seconds: float, timeout: float) -> None:
    run("send-email", GOOD, seconds=seconds)

    assert peers.timeouts == [timeout]


def test_without_time_left_nothing_is_begun(peers: Peers) -> None:
    assert refused(seconds=0.5)[0] == "timeout"
    assert peers.requests == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"to": "cara"}, "to"),
        ({"to": "cara@example"}, "to"),
        ({"to": "a@example.com, b@example.com"}, "to"),
        ({"to": f"{'a' * 250}@example.com"}, "to"),
        ({"subject": ""}, "subject"),
        ({"subject": "one\r\nBcc: all@example.com"}, "subject"),
        ({"text": None, "html": None}, None),
        ({"text": ""}, "text"),
        ({"categories": ["x"] * 11}, "categories"),
        ({"cc": "b@example.com"}, "cc"),
    ],
)
def test_a_mail_that_breaks_a_rule_is_not_enqueued(changes: dict[str, Any], field: str | None) -> None:
    with pytest.raises(ValidationError) as refused_:
        SendEmail.model_validate(GOOD | changes)

    assert [error["loc"][:1] for error in refused_.value.errors()] == [(field,) if field else ()]
