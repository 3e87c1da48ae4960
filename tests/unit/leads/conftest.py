"""Leads on an AWS in the process."""

from __future__ import annotations

import pytest

from tests.builders.leads import LeadsApi, Team
from tests.builders.payments import configure
from tests.builders.world import AwsHarness


@pytest.fixture
def team(on_aws: AwsHarness) -> Team:
    """A user, a client and a project, by a clock that the test owns."""
    made = Team()
    made.user()
    return made


@pytest.fixture
def api(on_aws: AwsHarness) -> LeadsApi:
    """The API, with a client."""
    configure()
    made = LeadsApi(on_aws)
    assert made.client().status == 200
    return made
