"""One DynamoDB for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.dynamodb_local import dynamodb_local


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    with dynamodb_local(brief=True) as one:
        yield one
