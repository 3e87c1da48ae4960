"""Workflows on an AWS in the process; their steps are jobs whose provider the test controls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.effects import Provider, new_provider
from tests.builders.jobs import Jobs
from tests.builders.workflows import workflows
from tests.builders.world import AwsHarness


@pytest.fixture
def provider() -> Provider:
    return new_provider()


@pytest.fixture
def jobs(on_aws: AwsHarness, provider: Provider) -> Iterator[Jobs]:
    with workflows(Jobs(on_aws)) as jobs:
        yield jobs
