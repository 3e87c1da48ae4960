"""One-time codes: others cannot block a phone's codes or send them to a range, and a refused request spends nothing."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.core import aws, telemetry
from adbot_queue.core.errors import Unavailable
from adbot_queue.core.faults import FAULTS
from adbot_queue.jobs import service as jobs_service
from adbot_queue.messaging import otp_codes as codes
from adbot_queue.messaging import otp_service as service
from adbot_queue.messaging import phone_ranges as numbers
from adbot_queue.messaging.otp_codes import Codes
from adbot_queue.messaging.otp_service import Otps
from adbot_queue.platform.joint_rate_limits import JointRateLimiter
from adbot_queue.platform.rate import Rate
from adbot_queue.testing.tables import template
from tests.builders.clocks import FakeClock
from tests.builders.jobs import Jobs
from tests.builders.payments import configure, empty, rows
from tests.builders.providers import connect
from tests.builders.world import Answer, AwsHarness, world

PHONE = "+4915112345678"
FROM_ENV = service.from_env
blocks = itertools.count(1000)


@pytest.fixture(scope="module")
def on() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def jobs(on: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    connect(monkeypatch)
    empty()
    made = Jobs(on)
    store = Codes(aws.dynamodb(), on.env["SYSTEM_TABLE"], codes.pepper, made.clock)
    monkeypatch.setattr(service, "from_env", lambda: Otps(store, made.service, made.limits, made.clock))
    monkeypatch.setattr(jobs_service, "from_env", lambda: made.service)
    return made


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    found: Counter[str] = Counter()
    monkeypatch.setattr(telemetry, "count", lambda name, value=1: found.update({name: value}))
    return found


def ask(on: AwsHarness, to: str = PHONE, purpose: str = "login", role: str = "customer", user: str = "cara") -> Answer:
    return on.http("otp", "POST /otp", role=role, user=user, body={"to": to, "purpose": purpose})


def phones(block: str | None = None) -> Iterator[str]:
    """Numbers of one block of 10,000."""
    block = block or f"+49151{next(blocks)}"
    return (f"{block}{number:04d}" for number in itertools.count())


def spent(on: AwsHarness) -> dict[str, Any]:
    return {row["pk"]: row["tat"] for row in rows(on.env["SYSTEM_TABLE"], "LIMIT#")}


# One caller and a phone


@pytest.mark.parametrize("role", ["customer", "admin", "owner"])
def test_whatever_one_caller_asks_for_a_phone_gets_the_codes_of_others(on: AwsHarness, jobs: Jobs, role: str) -> None:
    for number in range(200):  # two hours of it
        ask(on, purpose=f"p{number}", role=role, user="mallory")
        jobs.advance(36)
    assert ask(on, user="cara").status == 202
    if role == "customer":
        assert ask(on, role="admin", user="shop").status == 202
        assert ask(on, purpose="p1", role="owner", user="desk").status == 429  # the staff's programs are one caller


def test_many_callers_together_are_bounded_and_the_staff_is_not_kept_away(on: AwsHarness, jobs: Jobs) -> None:
    taken = sum(ask(on, user=f"mallory-{number}").status == 202 for number in range(60))
    assert 5 < taken <= 20
    assert ask(on, user="cara").status == 429
    assert ask(on, role="admin", user="shop").status == 202


def test_one_caller_asks_a_phone_once_a_minute_and_five_times_an_hour(on: AwsHarness, jobs: Jobs) -> None:
    taken: list[int] = []
    for _ in range(240):
        if ask(on).status == 202:
            taken.append(jobs.clock.now)
        jobs.advance(30)
    assert min(later - earlier for earlier, later in itertools.pairwise(taken)) >= 60_000
    assert max(sum(begin <= one < begin + 3_600_000 for one in taken) for begin in taken) <= 5


# Number ranges


@pytest.mark.parametrize("role", ["customer", "admin"])
@pytest.mark.parametrize("callers", [1, 60])
def test_sixty_codes_to_one_range_are_refused(
    on: AwsHarness, jobs: Jobs, role: str, callers: int, counted: Counter[str]
) -> None:
    found = phones()
    answers = [ask(on, next(found), role=role, user=f"eve-{number % callers}") for number in range(60)]
    assert sum(answer.status == 202 for answer in answers) <= 20
    assert {answer.problem for answer in answers if answer.status != 202} == {"rate-limited"}
    if callers > 1 or role == "admin":
        assert counted["OtpRangesRefused"] > 0


def test_sixty_codes_to_one_operator_in_any_order_are_refused(on: AwsHarness, jobs: Jobs) -> None:
    chosen = random.Random(1)
    answers = [ask(on, f"+49151{chosen.randrange(10**8):08d}", role="admin", user=f"p{n}") for n in range(60)]
    assert 20 < sum(answer.status == 202 for answer in answers) <= 40


def test_a_range_that_is_refused_keeps_no_other_waiting(on: AwsHarness, jobs: Jobs) -> None:
    found = phones("+4915199990")
    while ask(on, f"{next(found)[:-1]}", role="admin").status == 202:
        pass
    assert ask(on, "+4917012345678", role="admin").status == 202


def test_all_codes_of_a_day_are_bounded(on: AwsHarness, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Codes(aws.dynamodb(), on.env["SYSTEM_TABLE"], codes.pepper, jobs.clock)
    few = Otps(store, jobs.service, jobs.limits, jobs.clock, per_day=50)
    monkeypatch.setattr(service, "from_env", lambda: few)
    prefixes = ("+49151", "+49160", "+49170", "+49171", "+49172", "+49175")
    taken = 0
    for number in range(24 * 6):
        taken += ask(on, f"{prefixes[number % 6]}{number:08d}"[:14], role="admin", user=f"p{number}").status == 202
        jobs.advance(600)
    assert 40 <= taken <= 55


# Countries and kinds of numbers

MOBILE = {
    "DE": ["+4915112345678", "+491701234567", "+4916212345678"],
    "GB": ["+447400123456"],
    "GG": ["+447911123456", "+447781123456"],
    "RU": ["+79123456789"],
    "KZ": ["+77710009998", "+77012345678"],
    "US": ["+12015550123"],
    "CA": ["+15062345678"],
    "BS": ["+12423591234"],
    "JM": ["+18762101234"],
    "DO": ["+18092345678"],
    "IT": ["+393123456789"],
    "FR": ["+33612345678"],
    "MX": ["+522221234567"],
    "NO": ["+4740612345", "+4741234567"],
}
NO_MOBILE = {
    "satellite": ["+881612345678", "+8821234567890", "+88213123456", "+870301234567", "+8835100123456"],
    "premium": ["+499001234567", "+19002345678", "+449012345678", "+33891123456", "+79091234567890", "+78091234567"],
    "shared cost": ["+491801234567", "+448431234567", "+390848123456", "+808123456789"[:13]],
    "free": ["+498001234567", "+18002345678", "+80012345678"],
    "international premium": ["+979123456789"],
    "personal": ["+447012345678", "+15005550001", "+497001234567", "+87812345678902"[:15]],
    "pagers": ["+447640123456", "+491612345678"],
    "fixed": ["+493012345678", "+442012345678", "+390612345678", "+390669812345"],
    "too short or too long": ["+49151123456", "+491511234567890"[:16], "+4915112345"],
    "with a zero": ["+49015112345678", "+3306698123456"],
    "no country": ["+9991234567", "+2101234567", "+999999999999999", "+1234567"],
}


@pytest.mark.parametrize(("country", "phone"), [(name, phone) for name, found in MOBILE.items() for phone in found])
def test_a_mobile_number_is_of_its_country_whatever_calling_code_it_shares(country: str, phone: str) -> None:
    assert numbers.country_of(phone) == country


@pytest.mark.parametrize(("kind", "phone"), [(name, phone) for name, found in NO_MOBILE.items() for phone in found])
def test_no_other_number_is_a_mobile_one(kind: str, phone: str) -> None:
    assert numbers.country_of(phone) is None, kind


ELSEWHERE = [phone for country, found in MOBILE.items() if country != "DE" for phone in found]


def test_a_code_is_sent_to_mobile_numbers_of_the_allowed_countries_alone(on: AwsHarness, jobs: Jobs) -> None:
    for phone in [*ELSEWHERE, *itertools.chain(*NO_MOBILE.values())]:
        for role in ("customer", "admin", "owner"):
            answer = ask(on, phone, role=role)
            assert (answer.status, answer.fields) == (422, ["to"]), phone
    assert spent(on) == {}
    assert rows(on.env["JOBS_TABLE"]) == []
    assert answer.json["detail"] == "to: must be a mobile number of DE (parameter CodeCountries)"


def test_the_parameters_choose_the_countries_and_the_day(
    on: AwsHarness, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODE_COUNTRIES", "RU, de")
    monkeypatch.setenv("CODES_PER_DAY", "10")
    monkeypatch.setattr(service, "from_env", FROM_ENV)
    for phone, status in (("+79123456789", 202), ("+77012345678", 422), ("+491701234567", 429), ("+12015550123", 422)):
        assert ask(on, phone, role="admin").status == status  # a tenth of the day's at once
    FROM_ENV.cache_clear()


# What a refused ask spends


def test_a_refused_ask_spends_nothing(on: AwsHarness, jobs: Jobs) -> None:
    ask(on)
    before, codes_before = spent(on), rows(on.env["SYSTEM_TABLE"], "OTP#")
    for number in range(30):
        assert ask(on, purpose=f"p{number}").status == 429
    assert spent(on) == before
    assert rows(on.env["SYSTEM_TABLE"], "OTP#") == codes_before


def test_a_refused_ask_makes_no_code_worthless_and_no_message(on: AwsHarness, jobs: Jobs) -> None:
    assert ask(on).status == 202
    jobs.drain("codes")
    before = len(jobs.all())
    assert ask(on).status == 429
    assert len(jobs.all()) == before


def test_retry_after_is_when_the_same_ask_is_taken_and_not_a_second_earlier(on: AwsHarness, jobs: Jobs) -> None:
    for user in ("cara", "dora"):
        for _ in range(12):
            answer = ask(on, user=user)
            if answer.status == 202:
                continue
            wait = int(answer.headers["retry-after"])
            jobs.advance(wait - 1)
            assert ask(on, user=user).status == 429
            jobs.advance(1)
            assert ask(on, user=user).status == 202


# The buckets


def buckets(on: AwsHarness, clock: FakeClock) -> JointRateLimiter:
    return JointRateLimiter(aws.dynamodb(), on.env["SYSTEM_TABLE"], clock)


def test_all_tokens_are_taken_or_none(on: AwsHarness) -> None:
    empty()
    clock = FakeClock()
    limits = buckets(on, clock)
    slow, quick = Rate(1 / 60, 1), Rate(1, 5)
    assert limits.acquire_all({"a": slow, "b": quick}) == {}
    refused = limits.acquire_all({"a": slow, "b": quick})
    assert list(refused) == ["a"]
    assert (refused["a"].allowed, refused["a"].retry_after_s, refused["a"].remaining) == (False, 60, 0)
    for _ in range(4):
        assert limits.acquire("b", quick).allowed
    assert not limits.acquire("b", quick).allowed
    clock.advance(60_000)
    assert limits.acquire_all({"a": slow, "b": quick}) == {}


def test_of_two_at_once_one_token_is_taken_by_one(on: AwsHarness) -> None:
    """The other one writes between our look and our transaction: we look again, and are refused."""
    empty()
    clock = FakeClock()
    rate = Rate(1 / 60, 1)
    first, second = buckets(on, clock), buckets(on, clock)
    answers: list[Any] = []
    events = aws.dynamodb().meta.events

    def meanwhile(**_: Any) -> None:
        if not answers:
            answers.append("begun")
            answers.append(second.acquire_all({"a": rate, "b": rate}))

    events.register("before-call.dynamodb.TransactWriteItems", meanwhile, unique_id="meanwhile")
    try:
        refused = first.acquire_all({"a": rate, "b": rate})
    finally:
        events.unregister("before-call.dynamodb.TransactWriteItems", unique_id="meanwhile")
    assert answers == ["begun", {}]
    assert set(refused) == {"a", "b"}


def test_a_caller_that_always_conflicts_is_asked_to_retry(on: AwsHarness) -> None:
    empty()
    clock = FakeClock()
    limits, other = buckets(on, clock), buckets(on, clock)
    rate = Rate(1, 1000)
    inside: list[int] = []

    def meanwhile(**_: Any) -> None:
        if not inside:
            inside.append(1)
            other.acquire("a", rate)
            inside.clear()

    events = aws.dynamodb().meta.events
    events.register("before-call.dynamodb.TransactWriteItems", meanwhile, unique_id="always")
    try:
        with pytest.raises(Unavailable):
            limits.acquire_all({"a": rate, "b": rate})
    finally:
        events.unregister("before-call.dynamodb.TransactWriteItems", unique_id="always")
    assert set(spent(on)) == {"LIMIT#a"}


# What is seen of it


def test_asked_and_verified_are_counted(on: AwsHarness, jobs: Jobs, counted: Counter[str]) -> None:
    ask(on)
    assert (counted["OtpsAsked"], counted["OtpsUnverified"], counted["OtpsRefused"]) == (1, 1, 0)
    ask(on)
    assert (counted["OtpsAsked"], counted["OtpsRefused"], counted["OtpRangesRefused"]) == (1, 1, 0)


def test_pumping_is_alarmed() -> None:
    resources = template()["Resources"]
    assert "OtpRangesRefused" in FAULTS["ProvidersFaults"]
    alarm = resources["CodesUnverified"]["Properties"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Threshold"]) == ("OtpsUnverified", "Sum", 50)
