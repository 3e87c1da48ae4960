"""Which waiting jobs the messages of a full batch may run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.jobs.rank import rank
from adbot_queue.jobs.worker.ranking import FAIRNESS_SLACK_MS, outranks, select

NOW = 1_790_000_000_000


def same_order(_: list[str]) -> None:
    """Mixes nothing."""


def test_higher_priority_passes_the_named_ones_from_the_end() -> None:
    own = [(rank(0, NOW + n), f"own{n}") for n in range(3)]
    window = [(rank(5, NOW), "urgent"), *own]

    first, then = select(own, window, same_order)

    assert first == ["urgent", "own0", "own1"]
    assert then == ["own2"]


def test_a_tenant_ahead_of_its_rate_is_passed_by_others() -> None:
    own = [(rank(0, NOW + FAIRNESS_SLACK_MS * 10 * n), f"own{n}") for n in range(1, 4)]

    first, _ = select(own, [(rank(0, NOW), "other")], same_order)

    assert first == ["other", "own1", "own2"]


def test_a_little_earlier_is_not_worth_a_race() -> None:
    assert select([(rank(0, NOW + FAIRNESS_SLACK_MS), "own")], [(rank(0, NOW), "other")], same_order)[0] == ["own"]


def test_what_has_no_rank_is_never_passed_over() -> None:
    assert select([(None, "old")], [(rank(100, NOW), "urgent")], same_order)[0] == ["old"]


ranks = st.builds(rank, st.integers(-100, 100), st.integers(NOW, NOW + 100_000))


@given(st.lists(st.none() | ranks, max_size=10), st.lists(ranks, max_size=40))
def test_as_many_are_chosen_as_are_permitted_none_twice_and_none_that_a_left_out_one_outranks(
    own_ranks: list[str | None], window_ranks: list[str]
) -> None:
    own = [(one, f"own{n}") for n, one in enumerate(own_ranks)]
    window = sorted((one, f"other{n}") for n, one in enumerate(window_ranks))

    first, then = select(own, window, same_order)

    assert len(first) == len(own)
    assert len({*first, *then}) == len(first) + len(then) == len(own) + len(window)
    known = {job_id: one for one, job_id in [*own, *window] if one is not None}
    chosen = [known[job_id] for job_id in first if job_id in known]
    left = [known[job_id] for job_id in then if job_id.startswith("other")]
    assert not any(outranks(better, worse) for better in left for worse in chosen)
