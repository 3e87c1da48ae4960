"""Probing a provider before its time: signed once, and the next call of any process is the probe."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue import ledger
from adbot_queue.core import aws, dynamodb
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.errors import Conflict, NotFound
from adbot_queue.core.last_known import CACHE_SECONDS
from adbot_queue.platform.circuit import CircuitOpen, CircuitState
from adbot_queue.platform.circuit_breaker import CircuitBreaker, key_of
from adbot_queue.platform.circuit_probe import CircuitProbe
from adbot_queue.platform.health_log import HealthLog, LogLevel
from tests.builders.clocks import FakeClock
from tests.builders.crash import Killed, crash_after
from tests.builders.world import ADMIN, AwsHarness


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def circuits(system: AwsHarness, clock: FakeClock) -> CircuitBreaker:
    return CircuitBreaker(aws.dynamodb(), system.env["SYSTEM_TABLE"], clock, clock.seconds)


@pytest.fixture
def probe(system: AwsHarness, clock: FakeClock) -> CircuitProbe:
    table = system.env["SYSTEM_TABLE"]
    return CircuitProbe(aws.dynamodb(), table, ledger.from_env(), HealthLog(aws.dynamodb(), table, clock), clock)


def opened(circuits: CircuitBreaker, provider: str) -> None:
    """A provider fails until its circuit is open, with nothing kept from an earlier test."""
    circuits.succeeded(provider, probe=True)
    for _ in range(5):
        circuits.failed(provider, probe=circuits.acquire(provider))
    with pytest.raises(CircuitOpen):
        circuits.acquire(provider)


@pytest.mark.parametrize("well", [True, False])
def test_the_next_call_of_any_process_is_the_probe(
    circuits: CircuitBreaker, probe: CircuitProbe, clock: FakeClock, *, well: bool
) -> None:
    opened(circuits, "segment")
    found = probe.request("segment", "their status page is green", ADMIN)
    assert found.state is CircuitState.HALF_OPEN
    clock.advance(CACHE_SECONDS * 1000 + 1)
    assert circuits.acquire("segment") is True
    with pytest.raises(CircuitOpen):
        circuits.acquire("segment")
    (circuits.succeeded if well else circuits.failed)("segment", probe=True)
    (after,) = circuits.read(["segment"])
    assert after.state is (CircuitState.CLOSED if well else CircuitState.OPEN)


def test_probing_is_signed_and_logged_once_and_a_closed_circuit_is_refused(
    system: AwsHarness, circuits: CircuitBreaker, probe: CircuitProbe, clock: FakeClock
) -> None:
    before = len(system.ledger(action="circuit.probe"))
    opened(circuits, "twilio")
    with crash_after(None) as calls:
        probe.request("twilio", "mended", ADMIN)
    assert calls.names == ["GetItem", "TransactWriteItems"]
    assert probe.request("twilio", "mended", ADMIN).state is CircuitState.HALF_OPEN
    entries = system.ledger(action="circuit.probe")
    assert len(entries) == before + 1
    assert (entries[0]["actor"], entries[0]["target"], entries[0]["reason"]) == ("ada", "provider:twilio", "mended")
    assert (entries[0]["before"], entries[0]["after"]) == ({"state": "open"}, {"state": "half_open"})
    logged, _ = HealthLog(aws.dynamodb(), system.env["SYSTEM_TABLE"], clock).read(LogLevel.INFO, 1, None)
    assert logged[0]["message"] == "twilio: the next call is let through as a probe"

    clock.advance(CACHE_SECONDS * 1000 + 1)
    circuits.succeeded("twilio", probe=circuits.acquire("twilio"))
    with pytest.raises(Conflict, match="the circuit of twilio is closed"):
        probe.request("twilio", "again", ADMIN)
    with pytest.raises(NotFound, match="there is no provider nowhere"):
        probe.request("nowhere", "", ADMIN)
    assert len(system.ledger(action="circuit.probe")) == before + 1


def test_a_circuit_that_closes_meanwhile_is_not_touched(
    system: AwsHarness, circuits: CircuitBreaker, probe: CircuitProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(circuits, "stripe")
    real = dynamodb.get

    def read_then_closed(*given: Any, **options: Any) -> Any:
        item = real(*given, **options)
        circuits.succeeded("stripe", probe=True)  # another process has probed
        return item

    monkeypatch.setattr(dynamodb, "get", read_then_closed)
    with pytest.raises(Conflict, match="is closed"):
        probe.request("stripe", "mended", ADMIN)
    monkeypatch.undo()
    row = aws.dynamodb().get_item(TableName=system.env["SYSTEM_TABLE"], Key=encode(key_of("stripe"))).get("Item", {})
    assert "open_until" not in row
    assert not system.ledger(action="circuit.probe", target="provider:stripe")


def test_killed_after_any_call_it_is_signed_exactly_if_the_circuit_is_half_open(
    system: AwsHarness, circuits: CircuitBreaker, probe: CircuitProbe, clock: FakeClock
) -> None:
    for call in (1, 2):
        circuits.succeeded("solana", probe=True)
        clock.advance(CACHE_SECONDS * 1000 + 1)
        opened(circuits, "solana")
        signed = len(system.ledger(action="circuit.probe", target="provider:solana"))
        with crash_after(call), pytest.raises(Killed):
            probe.request("solana", "mended", ADMIN)
        (found,) = circuits.read(["solana"])
        done = found.state is CircuitState.HALF_OPEN
        assert len(system.ledger(action="circuit.probe", target="provider:solana")) == signed + done
        probe.request("solana", "mended", ADMIN)
        assert len(system.ledger(action="circuit.probe", target="provider:solana")) == signed + 1
