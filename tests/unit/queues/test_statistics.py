"""What a change of a job's row means to the statistics."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.jobs.model import Job
from adbot_queue.jobs.store.items import item_of
from adbot_queue.queues.statistics import BOUNDS_MS, RUN, Histogram, StatisticsChange, change_of, summed
from tests.builders.clocks import NOW
from tests.builders.job_stream import claimed, died, failed, job

NEW = job()
ACTIVE = claimed(NEW, NOW + 30)
DELAYED = failed(ACTIVE, NOW + 230)
DEAD = died(ACTIVE, NOW + 230)
FAILED = failed(ACTIVE, NOW + 230, "permanent")
DISCARDED = DEAD.discarded(NOW + 900)
CANCELLED = NEW.cancelled("why", NOW)
PARENT = frozenset({"job9"})
SUSPENDED = ACTIVE.suspended(PARENT, NOW + 230)


def change(before: Job | None, after: Job | None) -> StatisticsChange:
    return change_of(item_of(before) if before else None, item_of(after) if after else None)


def counts(before: Job | None, after: Job | None) -> dict[str, int]:
    found = change(before, after).counts
    return dict(found.get("money", {}))


def levels(before: Job | None, after: Job | None) -> dict[str, int]:
    return dict(change(before, after).levels.get("money", {}))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, NEW, {"enqueued": 1}),
        (None, NEW.delayed(NOW + 9, NOW), {"enqueued": 1}),
        (NEW, ACTIVE, {"wait_2": 1, "wait_ms": 30}),
        (ACTIVE, ACTIVE.completed({}, NOW + 230), {"completed": 1, "run_4": 1, "run_ms": 200}),
        (ACTIVE, FAILED, {"failed": 1, "run_4": 1, "run_ms": 200}),
        (ACTIVE, DEAD, {"dead": 1, "run_4": 1, "run_ms": 200}),
        (ACTIVE, DELAYED, {"retried": 1, "run_4": 1, "run_ms": 200}),
        (ACTIVE, failed(ACTIVE, NOW + 230, "snoozed"), {"snoozed": 1}),
        (ACTIVE, failed(ACTIVE, NOW + 230, "stalled"), {"stalled": 1}),
        (ACTIVE, SUSPENDED, {"snoozed": 1}),
        (
            SUSPENDED.waiting(NOW + 5_000),
            claimed(SUSPENDED.waiting(NOW + 5_000), NOW + 5_030),
            {"wait_2": 1, "wait_ms": 30},
        ),
        (NEW, CANCELLED, {"cancelled": 1}),
        (DEAD, DEAD.restarted(NOW + 999), {"requeued": 1}),
        (FAILED, FAILED.restarted(NOW + 999), {"requeued": 1}),
        (DEAD, None, {"removed": 1}),
        (NEW, NEW.changed(children=PARENT), {}),
        (ACTIVE, ACTIVE.changed(progress={"percent": 5}), {}),
    ],
)
def test_each_change_counts_what_happened(before: Job | None, after: Job | None, expected: dict[str, int]) -> None:
    assert counts(before, after) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, NEW, {"level_waiting": 1}),
        (NEW, ACTIVE, {"level_waiting": -1, "level_active": 1}),
        (ACTIVE, DELAYED, {"level_active": -1, "level_delayed": 1}),
        (ACTIVE, DEAD, {"level_active": -1, "level_dead": 1}),
        (DEAD, None, {"level_dead": -1}),
        (NEW, NEW.changed(children=PARENT), {}),
    ],
)
def test_each_change_moves_levels(before: Job | None, after: Job | None, expected: dict[str, int]) -> None:
    assert levels(before, after) == expected


def test_a_discarded_dead_letter_is_in_no_level() -> None:
    assert (counts(DEAD, DISCARDED), levels(DEAD, DISCARDED)) == ({}, {"level_dead": -1})
    assert (counts(DISCARDED, None), levels(DISCARDED, None)) == ({}, {})
    again = DISCARDED.restarted(NOW + 999)
    assert (counts(DISCARDED, again), levels(DISCARDED, again)) == ({"requeued": 1}, {"level_waiting": 1})


def test_a_row_that_goes_from_one_queue_to_another_leaves_the_first() -> None:
    moved = change(NEW, NEW.changed(queue="email"))
    assert moved.levels == {"money": {"level_waiting": -1}, "email": {"level_waiting": 1}}


@pytest.mark.parametrize(
    ("before", "waited"),
    [
        (NEW, 500),
        # Ahead of its tenant's rate: its rank is later than its making.
        (NEW.waiting(NOW + 9_999), 500),
        (DELAYED.changed(run_at=NOW + 300), 200),
        # It waited for other jobs until 100 ms ago.
        (NEW.changed(depends_on=("job9",)).waiting(NOW + 400), 100),
        (DEAD.restarted(NOW + 450), 50),
        # A clock that is behind.
        (job(at=NOW + 600), 0),
    ],
    ids=["first time", "fairness", "retry", "child", "again", "clock"],
)
def test_waiting_counts_from_when_it_could_have_been_claimed(before: Job, waited: int) -> None:
    assert counts(before, claimed(before, NOW + 500))["wait_ms"] == waited


def test_levels_of_a_whole_life_end_at_zero() -> None:
    life = [
        None,
        NEW,
        ACTIVE,
        DELAYED,
        claimed(DELAYED, NOW + 6_000),
        DEAD,
        DEAD.restarted(NOW + 7_000),
        CANCELLED,
        None,
    ]
    total = summed(levels(before, after) for before, after in pairwise(life))
    assert not any(total.values())


def histogram(*millis: int) -> Histogram:
    numbers: dict[str, int] = {}
    for took in millis:
        done = ACTIVE.completed({}, ACTIVE.started_at + took) if ACTIVE.started_at else NEW
        for name, value in counts(ACTIVE, done).items():
            numbers[name] = numbers.get(name, 0) + value
    return Histogram.of(RUN, numbers)


def test_a_histogram_gives_percentiles_to_the_bucket() -> None:
    times = histogram(*[20] * 50, *[80] * 45, *[400] * 5)
    assert times.count == 100
    assert times.sum_ms == 50 * 20 + 45 * 80 + 5 * 400
    assert times.percentile(50) == 25
    assert 50 < (times.percentile(90) or 0) <= 100
    assert 250 < (times.percentile(99) or 0) <= 500
    assert histogram().percentile(50) is None
    assert histogram(9_999_999).percentile(50) == BOUNDS_MS[-1]


def test_a_histogram_is_cumulative_for_prometheus() -> None:
    rows = histogram(5, 10, 11, 9_999_999).cumulative()
    assert rows[:2] == [(10, 2), (25, 3)]
    assert rows[-2:] == [(BOUNDS_MS[-1], 3), (None, 4)]


@given(st.lists(st.integers(0, 4_000_000), min_size=1, max_size=30), st.integers(1, 100))
def test_a_percentile_is_never_off_by_more_than_its_bucket(times: list[int], percent: int) -> None:
    exact = sorted(times)[max(0, -(-len(times) * percent // 100) - 1)]
    bounds: list[Any] = [0, *BOUNDS_MS]
    reported = histogram(*times).percentile(percent)
    assert reported is not None
    if exact > BOUNDS_MS[-1]:
        assert reported == BOUNDS_MS[-1]
    else:
        high = next(bound for bound in BOUNDS_MS if exact <= bound)
        assert bounds[bounds.index(high) - 1] <= reported <= high
