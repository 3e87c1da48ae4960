"""The guard of every provider call: its time, its circuit, its rate, its credentials."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from adbot_queue.core import aws
from adbot_queue.core.errors import NotConfigured, ProviderFailed, Unavailable
from adbot_queue.jobs.errors import PermanentError, Snooze, TransientError
from adbot_queue.jobs.provider_call import calling
from adbot_queue.platform import circuit_breaker as circuits
from adbot_queue.platform import rate_limits as limits
from adbot_queue.platform.circuit import CircuitState
from adbot_queue.providers import registry
from tests.builders.clocks import FakeClock
from tests.builders.payments import empty, secret
from tests.builders.processors import context


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    """Empty tables, and a clock for circuits and rates that does not move."""
    empty()
    circuits.from_env.cache_clear()
    limits.from_env.cache_clear()
    clock = FakeClock()
    monkeypatch.setattr(circuits.from_env(), "_now", clock)
    monkeypatch.setattr(circuits.from_env(), "_seconds", clock.seconds)
    monkeypatch.setattr(limits.from_env(), "_now", clock)
    yield clock
    circuits.from_env.cache_clear()
    limits.from_env.cache_clear()


def call(error: Exception | None = None, provider: str = "sendgrid", seconds: float = 20) -> float:
    with calling(provider, 10, context(seconds=seconds)) as allowed:
        if error:
            raise error
        return allowed


def fails(error: Exception, times: int = 5) -> CircuitState:
    for _ in range(times):
        with pytest.raises(type(error)):
            call(error)
    (circuit,) = circuits.from_env().read(["sendgrid"])
    return circuit.state


@pytest.mark.parametrize(
    "error",
    [
        TransientError("could not be reached"),
        ProviderFailed("HTTP 503", retryable=True),
        TimeoutError("timed out"),
        ConnectionResetError(),
    ],
)
def test_five_calls_that_the_provider_failed_open_its_circuit_and_the_next_is_postponed(error: Exception) -> None:
    assert fails(error) is CircuitState.OPEN

    with pytest.raises(Snooze, match="SendGrid") as snoozed:
        call()
    assert snoozed.value.retry_after == 30


@pytest.mark.parametrize(
    "error",
    [
        PermanentError("declined"),
        TransientError("too many", retry_after=3),
        ProviderFailed("HTTP 429", retryable=True, retry_after=3.0),
        ProviderFailed("HTTP 400", retryable=False),
        NotConfigured("the key was refused"),
        Unavailable("the secret cannot be read"),
        ValueError("a bug of ours"),
    ],
)
def test_a_provider_that_answers_is_well_whatever_it_says(error: Exception) -> None:
    assert fails(error, 9) is CircuitState.CLOSED


def test_a_call_gets_its_limit_or_what_the_job_has_left() -> None:
    assert call() == 10
    assert call(seconds=4) == 4
    with pytest.raises(TimeoutError, match="SendGrid"):
        call(seconds=0.5)


def test_calls_beyond_the_providers_rate_are_postponed(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    slow = replace(registry.PROVIDERS["sendgrid"], per_second=2, burst=3)
    monkeypatch.setitem(registry.PROVIDERS, "sendgrid", slow)
    for _ in range(3):
        call()

    with pytest.raises(Snooze, match="2 calls a second") as snoozed:
        call()

    assert snoozed.value.retry_after == 1
    clock.advance(1000)
    call()


def test_a_key_that_was_replaced_a_moment_ago_is_read_again_and_the_job_comes_back() -> None:
    registry.credential("sendgrid", "api_key")
    aws.secrets_manager().put_secret_value(SecretId="sendgrid", SecretString=json.dumps({"api_key": "SG.2"}))
    try:
        with pytest.raises(TransientError, match="replaced"):
            call(NotConfigured("SendGrid does not accept the key"))
        assert registry.credential("sendgrid", "api_key") == "SG.2"
        with pytest.raises(NotConfigured):
            call(NotConfigured("SendGrid does not accept the key"))
    finally:
        with secret("sendgrid", None):
            pass


def test_a_provider_without_a_secret_that_can_be_described_is_unavailable() -> None:
    registry.check("sendgrid")
    with secret("sendgrid", None), pytest.raises(Unavailable, match="SendGridSecretArn"):
        registry.check("sendgrid")
