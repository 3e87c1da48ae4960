"""What a failed attempt leads to. Pure: chance is an argument.

Quick attempts come first, at the delays of the queue. During an outage elsewhere (a provider, a receiver, AWS) more
follow, with growing pauses, until the horizon of the job's type; a fault of the job itself ends with the quick
attempts. An attempt that was not made (throttle, closed provider, open circuit) is not spent, and is bounded by the
horizon alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core.error_codes import THROTTLED
from adbot_queue.core.errors import AppError, NotConfigured, ProviderFailed, Unavailable
from adbot_queue.jobs.errors import Cancelled, PermanentError, Snooze, TransientError
from adbot_queue.jobs.failure import SPENDS_NO_ATTEMPT, Failure, RetryLimit
from adbot_queue.jobs.model import JobState, Verdict

MAX_DELAY_MS = 3_600_000
"""The longest retry delay, unless a provider asks for more."""

SLOW_MS = 30_000
"""The shortest delay after the quick attempts; it doubles with each further one."""

MAX_PROVIDER_DELAY_MS = 24 * 3_600_000
"""The longest Retry-After that is honoured."""

JITTER = 0.2
"""Every delay is spread by a fifth in both directions, so that jobs that failed together do not retry together."""

MIN_PAUSE_MS, MAX_PAUSE_MS = 2_000, 60_000
"""Bounds of the pause after a throttle of one job without a Retry-After: an eighth of the job's age."""

MIN_SPREAD_MS, MAX_SPREAD_MS = 5_000, 60_000
"""Bounds of the time over which the jobs that wait for one moment come back: half of their pause. A thousand jobs wait
for the end of one throttle; what the provider takes in five seconds is not refused again."""

SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, after which delays and for how long a job is retried.

    Attributes:
        attempts: the quick attempts, the first included.
        base_ms: delay after the first failure.
        factor: growth of the delay: 1 is fixed, 2 exponential.
        horizon_ms: how long after its first run a job is retried during an outage elsewhere; 0: no longer than its
            quick attempts take.
        cap_ms: the longest delay.
    """

    attempts: int
    base_ms: int
    factor: int = 1
    horizon_ms: int = 0
    cap_ms: int = MAX_DELAY_MS

    def delay_ms(self, attempt: int, chance: float) -> int:
        """Return the delay after attempt number `attempt` (from 1), jitter included; `chance` is from 0 to 1."""
        # 2**40 ms is above any cap; the bounded exponent keeps a wrong counter from making a giant number.
        growth: int = self.factor ** min(attempt - 1, 40)
        plain = self.base_ms * growth
        if attempt >= self.attempts and self.horizon_ms:
            plain = max(plain, SLOW_MS * 2 ** min(attempt - self.attempts, 40))
        plain = min(plain, self.cap_ms)
        return min(round(plain * (1 - JITTER + 2 * JITTER * chance)), self.cap_ms)


def decide(
    policy: RetryPolicy, attempt: int, failure: Failure, retry_after: float | None, chance: float, age_ms: int = 0
) -> Verdict:
    """Return the verdict on attempt number `attempt` (from 1) of a job that has been tried for `age_ms`.

    A provider's Retry-After (seconds) is honoured if it is longer than the policy's delay. The last attempt is at the
    end of the horizon.
    """
    asked_ms = min(round((retry_after or 0) * 1000), MAX_PROVIDER_DELAY_MS)
    match failure.kind:
        case "permanent":
            return Verdict(JobState.FAILED, attempt)
        case "cancelled":
            return Verdict(JobState.CANCELLED, attempt)
    spent = failure.kind not in SPENDS_NO_ATTEMPT
    counts = attempt if spent else attempt - 1
    left_ms = policy.horizon_ms - age_ms
    bounded = failure.limit is RetryLimit.HORIZON and policy.horizon_ms > 0
    if spent and attempt >= policy.attempts and not (bounded and left_ms > 0):
        return Verdict(JobState.DEAD, counts, why=_given_up(policy) if bounded else "")
    if not spent and bounded and left_ms <= 0:
        return Verdict(JobState.DEAD, counts, why=_given_up(policy))
    delay_ms = (
        max(policy.delay_ms(attempt, chance), asked_ms) if spent else _pause_ms(failure, asked_ms, age_ms, chance)
    )
    if bounded and (left_ms > 0 or not spent):
        delay_ms = min(delay_ms, max(left_ms, 1000))
    return Verdict(JobState.DELAYED, counts, delay_ms)


def _pause_ms(failure: Failure, asked_ms: int, age_ms: int, chance: float) -> int:
    """Return the delay of a job whose attempt is not spent."""
    if failure.limit is RetryLimit.NONE:
        return max(asked_ms, 1000) + round(asked_ms * JITTER * chance)
    pause_ms = max(asked_ms, 1000) if asked_ms else min(max(age_ms // 8, MIN_PAUSE_MS), MAX_PAUSE_MS)
    return pause_ms + round(min(max(pause_ms / 2, MIN_SPREAD_MS), MAX_SPREAD_MS) * chance)


def _given_up(policy: RetryPolicy) -> str:
    hours, minutes = divmod(policy.horizon_ms // 60_000, 60)
    return f"; given up after {f'{hours} h' if hours else f'{minutes} min'}"


def failure_of(error: BaseException) -> tuple[Failure, float | None]:  # noqa: PLR0911  a table of kinds
    """Return the failure that a handler's exception means, and the seconds until the next attempt.

    An exception that no handler raises on purpose is a bug or a surprise: transient, so that it ends as a dead letter.
    """
    name, message = type(error).__name__, str(error)[:500]
    match error:
        case PermanentError():
            return Failure("permanent", _cause(error), message), None
        case NotConfigured():
            # A retry sets no credential; the message names the setting, and an operator retries the job.
            return Failure("permanent", name, message), None
        case TransientError():
            return Failure("transient", _cause(error), message, error.limit), error.retry_after
        case Snooze():
            return Failure(error.kind, _cause(error), message, error.limit), error.retry_after
        case Cancelled():
            return Failure("cancelled", name, message or "cancelled on request"), None
        case TimeoutError():
            return Failure("timeout", name, message or "timed out"), None
        case Unavailable() | ProviderFailed():
            return Failure("transient", name, message), None
        case AppError():  # Invalid, NotFound: an operator must mend something first
            return Failure("permanent", name, message), None
    return Failure(
        "transient", name, message, RetryLimit.HORIZON if _is_an_outage(error) else RetryLimit.ATTEMPTS
    ), None


def _is_an_outage(error: BaseException) -> bool:
    """Return whether a dependency is down; any other unexpected error counts as our bug."""
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= SERVER_ERROR or error.response.get("Error", {}).get("Code") in THROTTLED
    return isinstance(error, OSError | BotoCoreError)


def _cause(error: BaseException) -> str:
    """Return the class of the exception that a handler translated (`raise TransientError(...) from error`)."""
    return type(error.__cause__ or error).__name__
