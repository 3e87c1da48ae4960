"""What a handler raises to say how its attempt ended. `retry` decides what follows."""

from __future__ import annotations

from adbot_queue.core.errors import Reach
from adbot_queue.jobs.failure import RetryLimit


class PermanentError(Exception):
    """The provider refused for good. The message is stored: no personal data in it."""


class TransientError(Exception):
    """A retry may succeed.

    Args:
        message: stored with the attempt: no personal data in it.
        retry_after: seconds that the provider asked for.
        limit: ATTEMPTS for what is not worth more than the quick attempts.
    """

    def __init__(self, message: str, retry_after: float | None = None, limit: RetryLimit = RetryLimit.HORIZON) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.limit = limit


class Snooze(Exception):
    """Not now: spends no attempt, however often it is raised.

    Args:
        message: why.
        retry_after: seconds until the next attempt is worthwhile.
    """

    kind = "snoozed"
    limit = RetryLimit.NONE

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CircuitIsOpen(Snooze):
    """The provider is failing and was not called. Spends no attempt; bounded by the job's horizon."""

    limit = RetryLimit.HORIZON


class Throttled(CircuitIsOpen):
    """The provider throttles.

    Args:
        message: why.
        retry_after: seconds that the provider asked for; None: it did not say.
        reach: what it concerns in addition to this job.
    """

    kind = "throttled"

    def __init__(self, message: str, retry_after: float | None = None, reach: Reach = Reach.PROVIDER) -> None:
        super().__init__(message, retry_after)
        self.reach = reach


class ProviderClosed(CircuitIsOpen):
    """The provider refuses our key, plan or account. Nothing succeeds until an operator mends that."""

    kind = "provider_closed"


class Suspend(Exception):
    """The job resumes when one of these jobs has ended, in any way. Spends no attempt.

    Args:
        jobs: ids of jobs that it enqueued itself.
    """

    def __init__(self, jobs: frozenset[str]) -> None:
        super().__init__(f"waits for {', '.join(sorted(jobs))}")
        self.jobs = jobs


class Cancelled(Exception):
    """The handler stopped because cancellation was requested, and left nothing half done."""
