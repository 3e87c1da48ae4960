"""Deliveries and suppressions on an AWS in the process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adbot_queue.core import telemetry
from tests.builders.payments import configure, empty
from tests.builders.world import AwsHarness, world


@pytest.fixture(autouse=True)
def _metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    telemetry.metrics.clear_metrics()


@pytest.fixture(scope="module")
def _one_world() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def aws_with_secrets(_one_world: AwsHarness) -> AwsHarness:
    """The project, with nothing in its tables."""
    empty()
    return _one_world
