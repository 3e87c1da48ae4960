"""Result webhooks: sent once a job has ended, signed, retried, and never to internal addresses."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from adbot_queue.core import aws, outbound, secrets
from adbot_queue.core.errors import Invalid, NotConfigured
from adbot_queue.core.outbound import Outbound, check_url
from adbot_queue.integrations.jobs.deliver_webhook import DeliverWebhook, deliver
from adbot_queue.integrations.standard_webhooks import signed, signing_secrets
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, Throttled, TransientError
from adbot_queue.jobs.model import Job, JobState
from tests.builders.dead_letters import DeadLetterHarness
from tests.builders.jobs import Jobs
from tests.builders.receiver import Receiver, only_loopback, receiving
from tests.builders.world import ADMIN, AwsHarness

CURRENT, PREVIOUS = "C" * 64, "whsec_" + base64.b64encode(b"p" * 32).decode()


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture
def receiver(on_aws: AwsHarness) -> Iterator[Receiver]:
    keep("current", CURRENT)
    with receiving() as made, patch.object(outbound, "from_env", lambda: Outbound(receivers=made.names)):
        yield made


def keep(*values: str) -> None:
    """Fill in the secret: `current`, its value, and so on."""
    text = json.dumps(dict(zip(values[::2], values[1::2], strict=True)))
    manager = aws.secrets_manager()
    try:
        manager.create_secret(Name="webhook", SecretString=text)
    except manager.exceptions.ResourceExistsException:
        manager.put_secret_value(SecretId="webhook", SecretString=text)
    secrets._kept.cache_clear()


def reported(jobs: Jobs, receiver: Receiver, payload: dict[str, Any] | None = None, **options: Any) -> tuple[Job, Job]:
    """Run a job and its result webhook until nothing is open; return both."""
    jobs.clock.now = round(time.time() * 1000)  # receivers look at their clock
    job = jobs.enqueue("charge", payload, webhook_url=receiver.url, **options)
    return job, next(one for one in jobs.all() if one.type == "deliver-webhook")


def hours_later(jobs: Jobs, hours: float = 31) -> None:
    """As `settle`, for that many hours at most; two queues are swept in a sixth of the time."""
    until = jobs.clock() + hours * 3_600_000
    few = {name: job_queues.QUEUES[name] for name in ("money", "webhooks", "maintenance")}
    with patch.dict(job_queues.QUEUES, few, clear=True):
        while jobs.open() and jobs.clock() < until:
            jobs.drain("money")
            jobs.drain("webhooks")
            jobs.advance(600)
            jobs.sweep()


def test_a_receiver_gets_the_result_of_a_job_and_can_verify_the_signature(jobs: Jobs, receiver: Receiver) -> None:
    job, teller = reported(jobs, receiver, tags=("a", "b"))
    assert receiver.seen == []

    jobs.settle()

    ((path, headers, body),) = receiver.seen
    heard = Webhook(CURRENT).verify(body, headers)
    done = jobs.get(job)
    assert (path, headers["content-type"]) == ("/hook", "application/json")
    assert heard["type"] == "job.completed"
    assert heard["timestamp"] == heard["data"]["finished_at"]
    assert {key: heard["data"][key] for key in ("job_id", "type", "queue", "state", "result", "error", "attempts")} == {
        "job_id": job.id,
        "type": "charge",
        "queue": "money",
        "state": "completed",
        "result": done.result,
        "error": None,
        "attempts": 1,
    }
    assert heard["data"]["tags"] == ["a", "b"]
    assert jobs.get(teller).result == {"status": 200, "message_id": f"msg_{teller.id}"}


@pytest.mark.parametrize(
    ("goes", "kind", "error"),
    [(["permanent"], "job.failed", "permanent"), (["transient"] * 10, "job.dead", "transient")],
)
def test_a_failed_or_dead_job_is_reported_too(
    jobs: Jobs, receiver: Receiver, goes: list[str], kind: str, error: str
) -> None:
    reported(jobs, receiver, {"goes": goes})
    hours_later(jobs)
    heard = json.loads(receiver.seen[-1][2])
    assert (heard["type"], heard["data"]["error"]["kind"], heard["data"]["attempts"]) == (kind, error, len(goes))


def test_a_cancelled_job_is_reported(jobs: Jobs, receiver: Receiver) -> None:
    job, _ = reported(jobs, receiver)
    jobs.lifecycle.cancel(job.id, ADMIN)
    jobs.settle()
    assert json.loads(receiver.seen[-1][2])["type"] == "job.cancelled"


def test_a_receiver_that_fails_gets_the_result_again_under_the_same_id(jobs: Jobs, receiver: Receiver) -> None:
    receiver.answers = [(500, {})]
    _, teller = reported(jobs, receiver)
    jobs.drain()
    jobs.drain()
    assert jobs.get(teller).state is JobState.DELAYED
    jobs.settle()
    assert jobs.get(teller).state is JobState.COMPLETED
    ids = [headers["webhook-id"] for _, headers, _ in receiver.seen]
    stamps = [int(headers["webhook-timestamp"]) for _, headers, _ in receiver.seen]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert stamps[1] > stamps[0]


def test_an_answer_means_that_it_is_done_or_to_come_again_or_not_to(jobs: Jobs, receiver: Receiver) -> None:
    job = jobs.run("charge")
    payload = DeliverWebhook(url=receiver.url, job_id=job.id)
    context = Context("teller", 1, "teller", jobs.clock() + 20_000, jobs.clock, lambda: False, lambda _n, _t: None)
    verdicts: dict[type[Exception] | None, list[int]] = {
        None: [200, 201, 202, 204, 299],
        TransientError: [302, 304, 408, 409, 425, 500, 502, 503, 504, 599],
        PermanentError: [400, 401, 403, 404, 405, 410, 413, 422, 451, 499],
        Throttled: [429],  # the last: the receiver is left alone after it
    }
    for error, statuses in verdicts.items():
        for status in statuses:
            receiver.answers = [(status, {})]
            with pytest.raises(error) if error else nullcontext():
                assert deliver(payload, context)["status"] == status


def test_a_receiver_that_does_not_want_it_is_left_alone(jobs: Jobs, receiver: Receiver) -> None:
    receiver.answers = [(410, {})]
    _, teller = reported(jobs, receiver)
    jobs.settle()
    assert jobs.get(teller).state is JobState.FAILED
    assert len(receiver.seen) == 1


def test_a_receiver_says_when_to_come_again(jobs: Jobs, receiver: Receiver) -> None:
    receiver.answers = [(503, {"Retry-After": "600"})]
    _, teller = reported(jobs, receiver)
    jobs.drain()
    jobs.drain()
    run_at = jobs.get(teller).run_at
    assert run_at is not None
    assert run_at - jobs.clock() >= 600_000


def test_after_a_day_a_person_decides(jobs: Jobs, receiver: Receiver) -> None:
    receiver.answers = [(500, {})] * 100
    _, teller = reported(jobs, receiver)
    hours_later(jobs, 23)
    assert jobs.get(teller).state is JobState.DELAYED
    hours_later(jobs, 2)
    assert jobs.get(teller).state is JobState.DEAD
    assert 24 <= len(receiver.seen) <= 34


def test_a_redirect_into_our_own_network_is_the_end_of_it(jobs: Jobs, receiver: Receiver) -> None:
    receiver.answers = [(307, {"Location": "http://169.254.169.254/latest/meta-data/"})]
    _, teller = reported(jobs, receiver)
    jobs.settle()
    ended = jobs.get(teller)
    assert ended.state is JobState.FAILED
    assert ended.failure
    assert ended.failure.message.startswith("the receiver's address ")


def test_a_name_that_turns_out_to_be_private_is_the_end_of_it(jobs: Jobs, receiver: Receiver) -> None:
    jobs.clock.now = round(time.time() * 1000)
    private = Outbound(resolve=lambda *_: ["10.0.0.1"])
    jobs.enqueue("charge", webhook_url="https://receiver.example.com/")
    with patch("adbot_queue.core.outbound.from_env", lambda: private):
        jobs.settle()
    (teller,) = [one for one in jobs.all() if one.type == "deliver-webhook"]
    assert teller.state is JobState.FAILED


@pytest.mark.parametrize("url", ["http://example.com/", "https://127.0.0.1/", "https://localhost/", "nonsense"])
def test_an_unusable_webhook_address_is_refused_when_the_job_is_enqueued(on_aws: AwsHarness, url: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_url(url)
    assert [error.field for error in refused.value.errors] == ["webhook_url"]
    answer = on_aws.http(
        "jobs",
        "POST /jobs",
        role="admin",
        body={"type": "analytics-track", "payload": {"event": "e", "user_id": "u"}, "webhook_url": url},
    )
    assert (answer.status, answer.fields) == (422, ["webhook_url"])


def test_a_job_retried_before_its_result_was_delivered_reports_the_next_result_only(
    jobs: Jobs, receiver: Receiver
) -> None:
    job, teller = reported(jobs, receiver, {"goes": ["permanent"]})
    jobs.drain("money")
    jobs.lifecycle.retry(job.id, ADMIN, payload={"goes": []})
    jobs.settle()
    assert jobs.get(teller).result == {"superseded": True}
    assert [json.loads(body)["type"] for _, _, body in receiver.seen] == ["job.completed"]


def test_a_job_retried_after_its_result_was_delivered_reports_the_next_result_too(
    jobs: Jobs, receiver: Receiver
) -> None:
    job, _ = reported(jobs, receiver, {"goes": ["permanent"]})
    jobs.settle()
    jobs.lifecycle.retry(job.id, ADMIN, payload={"goes": ["permanent"]})
    jobs.settle()
    jobs.lifecycle.retry(job.id, ADMIN, payload={"goes": []})
    jobs.settle()
    assert [json.loads(body)["type"] for _, _, body in receiver.seen] == ["job.failed"] * 2 + ["job.completed"]
    assert len({headers["webhook-id"] for _, headers, _ in receiver.seen}) == 3


def test_a_replayed_dead_letter_reports_its_next_result(jobs: Jobs, receiver: Receiver) -> None:
    job, _ = reported(jobs, receiver, {"goes": ["transient"] * 10})
    hours_later(jobs)
    office = DeadLetterHarness(jobs)
    jobs.advance(1)
    assert office.finish(office.start()).state is JobState.COMPLETED
    hours_later(jobs)
    assert jobs.get(job).state is JobState.COMPLETED
    assert [json.loads(body)["type"] for _, _, body in receiver.seen] == ["job.dead", "job.completed"]


# -- secrets


def test_both_secrets_sign_while_there_are_two_so_rotation_breaks_no_receiver(jobs: Jobs, receiver: Receiver) -> None:
    keep("current", CURRENT, "previous", PREVIOUS)
    reported(jobs, receiver)
    jobs.settle()
    ((_, headers, body),) = receiver.seen
    for known in (CURRENT, PREVIOUS, f"whsec_{CURRENT}"):
        assert Webhook(known).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("X" * 64).verify(body, headers)


def test_a_changed_body_or_id_is_noticed(jobs: Jobs, receiver: Receiver) -> None:
    reported(jobs, receiver)
    jobs.settle()
    ((_, headers, body),) = receiver.seen
    for changed, forged in ((headers, body + b" "), (headers | {"webhook-id": "msg_other"}, body)):
        with pytest.raises(WebhookVerificationError):
            Webhook(CURRENT).verify(forged, changed)


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """From the tests of the reference libraries: https://github.com/standard-webhooks/standard-webhooks."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_000, '{"test": 2432232314}', [key])
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: keep("current", ""),
        lambda: keep("current", "short"),
        lambda: keep("current", "no base64! " * 5),
        lambda: keep("current", CURRENT, "previous", "short"),
        lambda: keep("current", "C" * 200),
    ],
)
def test_a_secret_that_is_none_is_named(receiver: Receiver, spoil: Callable[[], None]) -> None:
    spoil()
    with pytest.raises(NotConfigured, match="WEBHOOK_SECRET_ID"):
        signing_secrets()


def test_what_secrets_manager_generates_is_a_secret(receiver: Receiver) -> None:
    keep(
        "current",
        aws.secrets_manager().get_random_password(PasswordLength=64, ExcludePunctuation=True)["RandomPassword"],
    )
    (key,) = signing_secrets()
    assert len(key) == 48
