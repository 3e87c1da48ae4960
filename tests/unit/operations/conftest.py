"""The platform on an AWS in the process; the tests of a module share it."""

from __future__ import annotations

from tests.builders.platform_fixtures import one_world, system  # noqa: F401  fixtures
