"""Health: probing a provider, pauses, figures, and the log of events."""

from __future__ import annotations

import re
from unittest.mock import patch

import pytest

from adbot_queue.console import snapshot
from adbot_queue.core.clock import system_clock
from adbot_queue.platform import circuit_breaker, health_log
from adbot_queue.platform.circuit import CircuitState
from adbot_queue.platform.health_log import LogLevel
from tests.builders.console_world import ConsoleWorld, busy

PROBE = "/console/health/circuits/{}/probe"


@pytest.fixture(autouse=True)
def _fresh_figures() -> object:
    with patch.multiple(snapshot, FRESH_MS=0, FRESH_FOR_A_PAGE_MS=0, LEASE_MS=0):
        yield


def opened(provider: str) -> None:
    """A provider fails until its circuit is open."""
    circuits = circuit_breaker.from_env()
    for _ in range(5):
        circuits.failed(provider, probe=False)


def state(provider: str) -> CircuitState:
    (found,) = circuit_breaker.from_env().read([provider])
    return found.state


def button(text: str, provider: str) -> str | None:
    """The key of a provider's button."""
    found = re.search(rf'action="{PROBE.format(provider)}".*?name="key" value="(\w+)"', text, re.DOTALL)
    return found[1] if found else None


def test_an_admin_probes_an_open_circuit_once_and_the_page_follows(console: ConsoleWorld) -> None:
    opened("segment")
    assert button(console.get("/console/health", "viewer").text, "segment") is None
    assert console.post(PROBE.format("segment"), role="viewer").status == 403
    assert state("segment") is CircuitState.OPEN
    key = button(console.get("/console/health", "admin").text, "segment")
    assert key
    for _ in range(2):
        done = console.post(PROBE.format("segment"), {"key": key}, "admin")
        assert "The next call of Segment is its probe" in done.words
    assert state("segment") is CircuitState.HALF_OPEN
    (entry,) = console.world.ledger(action="circuit.probe")
    assert (entry["actor"], entry["target"]) == ("sub-admin", "provider:segment")
    page = console.get("/console/health", "admin", x_acted="1")
    row = page.text.partition('id="circuit-segment"')[2].partition("</tr>")[0]
    assert "Probing" in row
    assert "with the next call" in row
    assert button(page.text, "segment") is None


@pytest.mark.parametrize(
    ("provider", "fields", "status", "text"),
    [
        ("stripe", {}, 409, "the circuit of stripe is closed"),
        ("nowhere", {}, 404, "there is no provider nowhere"),
        ("stripe", {"reason": "x" * 501}, 422, "reason: must have at most 500 characters"),
    ],
)
def test_a_probe_that_makes_no_sense_is_refused_in_words(
    console: ConsoleWorld, provider: str, fields: dict[str, str], status: int, text: str
) -> None:
    answer = console.post(PROBE.format(provider), fields, "admin")
    assert (answer.status, text in answer.words) == (status, True)


def test_a_queue_that_an_open_circuit_stops_offers_the_probe_to_admins(console: ConsoleWorld) -> None:
    with patch.object(snapshot.from_env(), "_gather", lambda *_, **__: busy(system_clock())):
        assert button(console.get("/console/queues/email", "admin").text, "sendgrid")
        assert "Probe sendgrid now" in console.get("/console/queues/email", "admin").words
        assert not button(console.get("/console/queues/email", "viewer").text, "sendgrid")
        assert "Probe" not in console.get("/console/queues/analytics", "admin").words


def test_health_shows_mode_circuits_pauses_and_figures(console: ConsoleWorld) -> None:
    with patch.object(snapshot.from_env(), "_gather", lambda *_, **__: busy(system_clock())):
        page = console.get("/console/health")
    for text in ("async_queue", "SendGrid Open since", "plugin", "Olga Okafor", "the import runs until 16:00"):
        assert text in page.words
    seen = busy(system_clock())
    per_minute = round(sum(queue["per_minute"] for queue in seen["queues"]), 1)
    slowest = max(seen["queues"], key=lambda queue: queue["wait_p95"])["name"]
    assert f"Completed {per_minute:,}" in re.sub(" as it was", "", page.words)
    assert f"p95 of {slowest}" in page.words
    assert "UTC, the same on all pages" in page.words


def test_the_log_keeps_the_id_of_an_entry_while_newer_ones_come(console: ConsoleWorld) -> None:
    def ids() -> list[str]:
        return re.findall(r'<tr id="(log-[\w-]+)">', console.get("/console/health?level=WARNING").text)

    log = health_log.from_env()
    with patch.object(log, "_now", lambda: 1_000 * (system_clock() // 1_000)):  # two in one moment, most likely
        for number in range(4):
            log.record(LogLevel.WARNING, f"test.event-{number}", f"entry {number}", job_id=f"job-{number}")
    before = ids()
    log.record(LogLevel.WARNING, "test.later", "one more", pool="standard")
    after = ids()
    assert len(set(after)) == len(after) == len(before) + 1
    assert after[1:] == before
    page = console.get("/console/health?level=WARNING")
    assert "one more event test.later pool standard" in page.words


def test_a_refresh_of_a_full_log_holds_50_entries_in_four_kilobytes(console: ConsoleWorld) -> None:
    log = health_log.from_env()
    for number in range(60):
        message = f"sendgrid is failing: circuit open until 2026-11-28T06:{number:02}:11Z"
        log.record(LogLevel.ERROR, f"circuit.opened-{number}", message, provider="sendgrid", failures=number)
    with patch.object(snapshot.from_env(), "_gather", lambda *_, **__: busy(system_clock())):
        tick = console.tick("/console/health")
    assert tick.text.count('<tr id="log-') == 50
    assert len(tick.bytes) <= 4_000, len(tick.bytes)
