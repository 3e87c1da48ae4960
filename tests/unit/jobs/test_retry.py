"""What a failed attempt leads to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.core.errors import NotConfigured, ProviderFailed, Unavailable
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.errors import Cancelled, PermanentError, Snooze, TransientError
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.model import JobState
from adbot_queue.jobs.retry import MAX_DELAY_MS, RetryPolicy, decide, failure_of

TRANSIENT = Failure("transient", "TransientError", "HTTP 503")


@pytest.mark.parametrize(
    ("queue", "seconds"),
    [
        # 2 s doubling, ten attempts: nine delays
        ("money", [2, 4, 8, 16, 32, 64, 128, 256, 512]),
        ("email", [5, 5]),
        ("messages", [5, 5]),
        ("ai-content", [10, 20, 40, 80]),
        ("ai-seo", [10, 20, 40, 80]),
        ("workflow", [10, 20, 40, 80]),
        ("plugin", [10, 20, 40, 80]),
        ("analytics", [10]),
        ("maintenance", [10]),
        ("accounts", [2, 4]),
    ],
)
def test_every_queue_has_its_policy(queue: str, seconds: list[int]) -> None:
    policy = job_queues.QUEUES[queue].policy
    verdicts = [decide(policy, attempt, TRANSIENT, None, 0.5) for attempt in range(1, policy.attempts + 1)]

    assert [verdict.delay_ms / 1000 for verdict in verdicts[:-1]] == seconds
    assert verdicts[-1].state is JobState.DEAD


@given(st.integers(1, 20), st.integers(1, 100_000), st.sampled_from([1, 2]), st.integers(1, 10_000), st.floats(0, 1))
def test_jitter_spreads_every_delay_by_a_fifth_and_the_cap_holds(
    attempts: int, base: int, factor: int, attempt: int, chance: float
) -> None:
    policy = RetryPolicy(attempts, base, factor)
    plain = min(base * factor ** min(attempt - 1, 40), MAX_DELAY_MS)

    delay = policy.delay_ms(attempt, chance)

    assert 0.8 * plain - 1 <= delay <= min(1.2 * plain + 1, MAX_DELAY_MS)


def test_a_providers_retry_after_is_honoured_when_it_is_longer() -> None:
    policy = RetryPolicy(5, 10_000)

    assert decide(policy, 1, TRANSIENT, 60, 0.5).delay_ms == 60_000
    assert decide(policy, 1, TRANSIENT, 1, 0.5).delay_ms == 10_000
    assert decide(policy, 1, TRANSIENT, 10**9, 0.5).delay_ms == 24 * 3_600_000


def test_what_is_postponed_costs_no_attempt_however_often() -> None:
    snoozed = Failure("snoozed", "Snooze", "rate limited")

    verdict = decide(RetryPolicy(1, 1000), 1, snoozed, 7, 0)

    assert (verdict.state, verdict.attempt, verdict.delay_ms) == (JobState.DELAYED, 0, 7000)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermanentError("no"), "permanent"),
        (TransientError("busy"), "transient"),
        (Snooze("later", 5), "snoozed"),
        (Cancelled(), "cancelled"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "transient"),
        (KeyError("bug"), "transient"),
        (NotConfigured("the key is not filled in"), "permanent"),
        (ProviderFailed("HTTP 500"), "transient"),
        (Unavailable("busy"), "transient"),
    ],
)
def test_errors_are_classified(error: Exception, kind: str) -> None:
    assert failure_of(error)[0].kind == kind


def test_failures_that_differ_only_in_numbers_and_ids_have_one_fingerprint() -> None:
    prints = {
        Failure("transient", "TransientError", text).fingerprint("charge")
        for text in ("HTTP 503 for ch_0123456789abcdef", "HTTP 502 for ch_fedcba9876543210")
    }

    assert len(prints) == 1
    assert TRANSIENT.fingerprint("charge") != TRANSIENT.fingerprint("mail")
