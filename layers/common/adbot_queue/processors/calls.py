"""What the processors have in common: how long a call may take, and what a provider's refusal means for the job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adbot_queue.core.errors import ProviderFailed
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.retry import Permanent, Transient
from adbot_queue.providers import registry

LEAST_S = 1.0
"""With less time than this a call is not begun: its answer would hardly be waited for."""


def seconds_for(provider: str, limit_s: float, context: Context) -> float:
    """How long a call may take: its own limit, and never beyond the job's deadline.

    Raises:
        TimeoutError: it is not worth to begin.
    """
    left = context.seconds_left()
    if left < LEAST_S:
        raise TimeoutError(f"no time was left to call {provider}")
    return min(limit_s, left)


@contextmanager
def calling(provider: str, limit_s: float, context: Context) -> Iterator[float]:
    """Stands around every call of a provider, and says how long it may take.

        with calling("stripe", 15, context) as seconds: ...

    Args:
        provider: its name in `providers.registry`.
        limit_s: the most that the call may take.
        context: the job's.

    Returns:
        The seconds that the call may take, as `seconds_for`.

    Raises:
        TimeoutError: as `seconds_for`.
    """
    yield seconds_for(registry.PROVIDERS[provider].label, limit_s, context)


def verdict(error: ProviderFailed) -> Permanent | Transient:
    """What becomes of the job: a provider that could not, or had too much to do, is asked again."""
    if error.extra.get("retryable"):
        return Transient(error.detail, error.extra.get("retry_after"))
    return Permanent(error.detail)
