"""Jobs against the stand-ins of providers."""

from __future__ import annotations

from tests.builders.provider_fixtures import _metrics, _one_world, peers  # noqa: F401  fixtures
