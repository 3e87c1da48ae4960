"""What the processors have in common: how long a call may take, and what a provider's refusal means for the job.

A call has one of four outcomes. It went well, or the provider said no to this request: the provider is well. It failed:
an attempt is spent, and the circuit counts it. It was throttled: no attempt, no failure, and one "not before" for all
jobs of the provider. Or the provider refuses the installation (key, plan, account): it is closed to all jobs, which
wait at no attempt's cost until its secret changes or a probe passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import telemetry
from adbot_queue.core.clock import iso
from adbot_queue.core.errors import AccountRefused, NotConfigured, ProviderFailed, Reach, Unavailable
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import CircuitIsOpen, PermanentError, ProviderClosed, Snooze, Throttled, TransientError
from adbot_queue.platform import circuit_breaker as circuits
from adbot_queue.platform import rate_limits as limits
from adbot_queue.platform.circuit import CircuitOpen, NotBefore
from adbot_queue.platform.rate import Rate
from adbot_queue.providers import registry
from adbot_queue.providers.declarations import PROVIDERS, Provider

MIN_S = 1.0
"""With less time than this a call is not begun: its answer would hardly be waited for."""

AT_ONCE_S = 1.0
REFUSED_S = 60.0
"""When a job looks again at a refusal that concerns it alone."""


def seconds_for(provider: str, limit_s: float, context: Context) -> float:
    """How long a call may take: its own limit, and never beyond the job's deadline.

    Raises:
        TimeoutError: it is not worth to begin.
    """
    left = context.seconds_left()
    if left < MIN_S:
        raise TimeoutError(f"no time was left to call {provider}")
    return min(limit_s, left)


@contextmanager
def calling(provider: str, limit_s: float, context: Context, part: str = "") -> Iterator[float]:
    """Guard a call of a provider, and yield how many seconds it may take.

        with calling("stripe", 15, context) as seconds: ...

    Args:
        provider: its name in `providers.registry`.
        limit_s: the longest that the call may take.
        context: the job's.
        part: the account, sender or host within the provider that may throttle or refuse us by itself.

    Returns:
        The seconds that the call may take, as `seconds_for`.

    Raises:
        CircuitIsOpen, Throttled, ProviderClosed: the provider was not called, or has refused for such a reason.
        Snooze: its rate is used up.
        TransientError: its credentials have just been replaced.
        TimeoutError: as `seconds_for`.
    """
    declared = PROVIDERS[provider]
    with guarded(
        Guard(
            declared.label,
            f"{provider}/{part}" if declared.apart else provider,
            f"{provider}/{part}" if part else "",
            lambda *, fresh=False: registry.version(provider, fresh=fresh),
        ),
        limit_s,
        context,
        before=lambda: _keep_to_its_rate(declared),
    ) as seconds:
        try:
            yield seconds
        except NotConfigured as error:
            refusal = _refusal_of(error, provider)
            # The refused key may be a cached one that was replaced in the meantime.
            if registry.replaced(provider):
                raise TransientError(
                    f"the credentials of {declared.label} have just been replaced", AT_ONCE_S
                ) from error
            if refusal is error:
                raise
            raise refusal from error


@dataclass(frozen=True, slots=True)
class Guard:
    """A call's target and the circuits that it passes."""

    label: str
    name: str
    part: str = ""
    secret: Callable[..., str] = lambda *, fresh=False: ""  # noqa: ARG005  there is no secret

    @property
    def circuits(self) -> tuple[str, ...]:
        """The names of the circuits that a call passes."""
        return tuple(dict.fromkeys(name for name in (self.name, self.part) if name))

    def of(self, reach: Reach) -> str | None:
        """Return the circuit that a refusal concerns; None: it concerns the job alone."""
        if reach is Reach.JOB:
            return None
        return self.part or self.name if reach is Reach.PART else self.name


@contextmanager
def guarded(
    guard: Guard, limit_s: float, context: Context, before: Callable[[], None] = lambda: None
) -> Iterator[float]:
    """Guard a call: check the circuits, report the outcome to them, and raise what it means for the job.

    Args:
        guard: the target.
        limit_s: the longest that the call may take.
        context: the job's.
        before: called when the circuits let the call pass; what it raises is no outcome.

    Raises:
        CircuitIsOpen, Throttled, ProviderClosed: as `calling`. TimeoutError: as `seconds_for`.
    """
    seconds = seconds_for(guard.label, limit_s, context)
    known = circuits.from_env()
    known.look(guard.circuits)
    probes = {name: _admitted(guard, name, known) for name in guard.circuits}
    before()
    try:
        yield seconds
    except Unavailable:
        raise  # the provider was not called
    except AccountRefused as error:
        raise _closed(guard, error, known, probes) from error
    except Exception as error:
        if throttle := _throttle(error):
            _apply_throttle(guard, throttle, known, probes)
            if throttle is error:
                raise
            raise throttle from error.__cause__ or error
        if isinstance(error, NotConfigured):
            raise  # the provider was not called either
        if _is_its_fault(error):
            _report(known.failed, {name: probe for name, probe in probes.items() if probe or name == guard.name})
        else:
            _report(known.succeeded, probes)
        raise
    _report(known.succeeded, probes)


