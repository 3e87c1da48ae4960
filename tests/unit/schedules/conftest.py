"""The job platform on an AWS in the process."""

from __future__ import annotations

from tests.builders.job_fixtures import jobs, provider  # noqa: F401  fixtures
