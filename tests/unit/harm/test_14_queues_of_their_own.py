"""Result webhooks and one-time codes have a queue each: a receiver that hangs delays no code.

Each receiver has a circuit of its own: one that hangs or is dead delays no other delivery.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from adbot_queue.core import aws, outbound
from adbot_queue.core.outbound import Endpoint, Unreachable
from adbot_queue.integrations.receivers import circuit_of
from adbot_queue.jobs import job_types
from adbot_queue.jobs import service as jobs_service
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.messaging import otp_codes as codes
from adbot_queue.messaging import otp_service as service
from adbot_queue.messaging.otp_codes import Codes
from adbot_queue.messaging.otp_service import Otps
from adbot_queue.platform import circuit_breaker as circuits
from adbot_queue.platform.circuit import MIN_FAILURES, CircuitState
from adbot_queue.platform.circuit_breaker import CircuitBreaker
from tests.builders.jobs import Jobs
from tests.builders.payments import configure, empty, rows
from tests.builders.providers import Peers, connect
from tests.builders.world import AwsHarness, world

wishes = itertools.count()
HANGING, HEALTHY = "https://hanging.example/hook", "https://healthy.example/hook"
NUMBER = 30
BATCH = 10
Course = list[int | None]
"""What a receiver answers, one after the other and the last for ever; None: nothing, until the time is up."""


@pytest.fixture(scope="module")
def on() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        aws.secrets_manager().create_secret(Name="webhook", SecretString='{"current": "' + "C" * 64 + '"}')
        yield made


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, on: AwsHarness) -> Peers:
    """Twilio answers; a receiver of webhooks is never reached."""
    return connect(monkeypatch)


@pytest.fixture
def jobs(on: AwsHarness, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    empty()
    made = Jobs(on)
    store = Codes(aws.dynamodb(), on.env["SYSTEM_TABLE"], codes.pepper, made.clock)
    monkeypatch.setattr(codes, "from_env", lambda: store)
    monkeypatch.setattr(service, "from_env", lambda: Otps(store, made.service, made.limits, made.clock))
    monkeypatch.setattr(jobs_service, "from_env", lambda: made.service)
    known = CircuitBreaker(aws.dynamodb(), on.env["SYSTEM_TABLE"], made.clock, lambda: made.clock() / 1000)
    monkeypatch.setattr(circuits, "from_env", lambda: known)
    return made


@dataclass
class Receivers:
    """Hosts that answer as set, by default 200."""

    courses: dict[str, Course] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def post(self, place: Endpoint, _body: bytes, _headers: dict[str, str], _deadline: float) -> outbound.Answer:
        self.asked.append(place.authority)
        course = self.courses.get(place.authority, [200])
        status = course[0] if len(course) == 1 else course.pop(0)
        if status is None:
            raise Unreachable("no answer (TimeoutError)")
        return outbound.Answer(status, self.headers)


@pytest.fixture
def receivers(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Receivers:
    made = Receivers()
    monkeypatch.setattr(outbound.from_env(), "_post", made.post)
    return made


def tell(jobs: Jobs, *urls: str) -> list[Job]:
    """A result webhook to each address."""
    wish = next(wishes)
    about = jobs.enqueue("send-sms", {"to": "+4915112345678", "text": "Hello"}, run_at=jobs.clock() + 3_600_000)
    return jobs.enqueue_many(
        [
            jobs.new("deliver-webhook", {"url": url, "job_id": about.id}, key=f"{wish}-{number}")
            for number, url in enumerate(urls)
        ]
    )


def one_batch(jobs: Jobs, queue: str) -> int:
    """A worker's next batch of a queue."""
    batch = jobs.receive(queue)
    if batch:
        jobs.worker.work([JobMessage.from_message(body) for body in batch], lambda: 60_000, full=len(batch) == 10)
        jobs.delete(queue)
    return len(batch)


