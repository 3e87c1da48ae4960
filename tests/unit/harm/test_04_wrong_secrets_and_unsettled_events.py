"""A wrong webhook secret and an event that stays unsettled are measured and alarmed, with a section in the runbook."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest

from adbot_queue.core import aws, telemetry
from adbot_queue.core.clock import system_clock
from adbot_queue.messaging.twilio_webhook import public_url
from adbot_queue.payments import overdue
from adbot_queue.payments import service as payments
from adbot_queue.providers.sendgrid_webhook import SIGNATURE
from local.settings import ROOT
from local.stand_ins import sendgrid_events
from local.translate import load, unroll
from tests.builders.payments import (
    DEFAULT_SECRETS,
    SENDGRID_KEY,
    Purchase,
    audit,
    configure,
    deliver,
    empty,
    failing,
    sample,
    signature,
)
from tests.builders.world import AwsHarness, FakeContext, world

PAYLOAD = json.dumps(sample("payment_intent.created"))
TEMPLATE = unroll(load((ROOT / "infra" / "template.yaml").read_text()))
ALARMS = {
    resource["Properties"].get("MetricName"): (name, resource["Properties"])
    for name, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}


@pytest.fixture(scope="module")
def _one_world() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def shop(_one_world: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> AwsHarness:
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    empty()
    _one_world.pool()
    return _one_world


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> Any:
    def read() -> dict[str, float]:
        lines = [line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
        return {
            name: value[-1] for line in lines for name, value in json.loads(line).items() if isinstance(value, list)
        }

    return read


@pytest.mark.parametrize(
    ("header", "measured"),
    [
        (lambda: signature(PAYLOAD, "whsec_of_another_endpoint"), 1),
        (lambda: signature(PAYLOAD, at=int(time.time()) - 3600), 1),
        (lambda: f"t={int(time.time())},v1={'0' * 64}", 1),
        (lambda: signature(PAYLOAD + " "), 1),
        (lambda: signature(PAYLOAD), 0),
        (lambda: "nonsense", None),  # not even Stripe's form: a scanner
        (lambda: "", None),
    ],
    ids=["other secret", "too old", "zeros", "other body", "good", "nonsense", "empty"],
)
def test_every_signature_is_measured_as_good_or_bad(
    shop: AwsHarness, metrics: Any, header: Callable[[], str], measured: int | None
) -> None:
    metrics()
    deliver(shop, PAYLOAD, header=header())
    assert metrics().get("BadSignatures") == measured


SENDGRID_BODY, TWILIO_BODY = "[]", "MessageSid=SM1&MessageStatus=sent"


def sendgrid_report(shop: AwsHarness, *, key: str = SENDGRID_KEY, at: float = 0, **headers: str) -> None:
    signed = sendgrid_events.signed(SENDGRID_BODY.encode(), key, int(time.time() + at)) | headers
    shop.http("delivery", "POST /webhooks/sendgrid", body=SENDGRID_BODY, headers=signed)


def twilio_report(shop: AwsHarness, *, header: str | None = None) -> None:
    url = public_url() + "/webhooks/twilio/inbound"
    text = url + "".join(name + value for name, value in sorted(parse_qsl(TWILIO_BODY)))
    digest = hmac.new(DEFAULT_SECRETS["twilio"]["auth_token"].encode(), text.encode(), hashlib.sha1).digest()
    headers = {"x-twilio-signature": b64encode(digest).decode() if header is None else header}
    shop.http("inbound", "POST /webhooks/twilio/inbound", body=TWILIO_BODY, headers=headers)


@pytest.mark.parametrize(
    ("metric", "report", "measured"),
    [
        ("BadSendGridSignatures", sendgrid_report, 0),
        ("BadSendGridSignatures", lambda shop: sendgrid_report(shop, key=sendgrid_events.new_key()), 1),
        ("BadSendGridSignatures", lambda shop: sendgrid_report(shop, at=-7 * 86_400), 1),
        ("BadSendGridSignatures", lambda shop: sendgrid_report(shop, **{SIGNATURE: "nonsense!"}), None),
        ("BadTwilioSignatures", twilio_report, 0),
        ("BadTwilioSignatures", lambda shop: twilio_report(shop, header="A" * 27 + "="), 1),
        ("BadTwilioSignatures", lambda shop: twilio_report(shop, header="nonsense"), None),
        ("BadTwilioSignatures", lambda shop: twilio_report(shop, header=""), None),
    ],
)
def test_the_signatures_of_mail_and_message_reports_are_measured_as_well(
    shop: AwsHarness, metrics: Any, metric: str, report: Callable[[AwsHarness], None], measured: int | None
) -> None:
    metrics()
    report(shop)
    assert metrics().get(metric) == measured


@pytest.mark.parametrize("metric", ["BadSignatures", "BadSendGridSignatures", "BadTwilioSignatures"])
def test_an_hour_without_a_single_good_signature_is_alarmed(metric: str) -> None:
    """The least of 0 (good) and 1 (bad) is 1 only if not one was good."""
    name, alarm = ALARMS[metric]
    assert (alarm["Statistic"], alarm["Threshold"], alarm["ComparisonOperator"]) == (
        "Minimum",
        0,
        "GreaterThanThreshold",
    )
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 3600
    assert name in runbook()


@pytest.mark.parametrize("metric", ["BadSignatures", "OldestUnsettledEvent", "MoneyFaults"])
def test_what_hurts_money_is_alarmed_and_in_the_runbook(metric: str) -> None:
    name, alarm = ALARMS[metric]
    assert alarm["Namespace"] == {"Fn::Sub": "AdBotQueue/${AWS::StackName}"}
    assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    assert f"`{name.removesuffix('Alarm')}`" in runbook()


def runbook() -> str:
    return (ROOT / "docs" / "runbook.md").read_text()


def sweep_at(shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, minutes: float) -> None:
    """The sweeper's tick, that many minutes from now."""
    with monkeypatch.context() as patched:
        for door in (payments.from_env(), overdue.from_env()):
            patched.setattr(door, "_now", lambda: system_clock() + int(minutes * 60_000))
        shop.app("sweep").handler({"source": "aws.scheduler"}, FakeContext())


