"""What the row of a circuit says: whether calls pass, when it opens, and how long no call is made. Pure.

closed     calls pass. Failures and successes are counted in windows of a minute, and failures in a row.
open       no call passes until `open_until`: 30 s, twice as long each time a probe fails, at most 5 minutes.
half-open  `open_until` has passed: one call may try, the first to take `probe_until`. Its success closes the circuit.

It opens when half of a minute's calls fail, five at least, or five in a row over more than a minute: a small
installation never has five a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

WINDOW_MS = 60_000
MIN_FAILURES = 5
"""Fewer in a window, or in a row, never open a circuit."""

FAILURE_RATE = 0.5
OPEN_MS, MAX_OPEN_MS = 30_000, 300_000
PROBE_MS = 90_000
"""After this another may probe: the process that took the last one has died. Longer than any call of a provider."""

MIN_WAIT_MS, MAX_WAIT_MS = 60_000, 240_000
"""When a job looks again at a provider that refuses us: after an eighth of the time since it does, within these."""

THROTTLE_MS, MAX_THROTTLE_MS = 1_000, 300_000
"""How long no call goes to a provider that throttles and does not say until when; twice as long each time in a row."""

MAX_ASKED_MS = 3_600_000
"""No provider's word is believed for longer: one call tries again then."""


class CircuitState(StrEnum):
    """What becomes of calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Circuit:
    """A provider's circuit at a moment (ms).

    Attributes:
        reason: why the provider refuses the installation; None: it does not.
        not_before: until then the provider throttles; None: it does not.
    """

    provider: str
    state: CircuitState
    failures: int
    successes: int
    opened_at: int | None = None
    open_until: int | None = None
    reason: str | None = None
    not_before: int | None = None


def circuit_of(provider: str, item: Mapping[str, Any], now: int) -> Circuit:
    """Read a row; an empty one is a closed circuit."""
    counted = item if item.get("window") == now // WINDOW_MS else {}
    state = CircuitState.CLOSED
    if is_open(item):
        state = CircuitState.OPEN if now < item["open_until"] else CircuitState.HALF_OPEN
    not_before = item.get("not_before", 0)
    return Circuit(
        provider,
        state,
        counted.get("failures", 0),
        counted.get("successes", 0),
        item.get("opened_at"),
        item.get("open_until"),
        item.get("reason"),
        not_before if not_before > now else None,
    )


def is_open(item: Mapping[str, Any]) -> bool:
    """Whether it is open or half-open."""
    return bool(item.get("state") == CircuitState.OPEN)


def trips(item: Mapping[str, Any]) -> bool:
    """Whether the failures that were counted open it."""
    failures, successes = item.get("failures", 0), item.get("successes", 0)
    if failures >= MIN_FAILURES and failures >= FAILURE_RATE * (failures + successes):
        return True
    return bool(item.get("in_a_row", 0) >= MIN_FAILURES and item.get("row_since", 0) < item.get("window", 0))


def wait_ms(item: Mapping[str, Any], until: int, now: int) -> int:
    """How long a job waits for a circuit that is open until then."""
    wait = until - now
    if item.get("reason"):
        wait = min(wait, max(MIN_WAIT_MS, min((now - item["opened_at"]) // 8, MAX_WAIT_MS)))
    return wait


def reopened_ms(openings: int) -> int:
    """For how long it is open once a probe failed, after this number of openings."""
    return int(min(OPEN_MS * 2 ** min(openings, 10), MAX_OPEN_MS))


def throttle(item: Mapping[str, Any], asked: float | None, now: int) -> tuple[int, int] | None:
    """Until when no call is made after a throttle, and which in a row it is.

    Returns:
        None if another call has met the same throttle.
    """
    before = item.get("not_before", 0)
    asked_ms = round(min(asked or 0, MAX_ASKED_MS / 1000) * 1000)
    if before > now and now + asked_ms <= before + THROTTLE_MS:
        return None
    number = item.get("throttles", 0) + (before <= now)
    return now + max(asked_ms, min(THROTTLE_MS * 2 ** min(number - 1, 40), MAX_THROTTLE_MS)), number


def seconds(millis: int) -> float:
    """As a caller waits: a second at least."""
    return max(1.0, millis / 1000)


class CircuitOpen(Exception):
    """The call is not to be made.

    Args:
        seconds: until it is worth another look.
        until: when the circuit is half-open, or the throttle over (ms).
        reason: why the provider refuses the installation; empty: it fails, or throttles.
    """

    def __init__(self, seconds: float, until: int = 0, reason: str = "") -> None:
        super().__init__(reason or "the circuit is open")
        self.seconds = seconds
        self.until = until
        self.reason = reason


class NotBefore(CircuitOpen):
    """The provider throttles."""