def _admitted(guard: Guard, name: str, known: circuits.CircuitBreaker) -> bool:
    try:
        return known.acquire(name, lambda: guard.secret(fresh=True))
    except NotBefore as error:
        raise Throttled(f"{guard.label} throttles us until {iso(error.until)}", error.seconds) from error
    except CircuitOpen as error:
        if error.reason:
            raise ProviderClosed(f"provider closed: {error.reason}", error.seconds) from error
        message = f"{guard.label} is failing: circuit open until {iso(error.until)}"
        raise CircuitIsOpen(message, error.seconds) from error


def _throttle(error: Exception) -> Throttled | None:
    """Return the throttle that an exception means, if any."""
    if isinstance(error, ProviderFailed) and "throttled" in error.extra:
        return _throttled(error)
    return error if isinstance(error, Throttled) else None


def _apply_throttle(guard: Guard, throttle: Throttled, known: circuits.CircuitBreaker, probes: dict[str, bool]) -> None:
    """Report a throttle to the circuit, and set when the job retries."""
    telemetry.count("CallsThrottled")
    throttles = guard.of(throttle.reach)
    for name, probe in probes.items():
        if name == throttles:
            with _at_best(name):
                throttle.retry_after = known.throttled(name, throttle.retry_after, probe=probe)
        else:
            _report(known.succeeded, {name: probe})


def _closed(
    guard: Guard, refused: AccountRefused, known: circuits.CircuitBreaker, probes: dict[str, bool]
) -> ProviderClosed:
    """Report a refusal to the circuit; return what it means for the job."""
    closed = ProviderClosed(f"provider closed: {refused.detail}", REFUSED_S)
    refuses = guard.of(refused.reach)
    if refuses is None:
        telemetry.count("ProvidersClosed")
    for name, probe in probes.items():
        if name == refuses:
            with _at_best(name):
                closed.retry_after = known.refused(name, refused.detail, guard.secret(), probe=probe)
        elif refuses != guard.name:
            _report(known.succeeded, {name: probe})
    return closed


def _report(outcome: Callable[..., None], probes: dict[str, bool]) -> None:
    for name, probe in probes.items():
        with _at_best(name):
            outcome(name, probe=probe)


@contextmanager
def _at_best(name: str) -> Iterator[None]:
    """Log a failed circuit write: the outcome of the call must not be lost for it."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        logger.warning("circuit not updated", circuit=name, error=type(error).__name__)


def _refusal_of(error: NotConfigured, provider: str) -> NotConfigured:
    """Return the refusal of every call if a credential is missing (as after its removal)."""
    if isinstance(error, AccountRefused):
        return error
    try:
        for field in PROVIDERS[provider].fields:
            registry.credential(provider, field)
    except NotConfigured as missing:
        return AccountRefused(missing.detail)
    except Unavailable:
        pass
    return error


def _keep_to_its_rate(provider: Provider) -> None:
    if provider.per_second is None:
        return
    taken = limits.from_env().acquire(f"provider:{provider.name}", Rate(provider.per_second, provider.burst))
    if not taken.allowed:
        telemetry.count("CallsRateLimited")
        raise Snooze(f"{provider.label} takes no more than {provider.per_second:g} calls a second", taken.retry_after_s)


def _is_its_fault(error: Exception) -> bool:
    """Return whether the provider failed. A provider that refuses, or says when to retry, is well."""
    match error:
        case TransientError():
            return error.retry_after is None
        case ProviderFailed():
            return bool(error.extra.get("retryable")) and error.extra.get("retry_after") is None
    return isinstance(error, OSError)  # timeouts are


def verdict(error: ProviderFailed) -> PermanentError | TransientError | Throttled:
    """Return what a provider's failure means for the job: retry later, retry when it says, or stop."""
    if "throttled" in error.extra:
        return _throttled(error)
    if error.extra.get("retryable"):
        return TransientError(error.detail, error.extra.get("retry_after"))
    return PermanentError(error.detail)


def _throttled(error: ProviderFailed) -> Throttled:
    return Throttled(error.detail, error.extra.get("retry_after"), error.extra["throttled"])