BROKEN: dict[str, Any] = {
    "an object that lacks what Stripe promises": lambda: {
        **Purchase().checkout(),
        "data": {"object": {"id": "cs_1", "mode": "payment"}},
    },
    "an event whose message is lost": lambda: Purchase().checkout(),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_an_event_that_stays_unsettled_is_measured_by_its_age_although_no_function_ever_settles_it(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, metrics: Any, name: str
) -> None:
    assert deliver(shop, BROKEN[name]()).json["outcome"] == "new"
    shop.messages("payments")
    metrics()
    for minutes in (1, 14, 16, 600):
        sweep_at(shop, monkeypatch, minutes)
        shop.messages("payments")
        assert metrics()["OldestUnsettledEvent"] == pytest.approx(minutes * 60, abs=20)
    assert ALARMS["OldestUnsettledEvent"][1]["Threshold"] == 15 * 60
    assert len(audit(shop).unsettled) == 1


def test_the_age_is_measured_although_handing_over_fails(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, metrics: Any
) -> None:
    deliver(shop, Purchase().checkout())
    with failing(aws.sqs(), "SendMessage"), failing(aws.dynamodb(), "TransactWriteItems", code="InternalServerError"):
        sweep_at(shop, monkeypatch, 30)
    assert metrics()["OldestUnsettledEvent"] == pytest.approx(1800, abs=20)


def test_what_is_settled_or_rejected_has_no_age(
    shop: AwsHarness, monkeypatch: pytest.MonkeyPatch, metrics: Any
) -> None:
    deliver(shop, PAYLOAD)
    deliver(shop, Purchase().checkout() | {"account": "acct_1"})
    metrics()
    sweep_at(shop, monkeypatch, 60)
    assert metrics()["OldestUnsettledEvent"] == 0


def test_every_alarm_has_a_row_in_the_runbook() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    names = [name for name, item in TEMPLATE["Resources"].items() if item["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(names) > 20
    alike = [word for word in ("Errors", "Silent") if f"…{word}" in runbook]
    missing = [name for name in names if f"`{name.removesuffix('Alarm')}`" not in runbook]
    assert [name for name in missing if not name.endswith(tuple(alike))] == []
