"""Counting on an AWS in the process."""

from __future__ import annotations

import pytest

from adbot_queue.analytics import snapshot
from adbot_queue.jobs import job_queues
from tests.builders.analytics import Counting
from tests.builders.world import AwsHarness


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AWS in the process looks through a whole table for every Query: fewer queues, fewer hours."""
    monkeypatch.setattr(
        job_queues, "QUEUES", {name: job_queues.QUEUES[name] for name in ("money", "email", "maintenance")}
    )
    monkeypatch.setattr(snapshot, "FIRST_HOURS", 3)


@pytest.fixture
def counting(on_aws: AwsHarness) -> Counting:
    return Counting()
