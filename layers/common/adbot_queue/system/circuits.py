"""Circuit breakers: a provider that fails is left alone for a while, by all workers together, and then asked once.

    CIRCUIT#<provider>   C   window, failures, successes; while it is open: state, opened_at, open_until, openings,
                             probe_until

closed     calls pass. Failures are counted in windows of a minute, successes beside them.
open       no call passes until `open_until`: 30 s, twice as long each time a probe fails, at most 5 minutes.
half-open  `open_until` has passed: one call may try, whoever takes `probe_until` first. Its success closes the circuit.

In healthy times nothing is written: successes stay in the process until the provider has failed in the same window.
What a process knows of the state is at most 5 s old.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.system import health_log
from adbot_queue.system.health_log import Level

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CACHE_SECONDS = 5
WINDOW_MS = 60_000
LEAST_FAILURES = 5
"""Fewer in a window never open a circuit."""

FAILURE_RATE = 0.5
OPEN_MS, MOST_OPEN_MS = 30_000, 300_000
PROBE_MS = 90_000
"""After this another may probe: whoever took the last one has died. Longer than any call of a provider takes."""

TOLD = 10
"""Successes that a process keeps to itself while it knows of failures in the window."""


class CircuitState(StrEnum):
    """What becomes of calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitOpen(Exception):
    """The call is not to be made.

    Args:
        seconds: until it is worth another look.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__("the circuit is open")
        self.seconds = seconds


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Circuit:
    """A provider's circuit as it stands at a moment (ms)."""

    provider: str
    state: CircuitState
    failures: int
    successes: int
    opened_at: int | None = None
    open_until: int | None = None


