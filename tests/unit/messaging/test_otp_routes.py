"""POST /otp and POST /otp/verify, and the job between them."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.core import aws, telemetry
from adbot_queue.core.clock import iso
from adbot_queue.jobs import service as jobs_service
from adbot_queue.jobs.model import JobState
from adbot_queue.messaging import otp_codes as codes
from adbot_queue.messaging import otp_service as service
from adbot_queue.messaging.otp_codes import LIFE_MS, Codes
from adbot_queue.messaging.otp_service import Otps
from local.stand_ins import twilio
from tests.builders.jobs import Jobs
from tests.builders.payments import configure, empty, rows, secret
from tests.builders.providers import Peers, connect
from tests.builders.world import Answer, AwsHarness, world

phones = (f"+49151{number:08d}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def on() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, on: AwsHarness) -> Peers:
    return connect(monkeypatch)


@pytest.fixture
def jobs(on: AwsHarness, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """The platform, and the codes on the same clock."""
    empty()
    made = Jobs(on)
    store = Codes(aws.dynamodb(), on.env["SYSTEM_TABLE"], codes.pepper, made.clock)
    monkeypatch.setattr(codes, "from_env", lambda: store)
    monkeypatch.setattr(service, "from_env", lambda: Otps(store, made.service, made.limits, made.clock))
    monkeypatch.setattr(jobs_service, "from_env", lambda: made.service)
    return made


@pytest.fixture
def phone() -> str:
    return next(phones)


def ask(on: AwsHarness, phone: str, purpose: str = "login", role: str = "admin", user: str = "ada") -> Answer:
    return on.http("otp", "POST /otp", role=role, user=user, body={"to": phone, "purpose": purpose})


def verify(
    on: AwsHarness, phone: str, code: str, purpose: str = "login", role: str = "admin", user: str = "ada"
) -> Answer:
    body = {"to": phone, "purpose": purpose, "code": code}
    return on.http("otp", "POST /otp/verify", role=role, user=user, body=body)


def code_of(peers: Peers, number: int = -1) -> str:
    """What the phone shows."""
    found = re.search(r"\b\d{6}\b", peers.texts[number]["body"])
    assert found
    return found[0]


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


def test_a_code_is_asked_for_sent_and_used_once(on: AwsHarness, jobs: Jobs, peers: Peers, phone: str) -> None:
    answer = ask(on, phone)

    assert answer.status == 202
    assert answer.json["expires_at"] == iso(jobs.clock.now + LIFE_MS)
    assert answer.json["resend_after_seconds"] == 60
    jobs.drain("codes")
    (taken,) = peers.texts
    assert (taken["to"], taken["num_segments"]) == (phone, "1")
    assert "5 min" in taken["body"]
    good = verify(on, phone, code_of(peers))
    assert (good.status, good.json) == (200, {"verified": True})
    assert verify(on, phone, code_of(peers)).status == 422


def test_neither_job_nor_log_nor_ledger_knows_the_code_or_the_phone(
    on: AwsHarness, jobs: Jobs, peers: Peers, phone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log, (handler,) = io.StringIO(), telemetry.logger.handlers
    telemetry.logger.setLevel("DEBUG")
    stream = handler.setStream(log)  # type: ignore[attr-defined]
    try:
        job = jobs.get(ask(on, phone).json["job_id"])
        jobs.drain("codes")
        peers.report()
        verify(on, phone, code_of(peers))
    finally:
        telemetry.logger.setLevel("CRITICAL")
        handler.setStream(stream)  # type: ignore[attr-defined]

    done = jobs.get(job)
    assert done.state is JobState.COMPLETED
    assert done.result == {"sid": peers.texts[0]["sid"], "status": "queued", "segments": 1}
    said = capsys.readouterr()
    everything = [
        log.getvalue() + said.out + said.err,
        *(json.dumps(rows(on.env[table]), default=str) for table in ("JOBS_TABLE", "LEDGER_TABLE")),
        json.dumps([row for row in rows(on.env["SYSTEM_TABLE"]) if not row["pk"].startswith("OTP#")], default=str),
    ]
    assert "answered" in everything[0], "the log must have been looked at"
    for text in everything:
        assert phone[1:] not in text
        # Six digits may well stand within a time or a hash.
        assert not re.search(rf"(?<!\w){code_of(peers)}(?!\w)", text)


@pytest.mark.parametrize(
    "case", ["wrong", "never asked for", "another purpose", "another phone", "too old", "no tries"]
)
def test_every_no_is_the_same_no(on: AwsHarness, jobs: Jobs, peers: Peers, phone: str, case: str) -> None:
    reference = verify(on, next(phones), "123456")
    asked = phone if case != "never asked for" else next(phones)
    ask(on, asked)
    jobs.drain("codes")
    code = code_of(peers)
    if case == "too old":
        jobs.advance(LIFE_MS / 1000)
    if case == "no tries":
        for _ in range(5):
            verify(on, asked, wrong(code))

    answer = verify(
        on,
        next(phones) if case == "another phone" else phone,
        wrong(code) if case == "wrong" else code,
        "payout" if case == "another purpose" else "login",
    )

    assert (answer.status, answer.json) == (422, reference.json)
    assert answer.fields == ["code"]


def test_a_code_belongs_to_the_customer_who_asked_for_it(on: AwsHarness, jobs: Jobs, peers: Peers, phone: str) -> None:
    ask(on, phone, role="customer", user="cara")
    jobs.drain("codes")
    code = code_of(peers)

    assert verify(on, phone, code, role="customer", user="mallory").status == 422
    assert verify(on, phone, code, role="admin").status == 422
    assert verify(on, phone, code, role="customer", user="cara").status == 200


def test_what_one_program_of_the_staff_asked_for_another_one_checks(
    on: AwsHarness, jobs: Jobs, peers: Peers, phone: str
) -> None:
    ask(on, phone, role="admin", user="shop")
    jobs.drain("codes")
    assert verify(on, phone, code_of(peers), role="owner", user="desk").status == 200


def test_a_newer_code_makes_the_one_before_worthless(on: AwsHarness, jobs: Jobs, peers: Peers, phone: str) -> None:
    ask(on, phone)
    jobs.drain("codes")
    jobs.advance(60)
    ask(on, phone)
    assert verify(on, phone, code_of(peers)).status == 422  # from now on, not when the new one has come
    jobs.drain("codes")

    assert verify(on, phone, code_of(peers, 0)).status == 422
    assert verify(on, phone, code_of(peers, 1)).status == 200


def test_a_phone_gets_one_code_a_minute_and_never_more_than_five_in_an_hour(
    on: AwsHarness, jobs: Jobs, phone: str
) -> None:
    sent: list[int] = []
    began = jobs.clock.now
    while jobs.clock.now < began + 3 * 3_600_000:
        answer = ask(on, phone, purpose=f"p{len(sent)}", user=f"admin-{jobs.clock.now % 7}")
        if answer.status == 202:
            sent.append(jobs.clock.now)
        else:
            assert (answer.status, answer.problem) == (429, "rate-limited")
            assert int(answer.headers["retry-after"]) >= 1
        jobs.advance(59 if answer.status == 202 else 1 if len(sent) < 3 else 240)

    assert min(later - earlier for earlier, later in itertools.pairwise(sent)) >= 60_000
    assert max(sum(moment <= one <= moment + 3_600_000 for one in sent) for moment in sent) <= 5
    assert [round((moment - began) / 60_000) for moment in sent[:3]] == [0, 1, 2]
    assert len(sent) > 6


def test_a_customer_may_ask_for_ten_codes_in_an_hour_to_whatever_phones(on: AwsHarness, jobs: Jobs) -> None:
    sent = 0
    for _ in range(60):
        sent += ask(on, next(phones), role="customer", user="mallory").status == 202
        jobs.advance(60)
    assert 5 < sent <= 10
    assert ask(on, next(phones), role="customer", user="cara").status == 202
    assert ask(on, next(phones), role="admin").status == 202


def test_a_message_whose_answer_was_lost_is_followed_by_another_one_and_the_last_one_counts(
    on: AwsHarness, jobs: Jobs, peers: Peers, phone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = peers.stand_ins.twilio._create
    lost = [True]

    def losing(*args: Any) -> Any:
        reply = create(*args)
        if lost:
            lost.clear()
            raise TimeoutError
        return reply

    monkeypatch.setattr(peers.stand_ins.twilio, "_create", losing)
    job = ask(on, phone).json["job_id"]
    jobs.drain("codes")
    assert jobs.get(job).state is JobState.DELAYED
    jobs.settle()

    first, second = code_of(peers, 0), code_of(peers, 1)
    assert len(peers.texts) == 2
    assert first == second or verify(on, phone, first).status == 422
    assert verify(on, phone, second).status == 200


def test_a_code_whose_time_is_over_before_it_could_be_sent_is_not_sent(
    on: AwsHarness, jobs: Jobs, peers: Peers, phone: str
) -> None:
    job = ask(on, phone).json["job_id"]
    jobs.advance(LIFE_MS / 1000)
    jobs.sweep()
    jobs.drain("codes")

    done = jobs.get(job)
    assert (done.state, done.failure and done.failure.kind) == (JobState.FAILED, "permanent")
    assert peers.texts == []


def test_a_code_that_was_asked_for_anew_is_not_sent(on: AwsHarness, jobs: Jobs, peers: Peers, phone: str) -> None:
    before = ask(on, phone).json["job_id"]
    jobs.advance(60)
    ask(on, phone)
    jobs.drain("codes")

    assert len(peers.texts) == 1
    assert "skipped" in jobs.get(before).result


def test_the_message_waits_at_twilio_no_longer_than_the_code_is_good(
    on: AwsHarness, jobs: Jobs, peers: Peers, phone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms: list[dict[str, str]] = []
    monkeypatch.setattr(
        peers.stand_ins.twilio, "_made", lambda _account, form: forms.append(form) or {"sid": "SM1", "status": "queued"}
    )
    ask(on, phone)
    jobs.advance(200)
    jobs.drain("codes")

    assert forms[0]["ValidityPeriod"] == "100"
    assert "2 min" in forms[0]["Body"]


def test_the_caller_does_not_learn_that_twilio_refuses_a_number(
    on: AwsHarness, jobs: Jobs, phone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(twilio.REFUSED, gone := next(phones), twilio.REFUSED["+15005550001"])
    invalid, valid = ask(on, gone), ask(on, phone)
    jobs.drain("codes")

    assert invalid.status == valid.status == 202
    assert invalid.json.keys() == valid.json.keys()
    failed = jobs.get(invalid.json["job_id"])
    assert failed.failure
    assert "21211" in failed.failure.message
    assert gone[1:] not in failed.failure.message


def test_without_credentials_of_twilio_no_code_is_promised_and_no_token_spent(
    on: AwsHarness, jobs: Jobs, phone: str
) -> None:
    with secret("twilio", ""):
        answer = ask(on, phone)
    assert (answer.status, answer.problem) == (503, "not-configured")
    assert "TwilioSecretArn" in answer.json["detail"]
    assert ask(on, phone).status == 202


def test_without_a_pepper_no_code_is_promised(on: AwsHarness, jobs: Jobs, phone: str) -> None:
    with secret("otp", "{}"):
        for answer in (ask(on, phone), verify(on, phone, "123456")):
            assert (answer.status, answer.problem) == (503, "not-configured")
            assert "OTP_SECRET_ID" in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"to": "0151", "purpose": "login"}, "to"),
        ({"to": "+4915112345678", "purpose": "Log in"}, "purpose"),
        ({"to": "+4915112345678"}, "purpose"),
        ({"to": "+4915112345678", "purpose": "login", "text": "mine"}, "text"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_the_field_is_named(
    on: AwsHarness, jobs: Jobs, body: Any, field: str
) -> None:
    answer = on.http("otp", "POST /otp", role="admin", body=body)
    assert (answer.status, answer.fields) == (422, [field])


@pytest.mark.parametrize("code", ["12345", "1234567", "12345x", "\uff11\uff12\uff13\uff14\uff15\uff16"])
def test_a_code_is_six_digits(on: AwsHarness, jobs: Jobs, phone: str, code: str) -> None:
    assert verify(on, phone, code).fields == ["code"]


def test_callers_cannot_enqueue_the_job(on: AwsHarness, jobs: Jobs) -> None:
    body = {"type": "send-otp", "payload": {"otp": "x", "issue": "1"}}
    answer = on.http("jobs", "POST /jobs", role="owner", body=body)
    assert (answer.status, answer.fields) == (422, ["type"])
