"""When a schedule ticks, and which of its ticks become jobs. Pure.

Expressions are those of EventBridge Scheduler. When clocks change:

- A fixed wall-clock time that does not exist does not run that day. One that comes twice runs once, the first time.
- An interval-like cron (`Cron.is_interval`: every hour, every n minutes) runs in real time: both times that come twice.
- `rate(1 day)` is always 24 hours.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import islice, takewhile
from zoneinfo import ZoneInfoNotFoundError

from adbot_queue.core import zones
from adbot_queue.schedules.advice import problem_with
from adbot_queue.schedules.cron import LAST_YEAR, BadExpression, Cron

MINUTE_MS = 60_000

ON_TIME_MS = 300_000
"""A tick that is decided no later than this is on time: a few runs of the sweeper may fail."""

LOOKAHEAD_MS = 120_000
"""How long before its time a tick becomes a delayed job: two runs of the sweeper."""

MAX_CAUGHT_UP = 100
"""Missed ticks that the policy `all` runs: the latest ones, oldest first."""

MAX_COUNTED = 1000
"""Ticks that are counted after a long outage; above that the count is a lower bound."""


_UNITS = {"minute": MINUTE_MS, "hour": 60 * MINUTE_MS, "day": 24 * 60 * MINUTE_MS}
_MAX_MS = 3650 * _UNITS["day"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadZone(ValueError):
    """The name of a time zone is unknown."""


class MissedPolicy(StrEnum):
    """Which missed ticks run: the sweeper was down for longer than `ON_TIME_MS`."""

    SKIP = "skip"  # none
    ONCE = "once"  # the latest
    ALL = "all"  # each, up to MAX_CAUGHT_UP


def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name, with the rules of the pinned `tzdata`.

    Raises:
        BadZone: the name is unknown.
    """
    try:
        return zones.zone(name)
    except ZoneInfoNotFoundError as error:
        raise BadZone(f"{name!r} is not an IANA time zone") from error


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The ticks of an expression. Times are milliseconds since 1970.

    Attributes:
        text: the expression, tidied.
        start: no tick before; None: none.
        end: no tick after.
    """

    text: str
    tz: tzinfo
    start: int | None
    end: int | None
    anchor: int
    cron: Cron | None = None
    interval: int | None = None
    moment: int | None = None

    @classmethod
    def parse(cls, expression: str, timezone: str, start: int | None, end: int | None, anchor: int) -> Recurrence:
        """Read an expression.

        Args:
            expression: `cron(...)`, `rate(...)` or `at(...)`.
            timezone: IANA name.
            start: first moment, inclusive.
            end: last moment, inclusive.
            anchor: a rate without a start ticks first one interval after this, on a full minute.

        Raises:
            BadExpression: the expression is none of the three.
            BadZone: no such time zone.
        """
        tz = zone(timezone)
        found = re.fullmatch(r"(cron|rate|at)\((.*)\)", expression.strip(), re.ASCII)
        if not found:
            raise BadExpression(problem_with(" ".join(expression.split())))
        kind, inner = found[1], " ".join(found[2].split())
        text = f"{kind}({inner})"
        match kind:
            case "cron":
                return cls(text, tz, start, end, anchor, cron=Cron.parse(inner))
            case "rate":
                return cls(text, tz, start, end, anchor, interval=_interval(inner))
        return cls(text, tz, start, end, anchor, moment=_moment(inner, tz))

    def after(self, moment: int) -> Iterator[int]:
        """Ticks later than this, in order."""
        floor = moment if self.start is None else max(moment, self.start - 1)
        ticks = (tick for tick in self._forward(floor) if tick > floor)
        return takewhile(lambda tick: self.end is None or tick <= self.end, ticks)

    def next(self, moment: int) -> int | None:
        """The first tick later than this."""
        return next(self.after(moment), None)

    def until(self, moment: int, after: int) -> Iterator[int]:
        """Ticks from this moment back to (and without) `after`, latest first."""
        ceiling = moment if self.end is None else min(moment, self.end)
        floor = after if self.start is None else max(after, self.start - 1)
        ticks = (tick for tick in self._backward(ceiling) if tick <= ceiling)
        return takewhile(lambda tick: tick > floor, ticks)

    def skipped(self, after: int, until: int) -> list[datetime]:
        """Wall-clock times between two moments at which it does not tick, because clocks go forward over them."""
        if not self.cron or self.cron.is_interval:
            return []
        first, last = self._local(after), self._local(until)
        times = takewhile(lambda wall: wall <= last, self.cron.forward(first.date()))
        return [wall for wall in times if wall > first and not self._moments(wall)]

    def _forward(self, floor: int) -> Iterator[int]:
        if self.cron:
            # A wall clock is never more than a day away from another one.
            day = (self._local(floor) - timedelta(days=1)).date()
            yield from _merged(map(self._moments, self.cron.forward(day)), lambda one, other: one < other)
        elif self.interval:
            tick = self._first + max(0, (floor - self._first) // self.interval) * self.interval
            last = _millis(datetime(LAST_YEAR, 12, 31, tzinfo=UTC))
            yield from range(tick, last, self.interval)
        elif self.moment is not None:
            yield self.moment

    def _backward(self, ceiling: int) -> Iterator[int]:
        if self.cron:
            day = (self._local(ceiling) + timedelta(days=1)).date()
            moments = (found[::-1] for found in map(self._moments, self.cron.backward(day)))
            yield from _merged(moments, lambda one, other: one > other)
        elif self.interval:
            steps = (ceiling - self._first) // self.interval
            yield from range(self._first + steps * self.interval, self._first - 1, -self.interval)
        elif self.moment is not None:
            yield self.moment

    @property
    def _first(self) -> int:
        """A rate's first tick."""
        if self.start is not None:
            return self.start
        return -(-self.anchor // MINUTE_MS) * MINUTE_MS + (self.interval or 0)

    def _local(self, moment: int) -> datetime:
        """The wall clock at a moment, kept so far from the calendar's ends that a day can be added."""
        bounded = min(max(moment, 0), _millis(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)))
        return (_EPOCH + timedelta(milliseconds=bounded)).astimezone(self.tz).replace(tzinfo=None)

    def _moments(self, wall: datetime) -> tuple[int, ...]:
        """Return the moments of a wall-clock time at which it ticks, in order: none, one, or both of an interval."""
        folds = (0, 1) if self.cron and self.cron.is_interval else (0,)
        found = {moment for fold in folds if (moment := _instant(wall, self.tz, fold)) is not None}
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the ticks between two checks.

    Attributes:
        runs: ticks that become jobs, oldest first.
        caught_up: those among them that were missed.
        missed: how many were missed, whether they run or not, as far as they were counted.
        skipped: how many of these do not run.
        first_skipped: the oldest of these; last_skipped: the latest.
        more: more were missed than were counted.
        decided_until: the ticks up to here are decided.
    """

    runs: tuple[int, ...]
    caught_up: frozenset[int]
    missed: int
    skipped: int
    first_skipped: int | None
    last_skipped: int | None
    more: bool
    decided_until: int


def decide(recurrence: Recurrence, policy: MissedPolicy, decided_until: int, now: int) -> Decision:
    """Decide about the ticks after `decided_until`, those of the next `LOOKAHEAD_MS` included."""
    newest = list(islice(recurrence.until(now + LOOKAHEAD_MS, decided_until), MAX_COUNTED + 1))
    more = len(newest) > MAX_COUNTED
    due = newest[:MAX_COUNTED][::-1]
    missed = [tick for tick in due if tick <= now - ON_TIME_MS]
    on_time = due[len(missed) :]
    limit = {MissedPolicy.SKIP: 0, MissedPolicy.ONCE: 1, MissedPolicy.ALL: MAX_CAUGHT_UP}[policy]
    first_caught_up = max(0, len(missed) - limit)
    skipped, caught_up = missed[:first_caught_up], missed[first_caught_up:]
    return Decision(
        runs=(*caught_up, *on_time),
        caught_up=frozenset(caught_up),
        missed=len(missed),
        skipped=len(skipped),
        first_skipped=skipped[0] if skipped else None,
        last_skipped=skipped[-1] if skipped else None,
        more=more,
        decided_until=due[-1] if due else decided_until,
    )


def _merged(moments: Iterator[tuple[int, ...]], precedes: Callable[[int, int], bool]) -> Iterator[int]:
    """Yield the moments of successive wall-clock times in order.

    Wall-clock times that come twice all come for the first time before any comes again.
    """
    later: deque[int] = deque()
    for found in moments:
        if not found:
            continue
        while later and precedes(later[0], found[0]):
            yield later.popleft()
        yield found[0]
        later.extend(found[1:])
    yield from later


def _interval(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9}) (minute|hour|day)s?", text, re.ASCII)
    if not found or int(found[1]) == 0:
        raise BadExpression(f"rate: {text!r} is not a positive number of minutes, hours or days, like rate(5 minutes)")
    interval = int(found[1]) * _UNITS[found[2]]
    if interval > _MAX_MS:
        raise BadExpression(f"rate: {text!r} is longer than ten years")
    return interval


def _moment(text: str, tz: tzinfo) -> int:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text, re.ASCII):
        raise BadExpression(
            f"at: {text!r} is not a date and time without an offset like 2026-12-31T23:00:00; timezone names the zone"
        )
    try:
        wall = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadExpression(f"at: {text} does not exist") from error
    if not 1970 <= wall.year <= LAST_YEAR:  # noqa: PLR2004
        raise BadExpression(f"at: the year must be within 1970 to {LAST_YEAR}")
    moment = _instant(wall, tz)
    if moment is None:
        raise BadExpression(f"at: {text} does not exist in this time zone (clocks go forward over it)")
    return moment


def _instant(wall: datetime, tz: tzinfo, fold: int = 0) -> int | None:
    """Return the first (or, with `fold` 1, the second) moment of a wall-clock time; None if it does not exist."""
    moment = wall.replace(tzinfo=tz, fold=fold).astimezone(UTC)
    if moment.astimezone(tz).replace(tzinfo=None) != wall:
        return None
    return _millis(moment)


def _millis(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
