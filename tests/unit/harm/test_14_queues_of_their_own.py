"""Result webhooks and one-time codes have a queue each: a receiver that hangs delays no code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adbot_queue.core import aws
from adbot_queue.jobs import registry
from adbot_queue.jobs import service as jobs_service
from adbot_queue.jobs.permit import Permit
from adbot_queue.otp import codes, service
from adbot_queue.otp.codes import Codes
from adbot_queue.otp.service import Otps
from tests.builders.jobs import Jobs
from tests.builders.payments import configure, empty
from tests.builders.providers import Peers, connect
from tests.builders.world import World, world

HANGING = "https://hanging.example/hook"
NUMBER = 150


@pytest.fixture(scope="module")
def on() -> Iterator[World]:
    with world() as made:
        configure()
        aws.secrets_manager().create_secret(Name="webhook", SecretString='{"current": "' + "C" * 64 + '"}')
        yield made


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, on: World) -> Peers:
    """Twilio answers; a receiver of webhooks is never reached."""
    return connect(monkeypatch)


@pytest.fixture
def jobs(on: World, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    empty()
    made = Jobs(on)
    store = Codes(aws.dynamodb(), on.env["SYSTEM_TABLE"], codes.pepper, made.clock)
    monkeypatch.setattr(codes, "from_env", lambda: store)
    monkeypatch.setattr(service, "from_env", lambda: Otps(store, made.service, made.limits, made.clock))
    monkeypatch.setattr(jobs_service, "from_env", lambda: made.service)
    return made


def tell(jobs: Jobs, *urls: str) -> None:
    """A result webhook to each address."""
    about = jobs.enqueue("send-sms", {"to": "+4915112345678", "text": "Hello"}, run_at=jobs.clock() + 3_600_000)
    jobs.enqueue_many(
        [
            jobs.new("deliver-webhook", {"url": url, "job_id": about.id}, key=f"{about.id}-{number}")
            for number, url in enumerate(urls)
        ]
    )


def one_batch(jobs: Jobs, queue: str) -> int:
    """A worker's next batch of a queue."""
    batch = jobs.receive(queue)
    if batch:
        jobs.worker.work([Permit.of(body) for body in batch], lambda: 60_000, full=len(batch) == 10)
        jobs.delete(queue)
    return len(batch)


def test_a_code_is_sent_before_any_other_message_waits_for_a_receiver(on: World, jobs: Jobs, peers: Peers) -> None:
    tell(jobs, *[HANGING] * NUMBER)
    asked = on.http("otp", "POST /otp", role="admin", body={"to": "+4915112345678", "purpose": "login"})
    assert asked.status == 202

    assert one_batch(jobs, registry.TYPES["send-otp"].queue) == 1

    assert [request for request in peers.requests if "hanging" in request] == []
    assert len(peers.texts) == 1


@pytest.mark.parametrize("job_type", sorted(registry.TYPES.keys() - {"send-otp", "deliver-webhook"}))
def test_no_other_type_shares_a_queue_with_codes_or_webhooks(job_type: str) -> None:
    assert registry.TYPES[job_type].queue not in {
        registry.TYPES[name].queue for name in ("send-otp", "deliver-webhook")
    }


def test_codes_and_webhooks_have_a_queue_each() -> None:
    assert (registry.TYPES["send-otp"].queue, registry.TYPES["deliver-webhook"].queue) == ("codes", "webhooks")
