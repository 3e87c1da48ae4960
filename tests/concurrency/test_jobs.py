"""The job platform under real concurrency, everything dying and lying; and proof that it would be noticed.

More and longer runs: `JOB_RUNS=50 JOB_RUN_JOBS=200 python -m pytest tests/concurrency/test_jobs.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from adbot_queue.jobs import job_queues, job_types
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.store.jobs import JobStore
from tests.concurrency import job_run
from tests.concurrency.job_run import TYPES, Run, broken
from tests.support.dynamodb_local import lacking

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.xdist_group("dynamodb-local"),
    pytest.mark.skipif(lacking() is not None, reason=str(lacking())),
    pytest.mark.timeout(300),
]

RUNS = int(os.environ.get("JOB_RUNS", "1"))
JOBS = int(os.environ.get("JOB_RUN_JOBS", "45"))


@pytest.fixture(autouse=True)
def types() -> Iterator[None]:
    few = {name: job_queues.QUEUES[name] for name in job_run.QUEUES}
    with patch.dict(job_types.LOADED, TYPES), patch.dict(job_queues.QUEUES, few, clear=True):
        yield


@pytest.mark.parametrize("seed", range(1, RUNS + 1))
def test_no_job_is_lost_doubled_or_miscounted_under_crashes_and_queue_faults(endpoint: str, seed: int) -> None:
    run = Run(seed, endpoint, JOBS)
    platform = run.play()
    assert broken(run, platform) == []
    assert run.faults["kills"]
    assert len(run.reported.ids) > JOBS // 2


@pytest.mark.long
@pytest.mark.timeout(1800)  # how workers interleave is chance: as a rule the first or second run shows it
def test_a_store_that_does_not_check_leases_is_found_out(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def last_writer_wins(self: JobStore, ends: list[tuple[Job, Job]], *_: object) -> list[Job | None]:
        return [self.write(*end, "attribute_exists(pk) OR #state = :was") for end in ends]

    monkeypatch.setattr(JobStore, "release_many", last_writer_wins)
    assert any(broken(run, run.play()) for run in (Run(1_000 + n, endpoint, JOBS, slow=60) for n in range(20)))
