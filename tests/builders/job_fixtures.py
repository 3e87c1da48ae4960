"""The job platform on an AWS in the process, with types whose provider the test controls."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from adbot_queue.core import aws
from adbot_queue.platform import circuit_breaker as circuits
from adbot_queue.platform.circuit_breaker import CircuitBreaker
from tests.builders.effects import Provider, charging, new_provider
from tests.builders.jobs import Jobs, known_types
from tests.builders.world import AwsHarness


@pytest.fixture
def provider() -> Provider:
    return new_provider()


@pytest.fixture
def jobs(on_aws: AwsHarness, provider: Provider) -> Iterator[Jobs]:
    with known_types(
        charging(),
        charging("mail", "email"),
        charging("note", "analytics"),
        charging("welcome", "accounts"),
    ):
        made = Jobs(on_aws)
        known = CircuitBreaker(aws.dynamodb(), on_aws.env["SYSTEM_TABLE"], made.clock, lambda: made.clock() / 1000)
        with patch.object(circuits, "from_env", lambda: known):
            yield made
