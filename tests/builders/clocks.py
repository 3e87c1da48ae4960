"""Clocks that a test owns."""

from __future__ import annotations

from dataclasses import dataclass

NOW = 1_763_769_600_000
"""2025-11-22T00:00:00Z, in milliseconds."""


@dataclass
class FakeClock:
    """Answers the time that it was set to: as milliseconds when called, as seconds by `seconds`."""

    now: int = NOW

    def __call__(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / 1000

    def advance(self, millis: int) -> None:
        self.now += millis
