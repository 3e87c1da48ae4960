"""Circuit breakers: what all workers together know of a provider, so that not each job has to find it out by itself.

    CIRCUIT#<name>   C   window, failures, successes; in_a_row, row_since: failures since the last success
                         not_before, throttles: while the provider throttles
                         state, opened_at, open_until, openings, probe_until: while it is open; reason, secret: because
                         the provider refuses the installation, and by which version of its secret

`circuit` says when it opens. It opens at once with a `reason` when the provider refuses the installation (revoked key,
used-up quota, suspended account); then it is half-open as soon as the secret is another one, too.

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
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item
from adbot_queue.core.errors import AppError
from adbot_queue.core.last_known import LastKnown
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.platform import health_log
from adbot_queue.platform.circuit import (
    MAX_WAIT_MS,
    MIN_WAIT_MS,
    OPEN_MS,
    PROBE_MS,
    WINDOW_MS,
    Circuit,
    CircuitOpen,
    CircuitState,
    NotBefore,
    circuit_of,
    is_open,
    reopened_ms,
    seconds,
    throttle,
    trips,
    wait_ms,
)
from adbot_queue.platform.health_log import LogLevel

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REPORT_EVERY = 10
"""Successes that a process keeps to itself while it knows of failures in the window."""

LOOK_MS = 60_000
"""How often a process looks whether the secret of a provider that refuses us is another one."""

RECEIVER = "receiver/"
"""Begins the names of circuits of receivers."""

TTL_S = 86_400
REMEMBERED = 1_000
"""Circuits that a process remembers."""


class CircuitBreaker:
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
        self._circuits: dict[str, LastKnown[Item]] = {}
        self._unreported: Counter[str] = Counter()
        self._looked: dict[str, int] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def look(self, names: Iterable[str]) -> None:
        """Read several circuits in one call, as far as they are not known."""
        stale = [name for name in names if self._known(name).is_stale]
        if len(stale) < 2:  # noqa: PLR2004  one is read by `acquire`
            return
        try:
            items = dynamodb.get_many(self._client, self._table, map(key_of, stale), consistent=False)
        except (ClientError, BotoCoreError) as error:
            logger.warning("circuits cannot be read; going on as before", error=type(error).__name__)
            return
        found = {item["pk"]: item for item in items}
        for name in stale:
            self._known(name).set(found.get(key_of(name)["pk"], {}))

    def acquire(self, provider: str, secret: Callable[[], str] | None = None) -> bool:
        """Return whether a call is the probe of a half-open circuit; raise if it may not be made.

        Report its outcome to `succeeded`, `failed`, `throttled` or `refused`.

        Args:
            provider: which.
            secret: returns the version of the secret that the call would use.

        Raises:
            CircuitOpen: the circuit is open. NotBefore: the provider throttles.
        """
        item = self._known(provider).get()
        now = self._now()
        if not is_open(item):
            if now < item.get("not_before", 0):
                raise NotBefore(seconds(item["not_before"] - now), item["not_before"])
            return False
        changed = self._is_another_secret(provider, item, secret)
        if now < item["open_until"] and not changed:
            raise self._refusal(item, item["open_until"])
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
        state = self._known(provider).value
        if not taken and is_open(state):
            raise self._refusal(state, max(state["open_until"], state.get("probe_until", now)))
        return taken

    def succeeded(self, provider: str, *, probe: bool) -> None:
        """The provider answered, whatever it said."""
        if probe:
            self._close(provider)
            return
        known = self._known(provider).value
        if known.get("in_a_row"):
            self._write(provider, "SET in_a_row = :none REMOVE row_since", "in_a_row > :none", none=0)
        now = self._now()
        if known.get("throttles") and known.get("not_before", 0) <= now:
            over = "throttles > :none AND not_before <= :now"
            self._write(provider, "SET throttles = :none", over, none=0, now=now)
        with self._lock:
            self._unreported[provider] += 1
            unreported = self._unreported[provider]
        if unreported >= REPORT_EVERY and known.get("window") == self._window():
            self._count(provider, 0)

    def failed(self, provider: str, *, probe: bool) -> None:
        """The provider could not be reached, or could not do its work."""
        if probe:
            self._reopen(provider)
            return
        state = self._count(provider, 1)
        if not is_open(state) and trips(state):
            self._open(provider, state)

    def throttled(self, provider: str, asked: float | None, *, probe: bool) -> float:
        """Record a throttle; `asked`: seconds, if the provider said so.

        Returns:
            Seconds for which no call is made.
        """
        if probe:
            self._close(provider)
        item, now = self._known(provider).get(), self._now()
        decided = throttle(item, asked, now)
        if decided is None:
            return seconds(item["not_before"] - now)
        until, number = decided
        written = self._write(
            provider,
            "SET not_before = :until, throttles = :number, expires_at = :expires",
            "attribute_not_exists(not_before) OR not_before < :until",
            until=until,
            number=number,
            expires=self._expires(),
        )
        if not written:
            return seconds(max(self._known(provider).value.get("not_before", 0), until) - now)
        if number > 1 or until - now >= LOOK_MS:
            _note(LogLevel.WARNING, "provider.throttles", f"{provider} throttles until {iso(until)}", provider=provider)
        return seconds(until - now)

    def refused(self, provider: str, reason: str, secret: str, *, probe: bool) -> float:
        """The provider refuses the installation, called with this version of its secret.

        Returns:
            Seconds until it is worth another look.
        """
        now = self._now()
        if probe:
            period = self._reopen(provider, reason=reason, secret=secret)
            return seconds(min(period, MAX_WAIT_MS))
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
        if not opened:
            return seconds(MIN_WAIT_MS)
        self._looked[provider] = now
        count("ProvidersClosed")
        _note(
            LogLevel.ERROR,
            "provider.closed",
            f"{provider} is closed: {reason}. Its jobs wait until the secret changes or a probe passes",
            provider=provider,
            reason=reason,
        )
        return seconds(OPEN_MS)

    def read(self, providers: Iterable[str]) -> list[Circuit]:
        """The circuits of these providers as they stand, in one call; workers write them, no person waits for them."""
        now = self._now()
        names = list(providers)
        rows = dynamodb.get_many(self._client, self._table, map(key_of, names), consistent=False)
        found = {item["pk"]: item for item in rows}
        return [circuit_of(name, found.get(key_of(name)["pk"], {}), now) for name in names]

    def _known(self, provider: str) -> LastKnown[Item]:
        """What is known of a circuit; the one that was asked for longest ago is forgotten when there are too many."""

        def read() -> Item:
            return dynamodb.get(self._client, self._table, key_of(provider), consistent=False) or {}

        with self._lock:
            known = self._circuits.pop(provider, None) or LastKnown("circuit", read, {}, self._seconds)
            self._circuits[provider] = known
            if len(self._circuits) > REMEMBERED:
                forgotten = next(iter(self._circuits))
                for remembered in (self._circuits, self._unreported, self._looked):
                    remembered.pop(forgotten, None)
        return known

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
        reason = item.get("reason", "")
        if reason:
            count("ProvidersClosed")
        return CircuitOpen(seconds(wait_ms(item, until, self._now())), until, reason)

    def _count(self, provider: str, failures: int) -> Item:
        """Add to the window what happened, with the successes that were kept back."""
        with self._lock:
            successes = self._unreported.pop(provider, 0)
        values = {"failures": failures, "successes": successes, "window": self._window(), "expires": self._expires()}
        since = f"expires_at = :expires{', row_since = if_not_exists(row_since, :window)' if failures else ''}"
        going_on = f"SET {since} ADD failures :failures, successes :successes, in_a_row :failures"
        afresh = f"SET #window = :window, failures = :failures, successes = :successes, {since} ADD in_a_row :failures"
        for expression, condition in (
            (going_on, "#window = :window"),
            (afresh, "attribute_not_exists(#window) OR #window < :window"),
            (going_on, "#window >= :window"),  # others began it meanwhile, or their clocks are ahead
        ):
            if self._write(provider, expression, condition, **values):
                return self._known(provider).value
        return {}

    def _open(self, provider: str, state: Item) -> None:
        now = self._now()
        opened = self._write(
            provider,
            "SET #state = :open, opened_at = :now, open_until = :until, openings = :one REMOVE probe_until",
            "attribute_not_exists(#state)",
            open=CircuitState.OPEN.value,
            now=now,
            until=now + OPEN_MS,
            one=1,
        )
        if not opened:
            return
        count("ReceiversFailing" if provider.startswith(RECEIVER) else "CircuitsOpened")
        _note(
            LogLevel.ERROR,
            "circuit.opened",
            f"{provider} is failing: circuit open until {iso(now + OPEN_MS)}",
            provider=provider,
            failures=state["failures"],
            successes=state["successes"],
            in_a_row=state["in_a_row"],
        )

    def _reopen(self, provider: str, **closed: str) -> int:
        """The probe failed: open for twice as long as the last time; for how long (ms)."""
        period = reopened_ms(self._known(provider).value.get("openings", 1))
        also = "".join(f", #{name} = :{name}" for name in closed)
        self._write(
            provider,
            f"SET open_until = :until, expires_at = :expires{also} ADD openings :one REMOVE probe_until",
            "#state = :open",
            open=CircuitState.OPEN.value,
            until=self._now() + period,
            expires=self._expires(),
            one=1,
            **closed,
        )
        still = "still fails"
        if closed:
            count("ProvidersClosed")
            still = f"is still closed: {closed['reason']}"
        text = f"{provider} {still}; asked again in {period // 1000} s"
        _note(LogLevel.WARNING, "circuit.probed", text, provider=provider)
        return period

    def _close(self, provider: str) -> None:
        gone = (
            "REMOVE #state, opened_at, open_until, openings, probe_until, #window, failures, successes, in_a_row, "
            "row_since, #reason, #secret"
        )
        if self._write(provider, gone, "#state = :open", open=CircuitState.OPEN.value):
            _note(LogLevel.INFO, "circuit.closed", f"{provider} answers again", provider=provider)

    def _window(self) -> int:
        return self._now() // WINDOW_MS

    def _expires(self) -> int:
        return self._now() // 1000 + TTL_S

    def _write(self, provider: str, expression: str, condition: str, **values: Any) -> bool:
        """Change the row unless its state is another; cache the row as it is afterwards in both cases.

        One after the other: a thread that is late must not put an older row over a newer one.
        """
        key = key_of(provider)
        with self._writing:
            try:
                state = dynamodb.update_if(self._client, self._table, key, expression, condition=condition, **values)
            except ConditionFailed as failed:
                self._known(provider).set(failed.item or {})
                return False
            self._known(provider).set(state)
        return True


def _note(level: LogLevel, event: str, text: str, *, provider: str, **more: Any) -> None:
    """Tell operators, of what is their concern."""
    if provider.startswith(RECEIVER):
        logger.info(event, circuit=provider, **more)
    else:
        health_log.record(level, event, text, provider=provider, **more)


def key_of(provider: str) -> Item:
    """Return the key of a circuit's row."""
    return {"pk": f"CIRCUIT#{provider}", "sk": "C"}


@lru_cache(maxsize=1)
def from_env() -> CircuitBreaker:
    """The circuits as this process knows them."""
    return CircuitBreaker(aws.dynamodb(), settings().system_table)