class Circuits:
    """Every provider's circuit."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        now: Clock = system_clock,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._table = table
        self._now = now
        self._seconds = seconds
        self._known: dict[str, tuple[float, Item]] = {}
        self._untold: Counter[str] = Counter()
        self._lock = threading.Lock()

    def admit(self, provider: str) -> bool:
        """Ask whether a call may be made; its outcome is to be told to `succeeded` or `failed`.

        Returns:
            Whether the call is the probe of a half-open circuit.

        Raises:
            CircuitOpen: it may not.
        """
        item = self._item(provider)
        if not _is_open(item):
            return False
        now = self._now()
        if now < item["open_until"]:
            raise CircuitOpen(_seconds(item["open_until"] - now))
        try:
            taken = self._write(
                provider,
                "SET probe_until = :until",
                "#state = :open AND open_until <= :now AND (attribute_not_exists(probe_until) OR probe_until <= :now)",
                until=now + PROBE_MS,
                open=CircuitState.OPEN.value,
                now=now,
            )
        except ConditionFailed as failed:
            stood = self._remember(provider, failed.item or {})
            if not _is_open(stood):
                return False
            raise CircuitOpen(_seconds(max(stood["open_until"], stood.get("probe_until", now)) - now)) from failed
        self._remember(provider, taken)
        return True

    def succeeded(self, provider: str, *, probe: bool) -> None:
        """The provider answered, whatever it said."""
        if probe:
            self._close(provider)
            return
        with self._lock:
            self._untold[provider] += 1
            untold = self._untold[provider]
        if untold >= TOLD and self._known.get(provider, (0, {}))[1].get("window") == self._window():
            self._count(provider, 0)

    def failed(self, provider: str, *, probe: bool) -> None:
        """The provider could not be reached, or could not do its work."""
        if probe:
            self._reopen(provider)
            return
        stands = self._count(provider, 1)
        if not _is_open(stands) and _trips(stands):
            self._open(provider, stands)

    def read(self, providers: Iterable[str]) -> list[Circuit]:
        """The circuits of these providers as they stand, in one call."""
        now = self._now()
        names = list(providers)
        found = {item["pk"]: item for item in dynamodb.get_many(self._client, self._table, map(_key, names))}
        return [_circuit(name, found.get(_key(name)["pk"], {}), now, self._window()) for name in names]

    def _item(self, provider: str) -> Item:
        """What is known of a circuit; while it cannot be read, what was known before, at first that it is closed."""
        asked_at, item = self._known.get(provider, (None, {}))
        if asked_at is None or self._seconds() - asked_at >= CACHE_SECONDS:
            try:
                item = dynamodb.get(self._client, self._table, _key(provider), consistent=False) or {}
            except (ClientError, BotoCoreError) as error:
                logger.warning("circuit cannot be read; going on as before", error=type(error).__name__)
            self._remember(provider, item)
        return item

    def _remember(self, provider: str, item: Item) -> Item:
        self._known[provider] = (self._seconds(), item)
        return item

    def _count(self, provider: str, failures: int) -> Item:
        """Add to the window what happened, with the successes that were kept back."""
        with self._lock:
            successes = self._untold.pop(provider, 0)
        values = {"failures": failures, "successes": successes, "window": self._window()}
        going_on = "ADD failures :failures, successes :successes"
        afresh = "SET #window = :window, failures = :failures, successes = :successes"
        for expression, condition in (
            (going_on, "#window = :window"),
            (afresh, "attribute_not_exists(#window) OR #window < :window"),
            (going_on, "#window >= :window"),  # others began it meanwhile, or their clocks are ahead
        ):
            try:
                return self._remember(provider, self._write(provider, expression, condition, **values))
            except ConditionFailed:
                continue
        return {}

    def _open(self, provider: str, stands: Item) -> None:
        now = self._now()
        try:
            opened = self._write(
                provider,
                "SET #state = :open, opened_at = :now, open_until = :until, openings = :one REMOVE probe_until",
                "attribute_not_exists(#state)",
                open=CircuitState.OPEN.value,
                now=now,
                until=now + OPEN_MS,
                one=1,
            )
        except ConditionFailed as failed:
            self._remember(provider, failed.item or {})
            return
        self._remember(provider, opened)
        count("CircuitsOpened")
        health_log.record(
            Level.ERROR,
            "circuit.opened",
            f"{provider} fails; it is left alone for {OPEN_MS // 1000} s and then asked once",
            provider=provider,
            failures=stands["failures"],
            successes=stands["successes"],
        )

    def _reopen(self, provider: str) -> None:
        """The probe failed: twice as long as the last time."""
        openings = min(self._known.get(provider, (0, {}))[1].get("openings", 1), 10)
        period = min(OPEN_MS * 2**openings, MOST_OPEN_MS)
        self._end_probe(
            provider,
            "SET open_until = :until ADD openings :one REMOVE probe_until",
            until=self._now() + period,
            one=1,
        )
        health_log.record(
            Level.WARNING,
            "circuit.probed",
            f"{provider} still fails; asked again in {period // 1000} s",
            provider=provider,
        )

    def _close(self, provider: str) -> None:
        gone = "REMOVE #state, opened_at, open_until, openings, probe_until, #window, failures, successes"
        if self._end_probe(provider, gone):
            health_log.record(Level.INFO, "circuit.closed", f"{provider} answers again", provider=provider)

    def _end_probe(self, provider: str, expression: str, **values: Any) -> bool:
        try:
            changed = self._write(provider, expression, "#state = :open", open=CircuitState.OPEN.value, **values)
        except ConditionFailed as failed:
            self._remember(provider, failed.item or {})
            return False
        self._remember(provider, changed)
        return True

    def _window(self) -> int:
        return self._now() // WINDOW_MS

    def _write(self, provider: str, expression: str, condition: str, **values: Any) -> Item:
        return dynamodb.update_if(self._client, self._table, _key(provider), expression, condition=condition, **values)


def _key(provider: str) -> Item:
    return {"pk": f"CIRCUIT#{provider}", "sk": "C"}


def _is_open(item: Item) -> bool:
    return bool(item.get("state") == CircuitState.OPEN)


def _trips(item: Item) -> bool:
    failures, successes = item.get("failures", 0), item.get("successes", 0)
    return bool(failures >= LEAST_FAILURES and failures >= FAILURE_RATE * (failures + successes))


def _seconds(millis: int) -> float:
    return max(1.0, millis / 1000)


def _circuit(provider: str, item: Item, now: int, window: int) -> Circuit:
    counted = item if item.get("window") == window else {}
    state = CircuitState.CLOSED
    if _is_open(item):
        state = CircuitState.OPEN if now < item["open_until"] else CircuitState.HALF_OPEN
    return Circuit(
        provider,
        state,
        counted.get("failures", 0),
        counted.get("successes", 0),
        item.get("opened_at"),
        item.get("open_until"),
    )


@lru_cache(maxsize=1)
def from_env() -> Circuits:
    """The circuits as this process knows them."""
    return Circuits(aws.dynamodb(), settings().system_table)
