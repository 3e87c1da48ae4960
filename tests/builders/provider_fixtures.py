"""Processors against the stand-ins, with the providers' credentials in an AWS in the process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adbot_queue.core import settings, telemetry
from adbot_queue.providers import registry
from tests.builders.payments import configure, empty
from tests.builders.providers import Peers, connect
from tests.builders.world import AwsHarness, world


@pytest.fixture(autouse=True)
def _metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Powertools reads the namespace when it is imported, before any test sets it."""
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")
    telemetry.metrics.clear_metrics()


@pytest.fixture(scope="module", autouse=True)
def _one_world() -> Iterator[AwsHarness]:
    with world() as made:
        configure()
        yield made


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peers]:
    """The providers, to whom nothing has happened yet."""
    empty()
    made = connect(monkeypatch)
    settings.settings.cache_clear()
    yield made
    monkeypatch.undo()
    settings.settings.cache_clear()
    registry._places.cache_clear()
