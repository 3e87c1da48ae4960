"""One DynamoDB of each engine for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.dynamodb_local import dynamodb_local, lacking
from tests.support.engines import roto


@pytest.fixture(scope="package")
def endpoint() -> Iterator[str]:
    with dynamodb_local(brief=True) as one:
        yield one


@pytest.fixture(scope="session")
def roto_endpoint() -> Iterator[str]:
    with roto() as one:
        yield one


JAVA = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))


@pytest.fixture(
    scope="package",
    params=["roto_endpoint", pytest.param("endpoint", marks=[JAVA, pytest.mark.long], id="dynamodb_local")],
)
def engine(request: pytest.FixtureRequest) -> str:
    """Where the tables are: roto, and in the long tests DynamoDB Local too."""
    found: str = request.getfixturevalue(request.param)
    return found
