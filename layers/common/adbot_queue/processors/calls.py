"""What the processors have in common: how long a call may take, and what a provider's refusal means for the job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adbot_queue.core import telemetry
from adbot_queue.core.errors import NotConfigured, ProviderFailed, Unavailable
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.registry import Rate
from adbot_queue.jobs.retry import Permanent, Postponed, Transient
from adbot_queue.providers import registry
from adbot_queue.providers.registry import Provider
from adbot_queue.system import circuits, limits
from adbot_queue.system.circuits import CircuitOpen

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
        Postponed: the provider's circuit is open, or its rate is used up.
        Transient: its credentials have just been replaced.
        TimeoutError: as `seconds_for`.
    """
    declared = registry.PROVIDERS[provider]
    seconds = seconds_for(declared.label, limit_s, context)
    known = circuits.from_env()
    try:
        probe = known.admit(provider)
    except CircuitOpen as error:
        raise Postponed(f"{declared.label} fails; it is left alone for a while", error.seconds) from error
    _keep_to_its_rate(declared)
    try:
        yield seconds
    except NotConfigured as error:
        # The key that was refused may be one that this process still knew after it was replaced.
        if registry.replaced(provider):
            raise Transient(f"the credentials of {declared.label} have just been replaced") from error
        raise
    except Unavailable:
        raise  # it was not asked
    except Exception as error:
        if _is_its_fault(error):
            known.failed(provider, probe=probe)
        else:
            known.succeeded(provider, probe=probe)
        raise
    known.succeeded(provider, probe=probe)


def _keep_to_its_rate(provider: Provider) -> None:
    if provider.per_second is None:
        return
    taken = limits.from_env().take(f"provider:{provider.name}", Rate(provider.per_second, provider.burst))
    if not taken.allowed:
        telemetry.count("CallsRateLimited")
        raise Postponed(
            f"{provider.label} takes no more than {provider.per_second:g} calls a second", taken.retry_after_s
        )


def _is_its_fault(error: Exception) -> bool:
    """Whether the provider failed. One that says no is well, and so is one that says when to come back."""
    match error:
        case Transient():
            return error.retry_after is None
        case ProviderFailed():
            return bool(error.extra.get("retryable")) and error.extra.get("retry_after") is None
    return isinstance(error, OSError)  # timeouts are


def verdict(error: ProviderFailed) -> Permanent | Transient:
    """What becomes of the job: a provider that could not, or had too much to do, is asked again."""
    if error.extra.get("retryable"):
        return Transient(error.detail, error.extra.get("retry_after"))
    return Permanent(error.detail)
