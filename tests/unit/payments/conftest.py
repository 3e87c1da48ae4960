"""The payments functions on an AWS in the process, with a pool and with the providers' secrets filled in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.core import telemetry
from tests.builders.payments import configure, empty, open_shop
from tests.builders.world import AwsHarness, world


@pytest.fixture(autouse=True)
def _metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Powertools reads the namespace when it is imported, before any test sets it."""
    monkeypatch.setattr(telemetry.metrics.provider, "namespace", "AdBotQueue")


@pytest.fixture(scope="module")
def _one_world() -> Iterator[AwsHarness]:
    """Making clients and tables takes most of a second: the tests of a module share them."""
    with world() as made:
        configure()
        yield made


@pytest.fixture
def shop(_one_world: AwsHarness) -> AwsHarness:
    """A pool without stock, plans, secrets filled in, nothing else."""
    empty()
    open_shop(_one_world)
    return _one_world


@pytest.fixture
def metrics(capsys: pytest.CaptureFixture[str]) -> Any:
    """The metrics that were written since the last call, by name."""

    def read() -> dict[str, float]:
        lines = [line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
        return {
            name: value[-1] for line in lines for name, value in json.loads(line).items() if isinstance(value, list)
        }

    return read
