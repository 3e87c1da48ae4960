"""Circuit breakers: what all workers together know of a provider, so that not each job has to find it out by itself.

    CIRCUIT#<name>   C   window, failures, successes; in_a_row, row_since: failures since the last success
                         not_before, throttles: while the provider throttles
                         state, opened_at, open_until, openings, probe_until: while it is open; reason, secret: because
                         the provider refuses the installation, and by which version of its secret

closed     calls pass. Failures are counted in windows of a minute, successes beside them, and those in a row.
open       no call passes until `open_until`: 30 s, twice as long each time a probe fails, at most 5 minutes.
half-open  `open_until` has passed: one call may try, whoever takes `probe_until` first. Its success closes the circuit.

It opens when half of a minute's calls fail, five at least, or five in a row over more than a minute: a small
installation never has five a minute. It opens at once with a `reason` when the provider refuses the installation
(revoked key, used-up quota, suspended account); then it is half-open as soon as the secret is another one, too.

A provider that throttles is well: no call passes before `not_before`, and then all may.

A name is a provider's, that of a part of one (`twilio/whatsapp`, `web-push/fcm.googleapis.com`), or a receiver's of
result webhooks (`receiver/<hash>`). Receivers are their callers' concern: they raise no alarm and are not in the health
log. In healthy times nothing is written: successes stay in the process until the provider has failed in the same
window. What a process knows of the state is at most 5 s old; an item goes a day after its last failure.
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
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item
from adbot_queue.core.errors import AppError
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.platform import health_log
from adbot_queue.platform.health_log import LogLevel

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CACHE_SECONDS = 5
WINDOW_MS = 60_000
LEAST_FAILURES = 5
"""Fewer in a window, or in a row, never open a circuit."""

FAILURE_RATE = 0.5
OPEN_MS, MOST_OPEN_MS = 30_000, 300_000
PROBE_MS = 90_000
"""After this another may probe: whoever took the last one has died. Longer than any call of a provider takes."""

TOLD = 10
"""Successes that a process keeps to itself while it knows of failures in the window."""

LOOK_MS = 60_000
"""How often a process looks whether the secret of a provider that refuses us is another one."""

LEAST_WAIT_MS, MOST_WAIT_MS = 60_000, 240_000
"""When a job looks again at a provider that refuses us: after an eighth of the time since it does, within these."""

THROTTLE_MS, MOST_THROTTLE_MS = 1_000, 300_000
"""How long nobody asks a provider that throttles and does not say until when; twice as long each time in a row."""

MOST_ASKED_MS = 3_600_000
"""No provider's word is believed for longer: one call tries again then."""

RECEIVER = "receiver/"
"""Begins the names of circuits of receivers."""

KEPT_S = 86_400
REMEMBERED = 1_000
"""Circuits that a process remembers."""


