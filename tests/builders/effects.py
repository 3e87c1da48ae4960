"""A provider that fails on demand, counts its effects, and honours idempotency keys; and its job types."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from pydantic import Field

from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, Snooze, TransientError
from adbot_queue.jobs.job_types import JobType


class Charge(Input):
    """What the provider is asked for, and how its answers go: the first entry for the first try, and so on.

    `transient`, `permanent`, `snoozed`, `bug`; `endless`: to come back after an endless time; `late-transient`: it
    happened, but the answer got lost.
    """

    name: str = "a"
    goes: list[str] = Field(default_factory=list)
    big: int = 0


class Provider:
    """Remembers effects by idempotency key, as a payment provider does."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.calls: list[tuple[str, str]] = []
        self._answers: dict[str, dict[str, Any]] = {}

    def charge(self, key: str, payload: Charge) -> dict[str, Any]:
        tries = sum(seen == key for seen, _ in self.calls)
        self.calls.append((key, payload.name))
        outcome = payload.goes[tries] if tries < len(payload.goes) else "good"
        match outcome:
            case "transient":
                raise TransientError("HTTP 503")
            case "permanent":
                raise PermanentError("card declined")
            case "snoozed":
                raise Snooze("rate limited", 5)
            case "endless":
                raise TransientError("HTTP 503", math.inf)
            case "bug":
                raise ValueError("no such thing")
        if key not in self._answers:
            self.effects[payload.name] += 1
            self._answers[key] = {
                "charge": f"ch_{len(self._answers)}",
                **({"data": "x" * payload.big} if payload.big else {}),
            }
        if outcome == "late-transient":
            raise TransientError("connection reset")
        return self._answers[key]


PROVIDER = Provider()


def charge(payload: Charge, context: Context) -> dict[str, Any]:
    """The processor."""
    context.check_cancelled()
    return PROVIDER.charge(context.idempotency_key, payload)


def new_provider() -> Provider:
    """A provider to whom nothing has happened yet, behind all the types."""
    PROVIDER.__init__()  # type: ignore[misc]  the processors are imported by name and know this one
    return PROVIDER


def charging(name: str = "charge", queue: str = "money", **declared: Any) -> JobType:
    """A type that asks the provider."""
    return JobType(queue, Charge, charge, name=name, **declared)