def test_a_code_is_sent_before_any_other_message_waits_for_a_receiver(on: AwsHarness, jobs: Jobs, peers: Peers) -> None:
    tell(jobs, *[HANGING] * NUMBER)
    asked = on.http("otp", "POST /otp", role="admin", body={"to": "+4915112345678", "purpose": "login"})
    assert asked.status == 202

    assert one_batch(jobs, job_types.find("send-otp").queue) == 1

    assert [request for request in peers.requests if "hanging" in request] == []
    assert len(peers.texts) == 1


@pytest.mark.parametrize("job_type", sorted({*job_types.names()} - {"send-otp", "deliver-webhook"}))
def test_no_other_type_shares_a_queue_with_codes_or_webhooks(job_type: str) -> None:
    assert job_types.find(job_type).queue not in {
        job_types.find(name).queue for name in ("send-otp", "deliver-webhook")
    }


def test_codes_and_webhooks_have_a_queue_each() -> None:
    assert (job_types.find("send-otp").queue, job_types.find("deliver-webhook").queue) == ("codes", "webhooks")


# A circuit for each receiver


def drain(jobs: Jobs) -> None:
    """Worker's batches until no delivery can run now."""
    while one_batch(jobs, "webhooks"):
        pass


def state_of(jobs: Jobs, job: Job) -> JobState:
    return jobs.get(job).state


@pytest.mark.parametrize("dead", [[None], [500], [503], [599], [None, 500], [500, None]], ids=str)
def test_a_dead_receiver_takes_a_batch_and_its_other_deliveries_wait_at_no_attempts_cost(
    jobs: Jobs, receivers: Receivers, dead: Course
) -> None:
    receivers.courses["hanging.example"] = dead
    waiting = tell(jobs, *[HANGING] * 2 * BATCH)
    (healthy,) = tell(jobs, HEALTHY)

    drain(jobs)

    asked = Counter(receivers.asked)
    assert MIN_FAILURES <= asked["hanging.example"] <= BATCH
    assert asked["healthy.example"] == 1
    assert state_of(jobs, healthy) is JobState.COMPLETED
    after = [jobs.get(job) for job in waiting]
    assert {job.state for job in after} == {JobState.DELAYED}
    assert sum(job.attempt for job in after) == asked["hanging.example"]
    waits = [job.failure for job in after if job.failure and not job.attempt]
    assert len(waits) == len(waiting) - asked["hanging.example"]
    assert {failure.kind for failure in waits} == {"snoozed"}
    assert all("the receiver is failing: circuit open until" in failure.message for failure in waits)