class CircuitState(StrEnum):
    """What becomes of calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Circuit:
    """A provider's circuit as it stands at a moment (ms).

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
        self._looked: dict[str, int] = {}
        self._lock = threading.Lock()

    def look(self, names: Iterable[str]) -> None:
        """Read several circuits in one call, as far as they are not known."""
        stale = [name for name in names if self._is_stale(name)]
        if len(stale) < 2:  # noqa: PLR2004  one is read by `admit`
            return
        try:
            items = dynamodb.get_many(self._client, self._table, map(_key, stale), consistent=False)
        except (ClientError, BotoCoreError) as error:
            logger.warning("circuits cannot be read; going on as before", error=type(error).__name__)
            return
        found = {item["pk"]: item for item in items}
        for name in stale:
            self._remember(name, found.get(_key(name)["pk"], {}))

    def admit(self, provider: str, secret: Callable[[], str] | None = None) -> bool:
        """Ask whether a call may be made; its outcome is to be told to `succeeded`, `failed`, `throttled` or `refused`.

        Args:
            provider: which.
            secret: tells the version of the secret that a call would be made with.

        Returns:
            Whether the call is the probe of a half-open circuit.

        Raises:
            CircuitOpen: it may not. NotBefore: because the provider throttles.
        """
        item = self._item(provider)
        now = self._now()
        if not _is_open(item):
            if now < item.get("not_before", 0):
                raise NotBefore(_seconds(item["not_before"] - now), item["not_before"])
            return False
        changed = self._is_another_secret(provider, item, secret)
        if now < item["open_until"] and not changed:
            raise self._refusal(item, item["open_until"])
        try:
            taken = self._write(
                provider,
                "SET probe_until = :until",
                f"#state = :open AND {'#secret = :was' if changed else 'open_until <= :now'} "
                "AND (attribute_not_exists(probe_until) OR probe_until <= :now)",
                until=now + PROBE_MS,
                open=CircuitState.OPEN.value,
                now=now,
                **({"was": item["secret"]} if changed else {}),
            )
        except ConditionFailed as failed:
            stood = self._remember(provider, failed.item or {})
            if not _is_open(stood):
                return False
            raise self._refusal(stood, max(stood["open_until"], stood.get("probe_until", now))) from failed
        self._remember(provider, taken)
        return True

    def succeeded(self, provider: str, *, probe: bool) -> None:
        """The provider answered, whatever it said."""
        if probe:
            self._close(provider)
            return
        known = self._known.get(provider, (0, {}))[1]
        if known.get("in_a_row"):
            self._forget(provider, "SET in_a_row = :none REMOVE row_since", "in_a_row > :none")
        if known.get("throttles") and known.get("not_before", 0) <= self._now():
            self._forget(provider, "SET throttles = :none", "throttles > :none AND not_before <= :now", now=self._now())
        with self._lock:
            self._untold[provider] += 1
            untold = self._untold[provider]
        if untold >= TOLD and known.get("window") == self._window():
            self._count(provider, 0)

    def failed(self, provider: str, *, probe: bool) -> None:
        """The provider could not be reached, or could not do its work."""
        if probe:
            self._reopen(provider)
            return
        stands = self._count(provider, 1)
        if not _is_open(stands) and _trips(stands):
            self._open(provider, stands)

    def throttled(self, provider: str, asked: float | None, *, probe: bool) -> float:
        """The provider takes no more for the moment; `asked`: seconds, as far as it said.

        Returns:
            Seconds for which nobody asks it.
        """
        if probe:
            self._close(provider)
        item, now = self._item(provider), self._now()
        stands = item.get("not_before", 0)
        asked_ms = round(min(asked or 0, MOST_ASKED_MS / 1000) * 1000)
        if stands > now and now + asked_ms <= stands + THROTTLE_MS:
            return _seconds(stands - now)  # another call has met the same throttle
        number = item.get("throttles", 0) + (stands <= now)
        until = now + max(asked_ms, min(THROTTLE_MS * 2 ** min(number - 1, 40), MOST_THROTTLE_MS))
        try:
            written = self._write(
                provider,
                "SET not_before = :until, throttles = :number, expires_at = :expires",
                "attribute_not_exists(not_before) OR not_before < :until",
                until=until,
                number=number,
                expires=self._expires(),
            )
        except ConditionFailed as failed:
            stood = self._remember(provider, failed.item or {})
            return _seconds(max(stood.get("not_before", 0), until) - now)
        self._remember(provider, written)
        if number > 1 or until - now >= LOOK_MS:
            _note(LogLevel.WARNING, "provider.throttles", f"{provider} throttles until {iso(until)}", provider=provider)
        return _seconds(until - now)

    def refused(self, provider: str, reason: str, secret: str, *, probe: bool) -> float:
        """The provider refuses the installation, called with this version of its secret.

        Returns:
            Seconds until it is worth another look.
        """
        now = self._now()
        if probe:
            period = self._reopen(provider, reason=reason, secret=secret)
            return _seconds(min(period, MOST_WAIT_MS))
        try:
            opened = self._write(
                provider,
                "SET #state = :open, opened_at = :now, open_until = :until, openings = :one, #reason = :reason, "
                "#secret = :secret, expires_at = :expires REMOVE probe_until",
                "attribute_not_exists(#state) OR attribute_not_exists(#reason)",
                open=CircuitState.OPEN.value,
                now=now,
                until=now + OPEN_MS,
                one=1,
                reason=reason,
                secret=secret,
                expires=self._expires(),
            )
        except ConditionFailed as failed:
            self._remember(provider, failed.item or {})
            return _seconds(LEAST_WAIT_MS)
        self._remember(provider, opened)
        self._looked[provider] = now
        count("ProvidersClosed")
        _note(
            LogLevel.ERROR,
            "provider.closed",
            f"{provider} is closed: {reason}. Its jobs wait until the secret changes or a probe passes",
            provider=provider,
            reason=reason,
        )
        return _seconds(OPEN_MS)

    def read(self, providers: Iterable[str]) -> list[Circuit]:
        """The circuits of these providers as they stand, in one call."""
        now = self._now()
        names = list(providers)
        found = {item["pk"]: item for item in dynamodb.get_many(self._client, self._table, map(_key, names))}
        return [_circuit(name, found.get(_key(name)["pk"], {}), now, self._window()) for name in names]

    def _item(self, provider: str) -> Item:
        """What is known of a circuit; while it cannot be read, what was known before, at first that it is closed."""
        item = self._known.get(provider, (0, {}))[1]
        if self._is_stale(provider):
            try:
                item = dynamodb.get(self._client, self._table, _key(provider), consistent=False) or {}
            except (ClientError, BotoCoreError) as error:
                logger.warning("circuit cannot be read; going on as before", error=type(error).__name__)
            self._remember(provider, item)
        return item

    def _is_stale(self, provider: str) -> bool:
        asked_at = self._known.get(provider, (None,))[0]
        return asked_at is None or self._seconds() - asked_at >= CACHE_SECONDS

    def _remember(self, provider: str, item: Item) -> Item:
        with self._lock:
            self._known.pop(provider, None)
            self._known[provider] = (self._seconds(), item)
            if len(self._known) > REMEMBERED:
                forgotten = next(iter(self._known))
                for remembered in (self._known, self._untold, self._looked):
                    remembered.pop(forgotten, None)
        return item

    def _is_another_secret(self, provider: str, item: Item, secret: Callable[[], str] | None) -> bool:
        """Whether a provider that refused us would be called with another secret; asked once in `LOOK_MS`."""
        now = self._now()
        if secret is None or not item.get("secret") or now - self._looked.get(provider, 0) < LOOK_MS:
            return False
        self._looked[provider] = now
        try:
            return bool(secret() != item["secret"])
        except (ClientError, BotoCoreError, AppError) as error:
            logger.warning("secret cannot be compared", provider=provider, error=type(error).__name__)
            return False

    def _refusal(self, item: Item, until: int) -> CircuitOpen:
        now, reason = self._now(), item.get("reason", "")
        wait = until - now
        if reason:
            count("ProvidersClosed")
            wait = min(wait, max(LEAST_WAIT_MS, min((now - item["opened_at"]) // 8, MOST_WAIT_MS)))
        return CircuitOpen(_seconds(wait), until, reason)

    def _count(self, provider: str, failures: int) -> Item:
        """Add to the window what happened, with the successes that were kept back."""
        with self._lock:
            successes = self._untold.pop(provider, 0)
        values = {"failures": failures, "successes": successes, "window": self._window()}
        since = f"expires_at = :expires{', row_since = if_not_exists(row_since, :window)' if failures else ''}"
        going_on = f"SET {since} ADD failures :failures, successes :successes, in_a_row :failures"
        afresh = f"SET #window = :window, failures = :failures, successes = :successes, {since} ADD in_a_row :failures"
        for expression, condition in (
            (going_on, "#window = :window"),
            (afresh, "attribute_not_exists(#window) OR #window < :window"),
            (going_on, "#window >= :window"),  # others began it meanwhile, or their clocks are ahead
        ):
            try:
                written = self._write(provider, expression, condition, expires=self._expires(), **values)
            except ConditionFailed:
                continue
            return self._remember(provider, written)
        return {}

    def _forget(self, provider: str, expression: str, condition: str, **values: Any) -> None:
        """A call went well: what failed or throttled before is past."""
        try:
            changed = self._write(provider, expression, condition, none=0, **values)
        except ConditionFailed as failed:
            changed = failed.item or {}
        self._remember(provider, changed)

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
        count("ReceiversFailing" if provider.startswith(RECEIVER) else "CircuitsOpened")
        _note(
            LogLevel.ERROR,
            "circuit.opened",
            f"{provider} is failing: circuit open until {iso(now + OPEN_MS)}",
            provider=provider,
            failures=stands["failures"],
            successes=stands["successes"],
            in_a_row=stands["in_a_row"],
        )

    def _reopen(self, provider: str, **closed: str) -> int:
        """The probe failed: open for twice as long as the last time; for how long (ms)."""
        openings = min(self._known.get(provider, (0, {}))[1].get("openings", 1), 10)
        period: int = min(OPEN_MS * 2**openings, MOST_OPEN_MS)
        also = "".join(f", #{name} = :{name}" for name in closed)
        self._end_probe(
            provider,
            f"SET open_until = :until, expires_at = :expires{also} ADD openings :one REMOVE probe_until",
            until=self._now() + period,
            expires=self._expires(),
            one=1,
            **closed,
        )
        still = "still fails"
        if closed:
            count("ProvidersClosed")
            still = f"is still closed: {closed['reason']}"
        _note(
            LogLevel.WARNING,
            "circuit.probed",
            f"{provider} {still}; asked again in {period // 1000} s",
            provider=provider,
        )
        return period

    def _close(self, provider: str) -> None:
        gone = (
            "REMOVE #state, opened_at, open_until, openings, probe_until, #window, failures, successes, in_a_row, "
            "row_since, #reason, #secret"
        )
        if self._end_probe(provider, gone):
            _note(LogLevel.INFO, "circuit.closed", f"{provider} answers again", provider=provider)

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

    def _expires(self) -> int:
        return self._now() // 1000 + KEPT_S

    def _write(self, provider: str, expression: str, condition: str, **values: Any) -> Item:
        return dynamodb.update_if(self._client, self._table, _key(provider), expression, condition=condition, **values)


def _note(level: LogLevel, event: str, text: str, *, provider: str, **more: Any) -> None:
    """Tell operators, of what is their concern."""
    if provider.startswith(RECEIVER):
        logger.info(event, circuit=provider, **more)
    else:
        health_log.record(level, event, text, provider=provider, **more)


def _key(provider: str) -> Item:
    return {"pk": f"CIRCUIT#{provider}", "sk": "C"}


def _is_open(item: Item) -> bool:
    return bool(item.get("state") == CircuitState.OPEN)


def _trips(item: Item) -> bool:
    failures, successes = item.get("failures", 0), item.get("successes", 0)
    if failures >= LEAST_FAILURES and failures >= FAILURE_RATE * (failures + successes):
        return True
    return bool(item.get("in_a_row", 0) >= LEAST_FAILURES and item.get("row_since", 0) < item.get("window", 0))


def _seconds(millis: int) -> float:
    return max(1.0, millis / 1000)


def _circuit(provider: str, item: Item, now: int, window: int) -> Circuit:
    counted = item if item.get("window") == window else {}
    state = CircuitState.CLOSED
    if _is_open(item):
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


@lru_cache(maxsize=1)
def from_env() -> Circuits:
    """The circuits as this process knows them."""
    return Circuits(aws.dynamodb(), settings().system_table)
