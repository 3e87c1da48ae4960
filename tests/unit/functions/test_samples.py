"""The sample events: each function has one, of the shape in which AWS calls it, and does with it what it is for."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import pytest

from adbot_queue.core import aws, settings
from adbot_queue.providers import registry
from local.settings import ROOT
from tests.builders import console_world
from tests.builders.payments import configure
from tests.builders.providers import connect
from tests.builders.world import Answer, AwsHarness, FakeContext

SAMPLES = sorted((ROOT / "events" / "lambda").glob("*.json"))
REFUSED = {
    "delivery.sendgrid": "bad-signature",
    "delivery.twilio": "bad-signature",
    "inbound": "bad-signature",
    "webhook": "bad-signature",  # signed by another installation's secret
    "otp": "validation",  # a code that was never sent
    "checkout.start": "not-found",
    "start": "not-found",
}
"""Sample -> what the function says to it; all others are done."""


def function_of(sample: Path) -> str:
    return sample.name.split(".")[0]


def test_every_function_has_a_sample_event() -> None:
    assert {path.parent.name for path in ROOT.glob("functions/*/app.py")} == set(map(function_of, SAMPLES))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_a_function_takes_its_sample_event(on_aws: AwsHarness, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = json.loads(sample.read_text())
    on_aws.pool()
    aws.sns().create_topic(Name="dead-letters")
    configure()
    connect(monkeypatch)
    settings.settings.cache_clear()
    registry._places.cache_clear()

    with patch.dict("os.environ", console_world.ENV, JOB_QUEUE="money", JOB_BATCH="10"):
        raw = on_aws.app(function_of(sample)).handler(event, FakeContext())

    if "routeKey" not in event:
        assert not raw.get("batchItemFailures")
    elif sample.stem in REFUSED:
        assert Answer(raw).problem == REFUSED[sample.stem]
    else:
        assert Answer(raw).status < 300, raw["body"]
