"""A pytest plugin for job types: run jobs in the process, own the clock, see what was enqueued.

    pytest_plugins = ["adbot_queue.testing"]

    def test_greets_by_name(jobs: Jobs) -> None:
        job = jobs.run("greet", {"name": "Cara"})

        assert job.result == {"greeted": "Cara"}

The fixture `jobs` has an AWS of its own in the process (moto), with the tables of `infra/template.yaml` and the queues
of `jobs/job_queues.py`. No function imports this package, and the Lambda layer is built without it.

PYTEST_DONT_REWRITE: failures here say in words what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from adbot_queue.testing.harness import Jobs


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """The job platform on an empty AWS."""
    from adbot_queue.testing.job_platform import job_platform  # noqa: PLC0415  moto takes a second to import

    with job_platform() as platform:
        yield platform
