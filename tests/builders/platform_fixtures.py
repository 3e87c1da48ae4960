"""The system's parts on an AWS in the process; the tests of a module share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.payments import empty
from tests.builders.world import AwsHarness, world


@pytest.fixture(scope="module")
def one_world() -> Iterator[AwsHarness]:
    """Making clients and tables takes most of a second: the tests of a module share them."""
    with world() as made:
        yield made


@pytest.fixture
def system(one_world: AwsHarness) -> AwsHarness:
    """Empty tables."""
    empty()
    return one_world