ADDRESSES = {
    "another host": ("https://a.example/hook", "https://b.example/hook", False),
    "a host below it": ("https://a.example/hook", "https://x.a.example/hook", False),
    "another port": ("https://a.example/hook", "https://a.example:8443/hook", False),
    "another path": ("https://a.example/hook", "https://a.example/other", True),
    "another query": ("https://a.example/hook", "https://a.example/hook?x=1", True),
    "in capitals": ("https://a.example/hook", "https://A.EXAMPLE/hook", True),
    "with a dot": ("https://a.example/hook", "https://a.example./hook", True),
    "its port": ("https://a.example/hook", "https://a.example:443/hook", True),
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_a_circuit_is_one_receivers(jobs: Jobs, receivers: Receivers, case: str) -> None:
    failing, other, same = ADDRESSES[case]
    receivers.courses["a.example"] = [None]
    tell(jobs, *[failing] * BATCH)
    drain(jobs)
    receivers.courses.clear()

    (delivery,) = tell(jobs, other)
    drain(jobs)

    assert state_of(jobs, delivery) is (JobState.DELAYED if same else JobState.COMPLETED)


@pytest.mark.parametrize("answer", [200, 302, 400, 408, 410], ids=str)
def test_a_receiver_that_answers_is_well_whatever_it_says(jobs: Jobs, receivers: Receivers, answer: int) -> None:
    receivers.courses["healthy.example"] = [answer]
    tell(jobs, *[HEALTHY] * 2 * BATCH)

    drain(jobs)

    assert receivers.asked == ["healthy.example"] * 2 * BATCH


def test_a_receiver_that_throttles_is_asked_again_at_its_time_and_no_attempt_is_spent(
    jobs: Jobs, receivers: Receivers
) -> None:
    receivers.courses["hanging.example"], receivers.headers = [429], {"retry-after": "120"}
    waiting = tell(jobs, *[HANGING] * 2 * BATCH)
    healthy = tell(jobs, HEALTHY)

    drain(jobs)

    asked = receivers.asked.count("hanging.example")
    assert asked <= BATCH
    assert {jobs.get(job).attempt for job in waiting} == {0}
    assert state_of(jobs, healthy[0]) is JobState.COMPLETED
    for seconds in (60, 59):
        jobs.advance(seconds)
        jobs.sweep()
        drain(jobs)
        assert receivers.asked.count("hanging.example") == asked
    receivers.courses.clear()
    for _ in range(4):
        jobs.advance(120)
        jobs.sweep()
        drain(jobs)
    assert {state_of(jobs, job) for job in waiting} == {JobState.COMPLETED}


def test_one_delivery_asks_whether_a_receiver_is_back_and_then_all_go(jobs: Jobs, receivers: Receivers) -> None:
    receivers.courses["hanging.example"] = [None]
    waiting = tell(jobs, *[HANGING] * 2 * BATCH)
    drain(jobs)
    for _ in range(3):
        asked = len(receivers.asked)
        jobs.advance(300)
        jobs.sweep()
        drain(jobs)
        assert len(receivers.asked) <= asked + 1

    receivers.courses.clear()
    for _ in range(3):
        jobs.advance(300)
        jobs.sweep()
        drain(jobs)

    assert {state_of(jobs, job) for job in waiting} == {JobState.COMPLETED}


def test_many_dead_receivers_hold_up_no_healthy_one(jobs: Jobs, receivers: Receivers) -> None:
    hosts = [f"dead-{number}.example" for number in range(3)]
    receivers.courses = {host: [None] for host in hosts}
    tell(jobs, *[f"https://{host}/" for host in hosts for _ in range(2 * BATCH)])
    healthy = tell(jobs, *[HEALTHY] * 5)

    drain(jobs)

    assert {state_of(jobs, job) for job in healthy} == {JobState.COMPLETED}
    asked = Counter(receivers.asked)
    assert all(MIN_FAILURES <= asked[host] < MIN_FAILURES + BATCH for host in hosts)


@pytest.mark.parametrize("host", ["a.example", "x" * 60 + ".example", ".".join(["y" * 60] * 30) + ".example"])
def test_the_name_of_a_circuit_has_one_length_and_goes_after_a_day(
    on: AwsHarness, jobs: Jobs, receivers: Receivers, host: str
) -> None:
    receivers.courses[host] = [None]
    tell(jobs, *[f"https://{host}/hook"] * BATCH)
    drain(jobs)

    (row,) = rows(on.env["SYSTEM_TABLE"], "CIRCUIT#receiver/")
    assert len(row["pk"]) == len("CIRCUIT#receiver/") + 24
    assert row["state"] == CircuitState.OPEN
    assert row["expires_at"] == jobs.clock() // 1000 + 86_400


def test_a_dead_receiver_is_counted_and_is_no_providers_alarm(
    on: AwsHarness, jobs: Jobs, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(circuits, "count", lambda name, _value=1: counted.append(name))
    receivers.courses["hanging.example"] = [None]
    tell(jobs, *[HANGING] * BATCH)
    drain(jobs)

    assert counted == ["ReceiversFailing"]
    assert rows(on.env["SYSTEM_TABLE"], "HEALTHLOG") == []


def test_a_process_remembers_a_bounded_number_of_receivers(on: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuits, "REMEMBERED", 5)
    known = CircuitBreaker(aws.dynamodb(), on.env["SYSTEM_TABLE"])
    for number in range(20):
        name = circuit_of(outbound.from_env().place(f"https://host-{number}.example/"))
        known.acquire(name)
        known.succeeded(name, probe=False)

    assert max(map(len, (known._circuits, known._unreported, known._looked))) <= 5
