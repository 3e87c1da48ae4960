"""What a failed attempt leads to. Pure: chance is passed in."""

from __future__ import annotations

from dataclasses import dataclass

from adbot_queue.core.errors import AppError, NotConfigured, ProviderFailed, Unavailable
from adbot_queue.jobs.model import Failure, State

MOST_DELAY_MS = 3_600_000
"""No retry waits longer than this unless a provider asks for it."""

MOST_PROVIDER_DELAY_MS = 24 * 3_600_000
"""No provider's Retry-After is believed beyond this."""

JITTER = 0.2
"""Every delay is spread by a fifth in both directions, so that what failed together does not come back together."""


class Permanent(Exception):
    """The provider said no, and will say no again. The message is stored: no personal data in it."""


class Transient(Exception):
    """It may go well the next time.

    Args:
        message: stored with the attempt: no personal data in it.
        retry_after: seconds that the provider asked for.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Postponed(Exception):
    """Not now: rate limited, or the provider's circuit is open. Costs no attempt.

    Args:
        message: why.
        retry_after: seconds until it is worth another look.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Waits(Exception):
    """It goes on when one of these jobs has ended, however it did. Costs no attempt.

    Args:
        jobs: ids of jobs that it enqueued itself.
    """

    def __init__(self, jobs: frozenset[str]) -> None:
        super().__init__(f"waits for {', '.join(sorted(jobs))}")
        self.jobs = jobs


class Cancelled(Exception):
    """The processor stopped because somebody asked for it, and left nothing half done."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and after which delays.

    Attributes:
        attempts: the most, the first included.
        base_ms: delay after the first failure.
        factor: what the delay grows by: 1 is fixed, 2 exponential.
    """

    attempts: int
    base_ms: int
    factor: int = 1

    def delay_ms(self, attempt: int, chance: float) -> int:
        """Delay after attempt number `attempt` (from 1), jitter included; `chance` is from 0 to 1."""
        # 2**40 * 1 ms is over any cap; the exponent is bounded so that a wild counter makes no giant number.
        growth: int = self.factor ** min(attempt - 1, 40)
        plain = min(self.base_ms * growth, MOST_DELAY_MS)
        return min(round(plain * (1 - JITTER + 2 * JITTER * chance)), MOST_DELAY_MS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the job.

    Attributes:
        state: DELAYED (tried again after `delay_ms`), FAILED, DEAD or CANCELLED.
        attempt: the attempts that count from now on.
    """

    state: State
    attempt: int
    delay_ms: int = 0


def decide(policy: RetryPolicy, attempt: int, failure: Failure, retry_after: float | None, chance: float) -> Verdict:
    """The verdict on attempt number `attempt` (from 1).

    A provider's Retry-After (seconds) is honoured when it is longer than the policy's own delay.
    """
    asked_ms = min(round((retry_after or 0) * 1000), MOST_PROVIDER_DELAY_MS)
    match failure.kind:
        case "postponed":
            spread = round(asked_ms * JITTER * chance)
            return Verdict(State.DELAYED, attempt - 1, max(asked_ms, 1000) + spread)
        case "permanent":
            return Verdict(State.FAILED, attempt)
        case "cancelled":
            return Verdict(State.CANCELLED, attempt)
    if attempt >= policy.attempts:
        return Verdict(State.DEAD, attempt)
    return Verdict(State.DELAYED, attempt, max(policy.delay_ms(attempt, chance), asked_ms))


def failure_of(error: BaseException) -> tuple[Failure, float | None]:  # noqa: PLR0911  a table of kinds
    """An exception out of a processor, told apart, and the seconds after which to come back.

    What no processor raises on purpose is a bug or a surprise: transient, so that a person finds it among the dead
    letters and not silently failed.
    """
    name, message = type(error).__name__, str(error)[:500]
    match error:
        case Permanent():
            return Failure("permanent", _cause(error), message), None
        case NotConfigured():
            # No repetition fills in a credential; the sentence names the setting, and a person retries the job.
            return Failure("permanent", name, message), None
        case Transient():
            return Failure("transient", _cause(error), message), error.retry_after
        case Postponed():
            return Failure("postponed", _cause(error), message), error.retry_after
        case Cancelled():
            return Failure("cancelled", name, message or "cancelled on request"), None
        case TimeoutError():
            return Failure("timeout", name, message or "timed out"), None
        case Unavailable() | ProviderFailed():
            return Failure("transient", name, message), None
        case AppError():  # NotConfigured, Invalid, NotFound: a person has to mend something first
            return Failure("permanent", name, message), None
    return Failure("transient", name, message), None


def _cause(error: BaseException) -> str:
    """The class of what a processor translated, where it kept it (`raise Transient(...) from error`)."""
    return type(error.__cause__ or error).__name__
