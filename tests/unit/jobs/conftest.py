"""The job platform on an AWS in the process, with types whose provider the test controls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.effects import Provider, charging, new_provider
from tests.builders.jobs import Jobs, job_types
from tests.builders.world import World


@pytest.fixture
def provider() -> Provider:
    return new_provider()


@pytest.fixture
def jobs(on_aws: World, provider: Provider) -> Iterator[Jobs]:
    with job_types(
        charging(),
        charging("mail", "email"),
        charging("note", "analytics"),
        charging("welcome", "accounts"),
    ):
        yield Jobs(on_aws)
