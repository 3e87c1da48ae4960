"""How the benchmark of jobs takes the time: warm-up left out, batches counted whole, the last deletion included."""

from __future__ import annotations

import pytest

from bench import job_workload
from bench.job_workload import Course


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    left = [1.0, 4.0, 9.0]
    monkeypatch.setattr(job_workload.time, "perf_counter", lambda: left.pop(0))
    return left


def test_the_clock_runs_from_the_end_of_the_warm_up_to_the_last_job_deleted(moments: list[float]) -> None:
    course = Course(warm=10, number=20)
    course.done(10)  # at 1.0
    course.done(10)  # asks for no time
    assert not course.over.is_set()
    course.done(10)  # at 4.0

    assert course.over.is_set()
    assert course.seconds == 3.0
    assert moments == [9.0]


def test_what_comes_after_the_end_is_not_measured(moments: list[float]) -> None:
    course = Course(warm=1, number=1)
    for _ in range(4):
        course.done(1)

    assert course.seconds == 3.0
