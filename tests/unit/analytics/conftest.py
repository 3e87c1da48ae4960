"""Counting on an AWS in the process."""

from __future__ import annotations

import pytest

from tests.builders.analytics import Counting
from tests.builders.world import World


@pytest.fixture
def counting(on_aws: World) -> Counting:
    return Counting()
