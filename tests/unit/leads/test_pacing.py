"""The pace of a day: within the window, in batches, without bursts after a standstill."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.leads.pacing import JITTER, LOOK_AGAIN_MS, MAX_STEP, SILENCE_MS, step
from adbot_queue.leads.settings import Spread

HOUR_MS = 3_600_000


def played(
    queued: int, window_ms: int, jitters: list[float], spread: Spread = Spread.EVEN, stand_ms: int = 0
) -> list[tuple[int, int]]:
    """When how many messages go out if each is reported at once; nothing runs for `stand_ms` after a third."""
    now, sent, total, paused = 0, [], queued, False
    for number in range(100_000):
        if not queued or now >= window_ms:
            break
        jitter = jitters[number % len(jitters)]
        one = step(
            now, window_ms, queued=queued, unreported=0, batch=100, spread=spread, full_since=None, jitter=jitter
        )
        assert 0 < one.count <= min(queued, MAX_STEP)
        sent.append((now, one.count))
        queued -= one.count
        now = one.not_before
        if stand_ms and not paused and queued * 3 < total * 2:
            now, paused = now + stand_ms, True
    return sent


counts, jitters = st.integers(1, 2000), st.lists(st.floats(0, 0.999), min_size=1, max_size=7)


@given(counts, st.integers(1, 14), jitters)
def test_all_of_a_day_goes_out_within_its_window(queued: int, hours: int, jitters: list[float]) -> None:
    sent = played(queued, hours * HOUR_MS, jitters)

    assert sum(count for _, count in sent) == queued
    assert all(0 <= at < hours * HOUR_MS for at, _ in sent)


@given(st.integers(20, 2000), jitters)
def test_an_even_day_has_no_burst_even_after_a_standstill(queued: int, jitters: list[float]) -> None:
    window = 9 * HOUR_MS
    sent = played(queued, window, jitters, stand_ms=2 * HOUR_MS)

    # Two hours of nine are lost: what is left goes out in the rest, at most half as fast again as planned.
    fair = queued * (HOUR_MS / window) * 1.5 * (1 + JITTER) / (1 - JITTER)
    for start in range(0, window, HOUR_MS):
        in_this_hour = sum(count for at, count in sent if start <= at < start + HOUR_MS)
        assert in_this_hour <= fair + MAX_STEP


@pytest.mark.parametrize("spread", Spread)
@given(batch=st.integers(1, 100), unreported=st.integers(0, 120), queued=st.integers(1, 500))
def test_no_more_than_a_batch_is_without_a_report(spread: Spread, batch: int, unreported: int, queued: int) -> None:
    one = step(
        0, HOUR_MS, queued=queued, unreported=unreported, batch=batch, spread=spread, full_since=None, jitter=0.5
    )
    assert one.count <= max(0, batch - unreported)
    assert (one.full_since is None) is (unreported < batch)


def test_reports_that_got_lost_hold_a_batch_up_for_a_quarter_of_an_hour() -> None:
    def at(now: int, since: int | None) -> tuple[int, int | None]:
        one = step(now, HOUR_MS, queued=9, unreported=5, batch=5, spread=Spread.BURST, full_since=since, jitter=0.5)
        assert one.not_before == now + LOOK_AGAIN_MS
        return one.count, one.full_since

    assert at(0, None) == (0, 0)
    assert at(SILENCE_MS - 1, 0) == (0, 0)
    assert at(SILENCE_MS, 0) == (1, 0)
