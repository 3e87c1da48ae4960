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
from adbot_queue.platform.circuit_breaker import CircuitOpen, NotBefore
from adbot_queue.platform.rate import Rate
from adbot_queue.providers import registry
from adbot_queue.providers.registry import Provider

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
    """Stands around every call of a provider, and says how long it may take.

        with calling("stripe", 15, context) as seconds: ...

    Args:
        provider: its name in `providers.registry`.
        limit_s: the most that the call may take.
        context: the job's.
        part: the account, sender or host within the provider that may throttle, or refuse us, by itself.

    Returns:
        The seconds that the call may take, as `seconds_for`.

    Raises:
        CircuitIsOpen, Throttled, ProviderClosed: the provider is not asked, or has refused for such a reason.
        Snooze: its rate is used up.
        TransientError: its credentials have just been replaced.
        TimeoutError: as `seconds_for`.
    """
    declared = registry.PROVIDERS[provider]
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
            # The key that was refused may be one that this process still knew after it was replaced.
            if registry.replaced(provider):
                raise TransientError(
                    f"the credentials of {declared.label} have just been replaced", AT_ONCE_S
                ) from error
            if refusal is error:
                raise
            raise refusal from error


@dataclass(frozen=True, slots=True)
class Guard:
    """Who is called, as far as others must know what becomes of it.

    Attributes:
        label: what people say: `Stripe`.
        name: of the circuit that counts failures.
        part: of what may throttle or refuse by itself; empty: nothing does.
        secret: names the version of the secret that calls are made with, read again if `fresh`.
    """

    label: str
    name: str
    part: str = ""
    secret: Callable[..., str] = lambda *, fresh=False: ""  # noqa: ARG005  there is no secret

    @property
    def circuits(self) -> tuple[str, ...]:
        """All that a call has to pass."""
        return tuple(dict.fromkeys(name for name in (self.name, self.part) if name))

    def of(self, reach: Reach) -> str | None:
        """The circuit that learns of a refusal; None: it concerns the job alone."""
        if reach is Reach.JOB:
            return None
        return self.part or self.name if reach is Reach.PART else self.name


@contextmanager
def guarded(
    guard: Guard, limit_s: float, context: Context, before: Callable[[], None] = lambda: None
) -> Iterator[float]:
    """Stands around a call of anybody: asks the circuits, tells them the outcome, and raises what it means for the job.

    Args:
        guard: who is called.
        limit_s: the most that the call may take.
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
        raise  # it was not asked
    except AccountRefused as error:
        raise _closed(guard, error, known, probes) from error
    except Exception as error:
        if throttle := _throttle(error):
            _put_off(guard, throttle, known, probes)
            if throttle is error:
                raise
            raise throttle from error.__cause__ or error
        if isinstance(error, NotConfigured):
            raise  # it was not asked either
        if _is_its_fault(error):
            _tell(known.failed, {name: probe for name, probe in probes.items() if probe or name == guard.name})
        else:
            _tell(known.succeeded, probes)
        raise
    _tell(known.succeeded, probes)


def _admitted(guard: Guard, name: str, known: circuits.CircuitBreaker) -> bool:
    try:
        return known.admit(name, lambda: guard.secret(fresh=True))
    except NotBefore as error:
        raise Throttled(f"{guard.label} throttles us until {iso(error.until)}", error.seconds) from error
    except CircuitOpen as error:
        if error.reason:
            raise ProviderClosed(f"provider closed: {error.reason}", error.seconds) from error
        message = f"{guard.label} is failing: circuit open until {iso(error.until)}"
        raise CircuitIsOpen(message, error.seconds) from error


def _throttle(error: Exception) -> Throttled | None:
    """The throttle in what was raised, if it is one."""
    if isinstance(error, ProviderFailed) and "throttled" in error.extra:
        return _throttled(error)
    return error if isinstance(error, Throttled) else None


def _put_off(guard: Guard, throttle: Throttled, known: circuits.CircuitBreaker, probes: dict[str, bool]) -> None:
    """Tell the others that the provider throttles, and the job until when."""
    telemetry.count("CallsThrottled")
    throttles = guard.of(throttle.reach)
    for name, probe in probes.items():
        if name == throttles:
            with _at_best(name):
                throttle.retry_after = known.throttled(name, throttle.retry_after, probe=probe)
        else:
            _tell(known.succeeded, {name: probe})


def _closed(
    guard: Guard, refused: AccountRefused, known: circuits.CircuitBreaker, probes: dict[str, bool]
) -> ProviderClosed:
    """Tell the others that the provider refuses us; what it means for the job."""
    closed = ProviderClosed(f"provider closed: {refused.detail}", REFUSED_S)
    refuses = guard.of(refused.reach)
    if refuses is None:
        telemetry.count("ProvidersClosed")
    for name, probe in probes.items():
        if name == refuses:
            with _at_best(name):
                closed.retry_after = known.refused(name, refused.detail, guard.secret(), probe=probe)
        elif refuses != guard.name:
            _tell(known.succeeded, {name: probe})
    return closed


def _tell(outcome: Callable[..., None], probes: dict[str, bool]) -> None:
    for name, probe in probes.items():
        with _at_best(name):
            outcome(name, probe=probe)


@contextmanager
def _at_best(name: str) -> Iterator[None]:
    """What a call did must not be lost because the circuit cannot be written."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        logger.warning("circuit not told", circuit=name, error=type(error).__name__)


def _refusal_of(error: NotConfigured, provider: str) -> NotConfigured:
    """A credential that every call needs and that is not filled in (any more) refuses all of them."""
    if isinstance(error, AccountRefused):
        return error
    try:
        for field in registry.PROVIDERS[provider].fields:
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
    """Whether the provider failed. One that says no is well, and so is one that says when to come back."""
    match error:
        case TransientError():
            return error.retry_after is None
        case ProviderFailed():
            return bool(error.extra.get("retryable")) and error.extra.get("retry_after") is None
    return isinstance(error, OSError)  # timeouts are


def verdict(error: ProviderFailed) -> PermanentError | TransientError | Throttled:
    """What becomes of the job: a provider that could not is asked again, one that had too much to do when it can."""
    if "throttled" in error.extra:
        return _throttled(error)
    if error.extra.get("retryable"):
        return TransientError(error.detail, error.extra.get("retry_after"))
    return PermanentError(error.detail)


def _throttled(error: ProviderFailed) -> Throttled:
    return Throttled(error.detail, error.extra.get("retry_after"), error.extra["throttled"])
