"""A throttle is no failure, and a provider that refuses the installation is closed to all jobs until that is mended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.utils import formatdate
from itertools import count, pairwise
from typing import Any

import pytest

from adbot_queue.core import aws, settings, telemetry
from adbot_queue.jobs import job_types
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.platform import circuit_breaker as circuits
from adbot_queue.platform.circuit import Circuit, CircuitOpen, CircuitState
from adbot_queue.platform.circuit_breaker import CircuitBreaker
from adbot_queue.providers import registry
from adbot_queue.providers.waiting import throttled
from tests.builders.calls import providers
from tests.builders.jobs import Jobs
from tests.builders.outages import (
    Shape,
    Weather,
    attempt,
    aws_error,
    browser,
    by_clock,
    sendgrid_error,
    stripe_error,
    tries,
    twilio_error,
    weather,
)
from tests.builders.payments import DEFAULT_SECRETS, configure, empty, failing, secret
from tests.builders.processors import failure
from tests.builders.providers import Peers, connect
from tests.builders.world import AwsHarness, world

MAIL = {"to": "cara@example.com", "subject": "Hello", "text": "Welcome."}
SMS = {"to": "+4915112345678", "text": "Hello."}
PAYMENT = {"amount": 4900, "currency": "eur", "payment_method": "pm_card_visa"}
PAYOUT = {"kind": "payout", "amount": 100, "currency": "eur"}
TEXT = {"kind": "ad", "topic": "Bots"}
TRACK = {"event": "Sold", "user_id": "cara"}
numbers = count()
TOO_MANY = sendgrid_error(429, "too many requests")


@pytest.fixture(scope="module")
def on_aws_all_along() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def peers(on_aws_all_along: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peers]:
    empty()
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    telemetry.metrics.clear_metrics()
    made = connect(monkeypatch)
    settings.settings.cache_clear()
    yield made
    monkeypatch.undo()
    settings.settings.cache_clear()
    registry._places.cache_clear()


@pytest.fixture
def jobs(on_aws_all_along: AwsHarness, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    made = Jobs(on_aws_all_along)
    by_clock(monkeypatch, made)
    return made


@pytest.fixture
def sky(peers: Peers, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Weather]:
    with weather(monkeypatch, peers) as made, providers(bedrock={"model": "eu.model"}):
        yield made


def mails(jobs: Jobs, number: int) -> list[Job]:
    return jobs.enqueue_many([jobs.new("send-email", MAIL, key=f"mail-{next(numbers)}") for _ in range(number)])


def work(jobs: Jobs, some: list[Job]) -> list[Job]:
    for start in range(0, len(some), 10):
        part = some[start : start + 10]
        jobs.worker.work([JobMessage(job.id, job.queue, job.rank) for job in part], lambda: 60_000)
    return [jobs.get(job) for job in some]


def circuit(name: str) -> Circuit:
    (found,) = circuits.from_env().read([name])
    return found


def kind(job_type: str, payload: dict[str, Any]) -> str:
    return failure(job_type, payload)[0].kind


# Throttled


def test_one_throttle_holds_back_all_jobs_of_the_provider_and_spends_nothing(jobs: Jobs, sky: Weather) -> None:
    sky.shape = sendgrid_error(429, "too many requests", {"retry-after": "30"})
    waiting = mails(jobs, 30)

    put_off = work(jobs, waiting)

    assert len(sky.calls) <= 10  # those that were begun together
    assert {(job.state, job.attempt, job.failure and job.failure.kind) for job in put_off} == {
        (JobState.DELAYED, 0, "throttled")
    }
    delays = sorted((job.run_at or 0) - jobs.clock() for job in put_off)
    assert delays[0] >= 30_000
    assert 5_000 <= delays[-1] - delays[0] <= 15_000  # spread: they do not come back together
    assert (circuit("sendgrid").state, circuit("sendgrid").failures) == (CircuitState.CLOSED, 0)
    assert "CallsThrottled" in telemetry.metrics.metric_set
    sky.shape = None
    assert {(job.state, tries(job)) for job in (attempt(jobs, job) for job in put_off)} == {(JobState.COMPLETED, 1)}


def test_throttles_in_a_row_that_name_no_time_hold_back_longer_each_time(jobs: Jobs, sky: Weather) -> None:
    sky.shape = TOO_MANY
    pauses = []
    for _ in range(12):
        job = work(jobs, mails(jobs, 1))[0]
        until = circuit("sendgrid").not_before
        assert until is not None
        pauses.append((until - jobs.clock()) / 1000)
        assert (job.run_at or 0) >= until
        jobs.clock.now = until

    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    sky.shape = None
    work(jobs, mails(jobs, 1))
    sky.shape = TOO_MANY
    work(jobs, mails(jobs, 1))
    assert circuit("sendgrid").not_before == jobs.clock() + 1000


def test_a_throttle_is_bounded_by_the_jobs_age_alone(jobs: Jobs, sky: Weather) -> None:
    sky.shape = twilio_error(429, 20429)
    job = jobs.enqueue("send-sms", SMS)
    began = jobs.clock()
    while not job.is_terminal:
        job = attempt(jobs, job)

    assert (job.state, job.attempt) == (JobState.DEAD, 0)
    assert jobs.clock() - began >= 3_600_000
    assert job.failure is not None
    assert "throttles us until" in job.failure.message
    assert job.failure.message.endswith("given up after 1 h")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"Retry-After": "7", "x-ratelimit-reset": "99"}, 7),
        ({"X-RateLimit-Reset": "1763770920"}, 120),
        ({"x-ratelimit-reset": "45"}, 45),
        ({"ratelimit-reset": "3"}, 3),
        ({"x-ratelimit-reset": "1"}, 1),
        ({"x-ratelimit-reset": "1763770000"}, 0),
        ({"x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-reset": "9" * 400}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "120, 120"}, 120),
        ({"retry-after": "7; comment=busy"}, 7),
        ({"retry-after": "\N{ARABIC-INDIC DIGIT SEVEN}"}, None),
        ({"x-ratelimit-reset": "1763770920.5"}, 120.5),
        ({"x-ratelimit-reset": "1763770920000"}, 120),
        ({"x-ratelimit-reset": "0.25"}, 0.25),
        ({}, None),
        (None, None),
    ],
)
def test_the_time_is_the_providers_as_far_as_it_names_one(headers: Any, seconds: float | None) -> None:
    asked = throttled("no", headers, now=lambda: 1_763_770_800_000).extra["retry_after"]

    assert asked == seconds or (headers and len(str(headers)) > 400 and asked <= 365 * 86_400)


def test_a_date_counts_and_a_wild_time_is_bounded(jobs: Jobs, sky: Weather, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adbot_queue.providers.waiting.system_clock", jobs.clock)
    for header, least, most in (
        (formatdate(jobs.clock() / 1000 + 90, usegmt=True), 85, 95),
        ("999999999999", 3600, 3600),
    ):
        empty()
        by_clock(monkeypatch, jobs)
        sky.shape = sendgrid_error(429, "too many", {"retry-after": header})
        work(jobs, mails(jobs, 1))
        until = circuit("sendgrid").not_before
        assert until is not None
        if header.isdigit():
            assert least <= (until - jobs.clock()) / 1000 <= most


@pytest.mark.parametrize(
    ("job_type", "payload", "shape"),
    [
        ("payment-process", PAYMENT, stripe_error(429, "invalid_request_error", "lock_timeout")),
        ("payment-process", PAYMENT, stripe_error(429, "rate_limit_error", "rate_limit")),
        ("payment-process", PAYMENT, stripe_error(400, "invalid_request_error", "rate_limit")),
        ("send-email", MAIL, TOO_MANY),
        ("send-sms", SMS, twilio_error(429, 20429)),
        ("send-sms", SMS, twilio_error(400, 20429)),
        ("send-sms", SMS, twilio_error(400, 21611)),
        ("send-sms", SMS, twilio_error(400, 14107)),
        ("send-whatsapp", SMS, twilio_error(400, 63018)),
        ("analytics-track", TRACK, (429, {}, {})),
        ("generate-content", TEXT, aws_error(429, "ThrottlingException")),
        ("generate-content", TEXT, aws_error(400, "ServiceQuotaExceededException")),
        ("generate-content", TEXT, aws_error(429, "TooManyRequestsException")),
        ("generate-content", TEXT, aws_error(429, "ModelNotReadyException")),
        ("generate-content", TEXT, aws_error(400, "ThrottledException")),
        ("generate-content", TEXT, aws_error(503, "SlowDown")),
    ],
)
def test_what_a_provider_says_instead_of_not_now_is_a_throttle(
    jobs: Jobs, sky: Weather, job_type: str, payload: dict[str, Any], shape: Shape
) -> None:
    sky.shape = shape

    assert kind(job_type, payload) == "throttled"
    assert (circuit("stripe").failures, circuit("twilio").failures, circuit("bedrock").failures) == (0, 0, 0)


@pytest.mark.parametrize("status", [429, 406])
def test_a_push_service_that_throttles_holds_back_its_own_notifications(
    jobs: Jobs, peers: Peers, sky: Weather, status: int
) -> None:
    sky.shape = (status, "", {"retry-after": "40"})
    push = {"subscription": browser(peers), "title": "Hello"}

    assert [kind("send-push", push) for _ in range(5)] == ["throttled"] * 5
    assert sky.calls == ["push"]
    sky.shape = None
    assert kind_elsewhere(sky, peers) == "transient"


def kind_elsewhere(sky: Weather, peers: Peers) -> str:
    """What a notification by another push service, which is not reached, fails by: it was tried."""
    other = browser(peers) | {"endpoint": "https://other-push.example.com/1"}
    sky.failure = "refused"
    return kind("send-push", {"subscription": other, "title": "Hello"})


def test_a_senders_throttle_does_not_hold_back_the_other_sender(jobs: Jobs, sky: Weather) -> None:
    sky.shape = twilio_error(400, 21611)
    assert kind("send-whatsapp", SMS) == kind("send-whatsapp", SMS) == "throttled"
    assert len(sky.calls) == 1
    sky.shape = None

    assert attempt(jobs, jobs.enqueue("send-sms", SMS)).state is JobState.COMPLETED
    assert kind("send-whatsapp", SMS) == "throttled"


def test_a_locked_object_delays_no_other_job(jobs: Jobs, sky: Weather) -> None:
    sky.shape = stripe_error(429, "invalid_request_error", "lock_timeout", {"stripe-should-retry": "true"})
    locked = attempt(jobs, jobs.enqueue("payment-process", PAYMENT))
    assert locked.failure is not None
    assert (locked.failure.kind, locked.attempt) == ("throttled", 0)
    sky.shape = None

    assert attempt(jobs, jobs.enqueue("payment-process", PAYMENT | {"amount": 500})).state is JobState.COMPLETED
    assert (locked.run_at or 0) - jobs.clock() >= 2_000


def test_a_connected_accounts_throttle_is_its_own(jobs: Jobs, sky: Weather) -> None:
    sky.shape = stripe_error(429, "rate_limit_error", "rate_limit")
    assert kind("payout-process", PAYOUT | {"account": "acct_one"}) == "throttled"
    sky.shape = None

    assert attempt(jobs, jobs.enqueue("payment-process", PAYMENT)).state is JobState.COMPLETED
    assert kind("payout-process", PAYOUT | {"account": "acct_one"}) == "throttled"


def test_finding_a_throttle_costs_no_call_a_job(jobs: Jobs, sky: Weather) -> None:
    sky.shape = sendgrid_error(429, "no", {"retry-after": "300"})
    work(jobs, mails(jobs, 1))
    names: list[str] = []
    aws.dynamodb().meta.events.register(
        "before-parameter-build.dynamodb.*", lambda model, **_: names.append(model.name), unique_id="throttle"
    )
    try:
        for _ in range(20):
            kind("send-email", MAIL)
    finally:
        aws.dynamodb().meta.events.unregister("before-parameter-build.dynamodb.*", unique_id="throttle")

    assert "UpdateItem" not in names
    assert len(sky.calls) == 1


# Closed


CLOSED: list[tuple[str, dict[str, Any], Shape, str]] = [
    ("payment-process", PAYMENT, stripe_error(401, "invalid_request_error", "api_key_expired"), "StripeSecretArn"),
    ("payment-process", PAYMENT, stripe_error(403, "invalid_request_error", "account_invalid"), "StripeSecretArn"),
    ("send-email", MAIL, sendgrid_error(401, "The provided authorization grant is invalid"), "API key"),
    ("send-email", MAIL, sendgrid_error(401, "Maximum credits exceeded"), "credits are used up"),
    ("send-email", MAIL, sendgrid_error(403, "Your account has been suspended"), "suspended"),
    ("send-email", MAIL, sendgrid_error(403, "does not match a verified Sender Identity"), "MAIL_FROM"),
    ("send-email", MAIL, sendgrid_error(403, "access forbidden"), "API key"),
    ("send-sms", SMS, twilio_error(401, 20003), "credentials"),
    ("send-sms", SMS, twilio_error(403, 20005), "not active"),
    ("send-sms", SMS, twilio_error(401, 0), "credentials"),
    ("send-sms", SMS, twilio_error(400, 30002), "suspended"),
    ("send-sms", SMS, twilio_error(429, 63038), "of the day"),
    ("analytics-track", TRACK, (401, {"success": False}, {}), "SegmentSecretArn"),
    ("analytics-track", TRACK, (403, {"success": False}, {}), "SegmentSecretArn"),
    ("generate-content", TEXT, aws_error(403, "AccessDeniedException"), "AccessDenied"),
    ("generate-content", TEXT, aws_error(403, "UnrecognizedClientException"), "UnrecognizedClient"),
    ("payment-process", PAYMENT, stripe_error(400, "invalid_request_error", "testmode_charges_only"), "Stripe"),
    ("payment-process", PAYMENT, stripe_error(400, "invalid_request_error", "platform_api_key_expired"), "Stripe"),
    ("payment-process", PAYMENT, stripe_error(403, "invalid_request_error", "secret_key_required"), "Stripe"),
    ("send-sms", SMS, twilio_error(403, 90010), "suspended or closed"),
    ("send-sms", SMS, twilio_error(400, 10002), "trial account"),
    *(
        ("generate-content", TEXT, aws_error(403, code), code)
        for code in ("ExpiredTokenException", "InvalidSignatureException", "MissingAuthenticationTokenException")
    ),
    *(
        ("generate-content", TEXT, aws_error(400, "ValidationException", sentence), says)
        for sentence, says in {
            "Operation not allowed": "may not call Bedrock",
            "The provided model identifier is invalid.": "no such model",
            "Invocation of model ID m with on-demand throughput isn't supported.": "inference profile",
        }.items()
    ),
]


@pytest.mark.parametrize(("job_type", "payload", "shape", "says"), CLOSED)
def test_a_refusal_of_the_installation_closes_the_provider_with_that_reason(
    jobs: Jobs, sky: Weather, job_type: str, payload: dict[str, Any], shape: Shape, says: str
) -> None:
    sky.shape = shape
    several = [jobs.enqueue(job_type, payload, key=str(number)) for number in range(4)]
    provider = registry_name(job_type)

    waiting = [attempt(jobs, job) for job in several]

    assert len(sky.calls) == 1
    for job in waiting:
        assert (job.state, job.attempt, job.failure and job.failure.kind) == (JobState.DELAYED, 0, "provider_closed")
        assert job.failure is not None
        assert says in job.failure.message
    assert circuit(provider).state is CircuitState.OPEN
    assert says in (circuit(provider).reason or "")
    assert "ProvidersClosed" in telemetry.metrics.metric_set
    assert "CircuitsOpened" not in telemetry.metrics.metric_set


def registry_name(job_type: str) -> str:
    return job_types.find(job_type).needs[0]


@pytest.mark.parametrize(
    ("job_type", "payload", "shape"),
    [
        ("payment-process", PAYMENT, stripe_error(402, "card_error", "card_declined")),
        (
            "payout-process",
            PAYOUT | {"account": "acct_x"},
            stripe_error(403, "invalid_request_error", "account_invalid"),
        ),
        ("send-email", MAIL, sendgrid_error(400, "Does not contain a valid address.")),
        ("send-email", MAIL, sendgrid_error(413, "too large")),
        ("send-sms", SMS, twilio_error(400, 21211)),
        ("send-sms", SMS, twilio_error(403, 21408)),
        ("send-sms", SMS, twilio_error(400, 21610)),
        ("analytics-track", TRACK, (400, {}, {})),
        ("generate-content", TEXT, aws_error(400, "ValidationException")),
    ],
)
def test_a_refusal_of_one_recipient_or_card_fails_its_job_alone(
    jobs: Jobs, sky: Weather, job_type: str, payload: dict[str, Any], shape: Shape
) -> None:
    sky.shape = shape

    assert kind(job_type, payload) == "permanent"
    assert (circuit(registry_name(job_type)).state, circuit(registry_name(job_type)).reason) == (
        CircuitState.CLOSED,
        None,
    )


def test_a_key_of_another_subscription_fails_that_notification_and_our_own_key_closes_the_service(
    jobs: Jobs, peers: Peers, sky: Weather
) -> None:
    push = {"subscription": browser(peers), "title": "Hello"}
    for reason in ("VAPID credentials do not correspond to the credentials used", '{"reason":"VapidPkHashMismatch"}'):
        sky.shape = (403, reason, {})
        assert kind("send-push", push) == "permanent"
    for status in (401, 403):
        sky.shape = (status, {"reason": "BadJwtToken"}, {})
        assert kind("send-push", push) == "provider_closed"
    sky.shape = None
    assert kind("send-push", push) == "provider_closed"
    assert kind_elsewhere(sky, peers) == "transient"


def test_jobs_go_on_by_themselves_when_the_key_is_replaced(jobs: Jobs, peers: Peers, sky: Weather) -> None:
    with secret("sendgrid", '{"api_key": "revoked"}'):  # the stand-in knows keys by their look
        several = [attempt(jobs, job) for job in mails(jobs, 3)]
        for _ in range(4):
            several = [attempt(jobs, job) for job in several]
        calls = len(sky.calls)
        assert calls < 9
        assert circuit("sendgrid").reason
        aws.secrets_manager().put_secret_value(
            SecretId="sendgrid", SecretString=json.dumps(DEFAULT_SECRETS["sendgrid"])
        )
        changed = jobs.clock()
        for _ in range(6):
            several = [job if job.is_terminal else attempt(jobs, job) for job in several]

    assert {jobs.get(job).state for job in several} == {JobState.COMPLETED}
    assert {tries(jobs.get(job)) for job in several} == {1}
    assert jobs.clock() - changed <= 6 * 60_000
    assert len(peers.mails) == 3


def test_the_new_key_is_looked_for_once_a_minute_and_before_the_next_probe(jobs: Jobs, sky: Weather) -> None:
    looks: list[int] = []
    known = circuits.from_env()
    known.refused("sendgrid", "the key is not accepted", "version-1", probe=False)
    known._write("sendgrid", "SET open_until = :until", "#state = :open", open="open", until=jobs.clock() + 10**9)

    def version() -> str:
        looks.append(jobs.clock())
        return "version-1" if len(looks) < 3 else "version-2"

    refusals = 0
    while True:
        jobs.advance(5)
        try:
            assert known.acquire("sendgrid", version) is True
            break
        except CircuitOpen:
            refusals += 1
    assert refusals == 35
    assert [later - sooner for sooner, later in pairwise(looks)] == [60_000, 60_000]


def test_a_probe_that_passes_opens_a_provider_whose_quota_is_there_again(jobs: Jobs, sky: Weather) -> None:
    sky.shape = sendgrid_error(401, "Maximum credits exceeded")
    job = attempt(jobs, mails(jobs, 1)[0])
    sky.shape = None

    done = attempt(jobs, job)

    assert (done.state, done.attempt) == (JobState.COMPLETED, 1)
    assert circuit("sendgrid").reason is None


def test_the_reason_is_shown_wherever_an_operator_looks(
    jobs: Jobs, sky: Weather, on_aws_all_along: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clocked in ("adbot_queue.operations.overview.system_clock", "adbot_queue.platform.health_log.system_clock"):
        monkeypatch.setattr(clocked, jobs.clock)
    sky.shape = sendgrid_error(401, "Maximum credits exceeded")
    job = attempt(jobs, mails(jobs, 1)[0])
    sky.shape = twilio_error(429, 20429, {"retry-after": "600"})
    attempt(jobs, jobs.enqueue("send-sms", SMS))
    on = on_aws_all_along

    shown = on.http("operations", "GET /admin/system/metrics", role="admin").json["circuits"]
    metrics = on.http("operations", "GET /metrics", role="viewer").text
    view = on.http("jobs", "GET /jobs/{id}", role="admin", id=job.id)

    by_name = {one["provider"]: one for one in shown}
    assert "credits are used up" in by_name["sendgrid"]["reason"]
    assert by_name["twilio"]["not_before"] is not None
    assert 'adbot_provider_closed{provider="sendgrid"' in metrics
    assert 'adbot_provider_throttled_seconds{provider="twilio"} 6' in metrics
    assert "credits are used up" in json.dumps(view.json)


def test_the_health_log_has_a_provider_that_closes_and_reopens(
    jobs: Jobs, sky: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "adbot_queue.platform.health_log.record", lambda level, event, *_, **__: reported.append((level, event))
    )
    sky.shape = sendgrid_error(401, "Maximum credits exceeded")
    job = attempt(jobs, mails(jobs, 1)[0])
    sky.shape = None
    attempt(jobs, job)

    assert reported == [("ERROR", "provider.closed"), ("INFO", "circuit.closed")]


def test_a_circuit_that_cannot_be_written_loses_nothing_that_was_done(jobs: Jobs, peers: Peers, sky: Weather) -> None:
    sky.shape = sendgrid_error(503, "no")
    kind("send-email", MAIL)
    sky.shape = None
    original = CircuitBreaker._write

    def write(self: CircuitBreaker, *args: Any, **values: Any) -> Any:
        with failing(aws.dynamodb(), "UpdateItem"):
            return original(self, *args, **values)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CircuitBreaker, "_write", write)
        done = attempt(jobs, mails(jobs, 1)[0])

    assert done.state is JobState.COMPLETED
    assert len(peers.mails) == 1


# The stand-ins

ASKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "stripe": ("payment-process", PAYMENT, "description"),
    "sendgrid": ("send-email", MAIL, "subject"),
    "twilio": ("send-sms", SMS, "text"),
    "segment": ("analytics-track", TRACK, "event"),
    "bedrock": ("generate-content", TEXT, "topic"),
}


@pytest.mark.parametrize(
    ("provider", "word", "expected"),
    [
        ("stripe", "throttled", "throttled"),
        ("stripe", "locked", "throttled"),
        ("stripe", "revoked", "provider_closed"),
        ("stripe", "suspended", "provider_closed"),
        ("sendgrid", "throttled", "throttled"),
        ("sendgrid", "revoked", "provider_closed"),
        ("sendgrid", "quota", "provider_closed"),
        ("sendgrid", "suspended", "provider_closed"),
        ("twilio", "throttled", "throttled"),
        ("twilio", "locked", "throttled"),
        ("twilio", "revoked", "provider_closed"),
        ("twilio", "quota", "provider_closed"),
        ("twilio", "suspended", "provider_closed"),
        ("segment", "throttled", "throttled"),
        ("segment", "revoked", "provider_closed"),
        ("bedrock", "throttled", "throttled"),
        ("bedrock", "revoked", "provider_closed"),
        ("bedrock", "quota", "throttled"),
    ],
)
def test_stand_ins_throttle_and_refuse_as_their_providers_do_when_asked_to(
    jobs: Jobs, sky: Weather, provider: str, word: str, expected: str
) -> None:
    job_type, payload, field = ASKED[provider]
    job = attempt(jobs, jobs.enqueue(job_type, payload | {field: f"Hello fail={word}x1"}))
    assert job.failure is not None
    assert (job.state, job.failure.kind, job.attempt) == (JobState.DELAYED, expected, 0)
    jobs.advance(60)  # SendGrid's window

    done = attempt(jobs, job)

    assert (done.state, tries(done)) == (JobState.COMPLETED, 1)


# The circuit


def test_five_failures_in_a_row_open_it_however_slowly_they_come(jobs: Jobs, sky: Weather) -> None:
    sky.shape = sendgrid_error(503, "no")
    for _ in range(4):
        kind("send-email", MAIL)
        jobs.advance(3600)
    assert circuit("sendgrid").state is CircuitState.CLOSED
    sky.shape = None
    attempt(jobs, mails(jobs, 1)[0])
    sky.shape = sendgrid_error(503, "no")
    for _ in range(4):
        kind("send-email", MAIL)
        jobs.advance(3600)
    assert circuit("sendgrid").state is CircuitState.CLOSED

    kind("send-email", MAIL)

    assert circuit("sendgrid").state is CircuitState.OPEN
