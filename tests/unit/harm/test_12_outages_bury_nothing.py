"""An outage of minutes or hours buries no job: quick tries, then up to the horizon of the job's type."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adbot_queue.core import aws, settings
from adbot_queue.jobs import job_types
from adbot_queue.jobs.errors import TransientError
from adbot_queue.jobs.failure import Failure, RetryLimit
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.retry import RetryPolicy, decide, failure_of
from adbot_queue.messaging import otp_codes as codes
from adbot_queue.providers import registry as providers_registry
from tests.builders.calls import providers
from tests.builders.jobs import Jobs
from tests.builders.outages import FAILURES, SPENT, Weather, attempt, browser, by_clock, tries, weather
from tests.builders.payments import configure, empty
from tests.builders.providers import Peers, connect
from tests.builders.stripe_calls import balance, paid
from tests.builders.world import ADMIN, AwsHarness, world

MINUTE, HOUR = 60, 3600
SHOUT = "arn:aws:lambda:eu-central-1:123456789012:function:shout"
WALLET = "7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV"
PHONE = "+4915112345678"


@pytest.fixture(scope="module")
def on_aws_all_along() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture(scope="module")
def pool(on_aws_all_along: AwsHarness) -> str:
    cognito = aws.cognito()
    made: str = cognito.create_user_pool(
        PoolName="people", Schema=[{"Name": "job", "AttributeDataType": "String", "Mutable": False}]
    )["UserPool"]["Id"]
    cognito.create_group(UserPoolId=made, GroupName="customer")
    return made


@pytest.fixture
def peers(on_aws_all_along: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peers]:
    empty()
    made = connect(monkeypatch)
    settings.settings.cache_clear()
    yield made
    monkeypatch.undo()
    settings.settings.cache_clear()
    providers_registry._places.cache_clear()


@pytest.fixture
def jobs(on_aws_all_along: AwsHarness, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    made = Jobs(on_aws_all_along)
    made.clock.now = round(time.time() * 1000)  # a push service compares the signature's end with its own clock
    by_clock(monkeypatch, made)
    return made


@pytest.fixture
def sky(peers: Peers, pool: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Weather]:
    with (
        weather(monkeypatch, peers) as made,
        providers(
            cognito={"pool": pool, "sign_in": "https://bots.example.com/sign-in"},
            plugins={"functions": SHOUT},
            bedrock={"model": "eu.model"},
        ),
    ):
        yield made


def ticket(peers: Peers) -> dict[str, Any]:
    from adbot_queue.providers import solana  # noqa: PLC0415

    peers.stand_ins.solana.chain.airdrop(solana.signer().pubkey(), 1_000_000_000)
    return {"owner": str(solana.signer().pubkey()), "name": "T", "symbol": "T", "uri": "https://example.com/t"}


def code(_peers: Peers) -> dict[str, Any]:
    known = codes.from_env()
    name = known.name("login", PHONE)
    known.open(name, "issue-1", PHONE)
    return {"otp": name, "issue": "issue-1"}


PAYLOADS: dict[str, Callable[[Peers], dict[str, Any]]] = {
    "send-email": lambda _: {"to": "cara@example.com", "subject": "Hello", "text": "Welcome."},
    "send-sms": lambda _: {"to": PHONE, "text": "Hello."},
    "send-whatsapp": lambda _: {"to": PHONE, "text": "Hello."},
    "send-push": lambda peers: {"subscription": browser(peers), "title": "Hello"},
    "send-otp": code,
    "analytics-track": lambda _: {"event": "Sold", "user_id": "cara"},
    "payment-process": lambda _: {"amount": 4900, "currency": "eur", "payment_method": "pm_card_visa"},
    "refund-process": lambda _: {"transaction_id": paid()},
    "payout-process": lambda _: {"kind": "payout", "amount": 1000, "currency": "eur", "paid": paid()},
    "nft-mint": ticket,
    "generate-content": lambda _: {"kind": "ad", "topic": "Bots"},
    "optimize-seo": lambda _: {"title": "Bots", "text": "Bots for all."},
    "execute-plugin": lambda _: {"plugin": "shout", "input": {}},
    "create-user": lambda _: {"email": "cara@example.com", "username": f"cara{len(users())}"},
}
ALONE = {
    "http-request",
    "run-workflow",
    "process-snapshot",
    "rebuild-article-stats",
    "cleanup-old-data",
    "generate-report",
}
"""Public types that ask no provider; receivers of `http-request` have tests of their own."""

EFFECTS = {
    "send-email": "sendgrid", "send-sms": "twilio", "send-whatsapp": "twilio", "send-otp": "twilio",
    "analytics-track": "segment", "payment-process": "stripe", "refund-process": "stripe", "payout-process": "stripe",
    "nft-mint": "solana", "generate-content": "bedrock", "optimize-seo": "bedrock", "send-push": "push",
}  # fmt: skip
LENGTHS = {"send-otp": 0, "send-sms": 40 * MINUTE, "send-whatsapp": 40 * MINUTE, "send-push": 40 * MINUTE}
"""Outages that are longer than the quick tries and shorter than the horizon; hours where nothing is said."""


def users() -> list[Any]:
    pools = aws.cognito().list_user_pools(MaxResults=1)["UserPools"]
    return aws.cognito().list_users(UserPoolId=pools[0]["Id"])["Users"]


def begin(jobs: Jobs, peers: Peers, job_type: str) -> Job:
    payload = PAYLOADS[job_type](peers)
    payload.pop("paid", None)
    return jobs.enqueue(job_type, payload)


def effects(peers: Peers, sky: Weather, job: Job) -> int:
    if job.type == "execute-plugin":
        return sky.done.count(job.id)
    if job.type == "create-user":
        return sum(user["Username"] == job.payload["username"] for user in users())
    shown = peers.effects(EFFECTS[job.type])
    return sum(entry["effects"] for key, entry in shown.items() if key != "paid")


def weathered(jobs: Jobs, sky: Weather, job: Job, seconds: float) -> Job:
    """Return the job after an outage of that many seconds from its first attempt on."""
    ends = jobs.clock() + seconds * 1000
    while not job.is_terminal:
        if max(jobs.clock(), job.run_at or 0) >= ends:
            sky.failure = sky.shape = None
        job = attempt(jobs, job)
    return job


def matrix() -> Iterator[Any]:
    """Every type with every failure; by default each type with two of them, each failure with three types or more."""
    kinds = [[one for one in FAILURES if (one in SPENT) is spent] for spent in (True, False)]
    for place, job_type in enumerate(PAYLOADS):
        typical = {kind[place % len(kind)] for kind in kinds}
        for failure in FAILURES:
            yield pytest.param(job_type, failure, marks=[] if failure in typical else [pytest.mark.long])


@pytest.mark.parametrize(("job_type", "failure"), list(matrix()))
def test_every_type_outlives_every_outage(jobs: Jobs, peers: Peers, sky: Weather, job_type: str, failure: str) -> None:
    job = begin(jobs, peers, job_type)
    sky.failure, began = failure, jobs.clock()
    quick = job_types.find(job_type).retry_policy().attempts
    job = attempt(jobs, job)
    assert (job.state, job.attempt) == (JobState.DELAYED, int(failure in SPENT))
    if failure in SPENT:  # as after the quick tries
        job = jobs.store.change(job, job.changed(attempt=quick)) or job
    job = attempt(jobs, job)
    assert (job.state, job.attempt) == (JobState.DELAYED, quick + 1 if failure in SPENT else 0)

    jobs.clock.now = max(jobs.clock(), began + LENGTHS.get(job_type, 5 * HOUR) * 1000)  # workers were slow meanwhile
    sky.failure = None
    jobs.advance(60 if job_type == "send-otp" else 300)  # an open circuit is half-open by then
    done = attempt(jobs, job)

    assert (done.state, done.failure) == (JobState.COMPLETED, None)
    assert effects(peers, sky, done) == 1
    assert tries(done) == (3 if failure in SPENT else 1)


@pytest.mark.parametrize(
    ("job_type", "failure", "minutes"),
    [
        ("send-email", "refused", 120),
        ("send-email", "throttled", 60),
        ("send-sms", "503", 55),
        ("send-sms", "revoked key", 30),
        ("send-otp", "timeout", 4),
        ("payment-process", "500", 120),
        ("send-push", "throttled with headers", 30),
    ],
)
def test_a_job_is_done_soon_after_the_outage(
    jobs: Jobs, peers: Peers, sky: Weather, job_type: str, failure: str, minutes: int
) -> None:
    job = begin(jobs, peers, job_type)
    sky.failure, began = failure, jobs.clock()

    done = weathered(jobs, sky, job, minutes * MINUTE)

    assert (done.state, effects(peers, sky, done)) == (JobState.COMPLETED, 1)
    assert done.finished_at is not None
    late_s = done.finished_at / 1000 - began / 1000 - minutes * MINUTE
    assert 0 <= late_s <= job_types.find(job_type).cap_s + 300


def test_the_table_has_every_public_type_and_each_has_a_horizon() -> None:
    public = {known.name for known in job_types.public()}

    assert PAYLOADS.keys() | ALONE == public | {"send-otp"}
    assert [name for name in public if not job_types.find(name).horizon_s] == []


@pytest.mark.parametrize(
    ("job_type", "horizon_s"),
    [
        ("send-email", 24 * HOUR),
        ("send-sms", HOUR),
        ("send-whatsapp", HOUR),
        ("send-push", HOUR),
        ("send-otp", 5 * MINUTE),
        ("deliver-webhook", 24 * HOUR),
        ("payment-process", 72 * HOUR),
        ("refund-process", 72 * HOUR),
        ("payout-process", 72 * HOUR),
        ("nft-mint", 72 * HOUR),
        ("analytics-track", 24 * HOUR),
        ("create-user", 24 * HOUR),
        ("generate-content", 6 * HOUR),
        ("execute-plugin", 6 * HOUR),
    ],
)
def test_a_job_is_tried_for_as_long_as_its_type_says_and_then_dead(job_type: str, horizon_s: int) -> None:
    policy = job_types.find(job_type).retry_policy()
    down = Failure("transient", "TransientError", "HTTP 503")
    number, age_ms = 0, 0
    while True:
        number += 1
        verdict = decide(policy, number, down, None, 0.5, age_ms)
        if verdict.state is JobState.DEAD:
            break
        age_ms += verdict.delay_ms

    assert age_ms == horizon_s * 1000
    assert "given up after" in verdict.why
    assert policy.attempts < number < 400


@pytest.mark.parametrize("failure", ["503", "throttled", "revoked key"])
@pytest.mark.parametrize("job_type", ["send-sms"])
def test_what_outlasts_the_horizon_is_dead_with_the_reason_and_can_be_replayed(
    jobs: Jobs, peers: Peers, sky: Weather, job_type: str, failure: str
) -> None:
    sky.failure = failure
    job = begin(jobs, peers, job_type)
    horizon = job_types.find(job_type).horizon_s

    dead = job
    while not dead.is_terminal:
        dead = attempt(jobs, dead)
        jobs.advance(horizon / 5)

    assert dead.state is JobState.DEAD
    assert dead.failure is not None
    assert dead.failure.message.endswith(f"; given up after {horizon // HOUR} h")
    assert dead.fingerprint
    sky.failure = None
    jobs.advance(600)
    jobs.lifecycle.retry(dead.id, ADMIN)
    again = attempt(jobs, dead)
    assert (again.state, effects(peers, sky, again)) == (JobState.COMPLETED, 1)


def test_a_cycle_that_a_person_begins_has_the_whole_horizon_again(jobs: Jobs, peers: Peers, sky: Weather) -> None:
    sky.failure = "503"
    job = begin(jobs, peers, "send-sms")
    while not job.is_terminal:
        job = attempt(jobs, job)
        jobs.advance(20 * MINUTE)
    jobs.lifecycle.retry(job.id, ADMIN)
    for _ in range(5):
        job = attempt(jobs, job)
    sky.failure = None
    jobs.advance(50 * MINUTE)

    done = attempt(jobs, job)

    assert (done.state, done.cycle) == (JobState.COMPLETED, 1)


def test_a_code_whose_life_is_over_is_not_sent(jobs: Jobs, peers: Peers, sky: Weather) -> None:
    sky.failure = "503"
    job = begin(jobs, peers, "send-otp")

    late = weathered(jobs, sky, job, 6 * MINUTE)

    assert late.state in {JobState.FAILED, JobState.DEAD}
    assert peers.texts == []


@pytest.mark.parametrize("hours", [20, 30])
def test_money_whose_first_answer_was_lost_moves_once_however_long_the_outage(
    jobs: Jobs, peers: Peers, sky: Weather, hours: int
) -> None:
    stand_in = peers.stand_ins.stripe
    for part in (stand_in, stand_in._payouts, stand_in.intents):
        part._now = lambda: jobs.clock() / 1000  # type: ignore[union-attr]
    paid()
    before = balance(peers)["eur"]
    job = jobs.enqueue(
        "payout-process", {"kind": "payout", "amount": 1000, "currency": "eur", "metadata": {"note": "hang=60x1"}}
    )
    job = attempt(jobs, job)  # Stripe made it, and the answer got lost
    assert job.failure is not None
    sky.failure, ends = "refused", jobs.clock() + hours * HOUR * 1000
    for _ in range(3):
        job = attempt(jobs, job)
    jobs.clock.now, sky.failure = ends, None
    if hours >= 24:
        stand_in._answers.clear()  # Stripe has forgotten the key
    job = attempt(jobs, job)

    assert job.state is JobState.COMPLETED
    assert balance(peers)["eur"] == before - 1000
    assert peers.effects("stripe")[job.provider_key]["effects"] == 1


def test_what_the_job_itself_is_at_fault_for_ends_with_the_quick_tries() -> None:
    policy = RetryPolicy(3, 5000, horizon_ms=24 * HOUR * 1000)
    for error in (KeyError("bug"), TransientError("paid for each time", limit=RetryLimit.ATTEMPTS)):
        failure, _ = failure_of(error)
        states = [decide(policy, number, failure, None, 0.5, 1000).state for number in (1, 2, 3)]
        assert states == [JobState.DELAYED, JobState.DELAYED, JobState.DEAD]
    for error in (ConnectionResetError(), TimeoutError(), TransientError("HTTP 503")):
        failure, _ = failure_of(error)
        assert decide(policy, 3, failure, None, 0.5, 1000).state is JobState.DELAYED
