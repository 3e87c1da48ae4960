"""What a handler raises to say how its attempt ended. `retry` decides what follows."""

from __future__ import annotations

from adbot_queue.core.errors import Reach
from adbot_queue.jobs.model import RetryLimit


class PermanentError(Exception):
    """The provider said no, and will say no again. The message is stored: no personal data in it."""


class TransientError(Exception):
    """It may go well the next time.

    Args:
        message: stored with the attempt: no personal data in it.
        retry_after: seconds that the provider asked for.
        limit: ATTEMPTS for what is not worth more than the quick tries.
    """

    def __init__(self, message: str, retry_after: float | None = None, limit: RetryLimit = RetryLimit.HORIZON) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.limit = limit


class Snooze(Exception):
    """Not now: it is not the job's turn. Costs no attempt, however often.

    Args:
        message: why.
        retry_after: seconds until it is worth another look.
    """

    kind = "snoozed"
    limit = RetryLimit.NONE

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CircuitIsOpen(Snooze):
    """The provider fails, and is not asked. Costs no attempt, and is bounded by the job's horizon."""

    limit = RetryLimit.HORIZON


class Throttled(CircuitIsOpen):
    """The provider takes no more for the moment.

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
    """The provider refuses the installation: key, plan or account. Nothing goes well until an operator mends that."""

    kind = "provider_closed"


class Suspend(Exception):
    """It goes on when one of these jobs has ended, however it did. Costs no attempt.

    Args:
        jobs: ids of jobs that it enqueued itself.
    """

    def __init__(self, jobs: frozenset[str]) -> None:
        super().__init__(f"waits for {', '.join(sorted(jobs))}")
        self.jobs = jobs


class Cancelled(Exception):
    """The handler stopped at the request of a person, and left nothing half done."""
