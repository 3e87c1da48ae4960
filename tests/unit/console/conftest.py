"""The console on an AWS in the process; the tests of a module share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.console_world import ConsoleWorld, console_world


@pytest.fixture(scope="module")
def console() -> Iterator[ConsoleWorld]:
    """The console; a test that changes something makes a person or a queue of its own."""
    with console_world() as made:
        yield made
