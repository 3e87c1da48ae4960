"""Admin notices: one mail for a minute's events, at least once, and never a customer's data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.error import URLError

import pytest

from adbot_queue.adbots import event_publisher
from adbot_queue.core import aws, settings
from adbot_queue.core.telemetry import metrics
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.operations import admin_digest as notices
from adbot_queue.operations.admin_digest import compose
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.jobs import Jobs
from tests.builders.payments import empty, failing, rows, secret
from tests.builders.providers import Peers, connect, refusing
from tests.builders.world import AwsHarness, FakeContext

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
def mail(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peers]:
    peers = connect(monkeypatch)
    _forget()
    monkeypatch.setattr(notices.from_env(), "_now", lambda: NOW)
    yield peers
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    for cached in (settings.settings, notices.from_env, event_publisher.from_env):
        cached.cache_clear()


def digests(shop: AwsHarness) -> list[Job]:
    return [job for job in Jobs(shop).all() if job.type == "admin-digest"]


def send(shop: AwsHarness) -> Job:
    """Run the only digest once; as it is then."""
    (job,) = digests(shop)
    jobs = Jobs(shop)
    jobs.clock.now = job.run_at or jobs.clock.now
    jobs.work(job)
    return jobs.get(job)


def record(batch: str, **counts: int) -> None:
    notices.from_env().record(batch, counts, [SAMPLE])


def test_a_minute_of_notices_is_one_job_and_one_mail(shop: AwsHarness, mail: Peers) -> None:
    record("b1", queued=2)
    notices.from_env()._enqueued = None  # another process
    record("b2", queued=1, resolved=1)

    ended = send(shop)

    assert ended.state is JobState.COMPLETED
    assert ended.result == {"mailed": True, "counts": {"queued": 3, "resolved": 1}}
    (sent,) = mail.mails
    assert sent["subject"] == "AdBot Queue: 3 queued, 1 resolved"
    assert sent["personalizations"][0]["to"] == [{"email": "admin@example.com"}]
    assert [part["type"] for part in sent["content"]] == ["text/plain", "text/html"]
    assert all("bot_1" in part["value"] for part in sent["content"])


def test_the_mail_is_sent_when_the_minute_is_over(shop: AwsHarness, mail: Peers) -> None:
    record("b1", queued=1)

    (job,) = digests(shop)

    assert job.payload == {"minute": MINUTE}
    assert (job.run_at or 0) - job.created_at == 75_000


def test_a_process_enqueues_a_minute_once(shop: AwsHarness, mail: Peers) -> None:
    record("b1", queued=1)
    with crash_after(None) as calls:
        record("b2", queued=1)

    assert calls.names == ["PutItem"]


def test_customers_data_stays_out_of_the_mail_and_of_what_is_kept(shop: AwsHarness, mail: Peers) -> None:
    record("b1", queued=1)
    send(shop)
    assert "cara" not in str(mail.mails) + str(rows(shop.env["SYSTEM_TABLE"])) + str(rows(shop.env["JOBS_TABLE"]))


def test_the_same_batch_again_is_counted_once(shop: AwsHarness, mail: Peers) -> None:
    record("b1", queued=2)
    record("b1", queued=2)
    send(shop)
    assert mail.mails[0]["subject"] == "AdBot Queue: 2 queued"


def test_killed_after_any_call_of_recording_the_batch_comes_again_and_the_mail_is_sent(
    shop: AwsHarness, mail: Peers
) -> None:
    with crash_after(None) as calls:
        record("b1", queued=2)
    for call in every_call(len(calls.names)):
        empty()
        notices.from_env()._enqueued = None
        with crash_after(call), suppress(Killed):
            record("b1", queued=2)
        notices.from_env()._enqueued = None
        record("b1", queued=2)
        assert send(shop).state is JobState.COMPLETED, f"after call {call}"
        assert mail.mails[-1]["subject"] == "AdBot Queue: 2 queued"


def test_when_sqs_refuses_the_job_is_there_for_the_sweeper(shop: AwsHarness, mail: Peers) -> None:
    with failing(aws.sqs(), "SendMessage"):
        record("b1", queued=2)
    assert send(shop).state is JobState.COMPLETED
    assert len(mail.mails) == 1


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (refusing(500), "transient"),
        (refusing(401), "provider_closed"),
        (lambda: _raise(URLError("no route")), "transient"),
    ],
)
def test_a_mail_that_sendgrid_does_not_take_is_tried_again(
    shop: AwsHarness, mail: Peers, problem: Any, kind: str
) -> None:
    record("b1", queued=2)
    mail.instead.append(problem)

    waits = send(shop)

    assert (waits.state, waits.failure.kind if waits.failure else None) == (JobState.DELAYED, kind)
    assert mail.mails == []


def _raise(error: Exception) -> Any:
    raise error


def test_without_a_key_the_mail_waits_and_says_what_is_missing(shop: AwsHarness, mail: Peers) -> None:
    record("b1", queued=2)
    with secret("sendgrid", '{"api_key": ""}'):
        waits = send(shop)
    assert (waits.state, waits.attempt) == (JobState.DELAYED, 0)
    assert "SendGridSecretArn" in (waits.failure.message if waits.failure else "")
    assert mail.mails == []


def test_without_a_sender_address_it_says_so(shop: AwsHarness, mail: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    record("b1", queued=2)
    monkeypatch.setenv("MAIL_FROM", "")
    _forget()
    failed = send(shop)
    assert failed.is_dead_letter
    assert "MAIL_FROM" in (failed.failure.message if failed.failure else "")


def test_without_an_address_notices_are_counted_but_not_sent(
    shop: AwsHarness, mail: Peers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADMIN_EMAIL", "")
    _forget()
    monkeypatch.setattr(notices.from_env(), "_now", lambda: NOW)
    metrics.clear_metrics()
    record("b1", queued=2, review=1)
    assert send(shop).result == {"mailed": False, "counts": {"queued": 2, "review": 1}}
    assert mail.requests == []
    metrics.flush_metrics()
    assert '"NoticeVolume":[3.0]' in capsys.readouterr().out


def test_a_mail_shows_twenty_examples_and_says_how_many_more_there_are() -> None:
    mail = compose(MINUTE, {"queued": 30}, [{"adbot_id": f"bot_{number}"} for number in range(25)])
    assert mail.text.count("- adbot_id") == 20
    assert mail.text.endswith("and 10 more\n")


def test_the_text_of_a_mail_cannot_become_html() -> None:
    mail = compose(MINUTE, {"queued": 1}, [{"review_reason": "<script>x</script>"}])
    assert "<script>" not in mail.html


def test_notices_expire(shop: AwsHarness, mail: Peers) -> None:
    record("b1", queued=2)
    kept = [item for item in rows(shop.env["SYSTEM_TABLE"]) if item["pk"].startswith("NOTICES#")]
    assert [item["expires_at"] for item in kept] == [NOW // 1000 + 7 * 86_400]


def test_a_stream_record_of_an_order_in_review_becomes_a_notice(shop: AwsHarness, mail: Peers) -> None:
    image = {"pk": {"S": "ORDER#ord_1"}, "id": {"S": "ord_1"}, "status": {"S": "REVIEW"}, "review_reason": {"S": "why"}}
    change = {"eventID": "e1", "dynamodb": {"Keys": {"pk": image["pk"]}, "NewImage": image}}
    shop.app("tally").handler({"Records": [change]}, FakeContext())
    send(shop)
    assert mail.mails[0]["subject"] == "AdBot Queue: 1 review"
    assert "order_id ord_1, review_reason why" in mail.mails[0]["content"][0]["value"]
