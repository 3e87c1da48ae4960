"""When a schedule ticks, and what becomes of ticks that nobody delivered. Pure.

Expressions are those of EventBridge Scheduler. In time zones with summer time a wall-clock time that does not exist is
skipped, and one that comes twice ticks once, the first time. `rate(1 day)` is 24 hours, always.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import islice, takewhile
from zoneinfo import ZoneInfoNotFoundError

from adbot_queue.core import zones
from adbot_queue.jobs.cron import LAST_YEAR, BadExpression, Cron
from adbot_queue.jobs.cron_dialects import nickname

MINUTE_MS = 60_000

ON_TIME_MS = 300_000
"""A tick that is noticed within this is on time: EventBridge Scheduler has a minute to deliver, and retries."""

MOST_MADE_UP = 100
"""Missed ticks that the policy `all` makes up for, the latest ones, oldest first."""

MOST_COUNTED = 1000
"""Ticks that are looked at after a long silence; more are known only to be more."""

_UNITS = {"minute": MINUTE_MS, "hour": 60 * MINUTE_MS, "day": 24 * 60 * MINUTE_MS}
_LONGEST_MS = 3650 * _UNITS["day"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadZone(ValueError):
    """There is no such time zone."""


class MissedPolicy(StrEnum):
    """What becomes of ticks that were missed: the scheduler was down, the function was dead."""

    SKIP = "skip"  # nothing
    ONCE = "once"  # the latest runs
    ALL = "all"  # each runs, up to MOST_MADE_UP


def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name, with the rules of the pinned `tzdata`.

    Raises:
        BadZone: there is none.
    """
    try:
        return zones.zone(name)
    except ZoneInfoNotFoundError as error:
        raise BadZone(f"{name!r} is not an IANA time zone") from error


@dataclass(frozen=True, slots=True)
class Plan:
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
    def parse(cls, expression: str, timezone: str, start: int | None, end: int | None, anchor: int) -> Plan:
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
            raise BadExpression(_unwrapped(" ".join(expression.split())))
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

    def _forward(self, floor: int) -> Iterator[int]:
        if self.cron:
            # A wall clock is never more than a day away from another one.
            day = (self._local(floor) - timedelta(days=1)).date()
            yield from filter(None, map(self._instant, self.cron.forward(day)))
        elif self.interval:
            tick = self._first + max(0, (floor - self._first) // self.interval) * self.interval
            last = _millis(datetime(LAST_YEAR, 12, 31, tzinfo=UTC))
            yield from range(tick, last, self.interval)
        elif self.moment is not None:
            yield self.moment

    def _backward(self, ceiling: int) -> Iterator[int]:
        if self.cron:
            day = (self._local(ceiling) + timedelta(days=1)).date()
            yield from filter(None, map(self._instant, self.cron.backward(day)))
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

    def _instant(self, wall: datetime) -> int | None:
        """The moment of a wall-clock time: the first when it comes twice, None when it does not come."""
        return _instant(wall, self.tz)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about the ticks since the last look.

    Attributes:
        runs: each of these becomes a job, oldest first.
        made_up: those among them that were missed.
        skipped: missed ticks that nobody makes up for, as far as they were counted.
        first_skipped: the oldest of these; last_skipped: the latest.
        more: there were more than were counted.
        seen: the ticks up to here are decided.
    """

    runs: tuple[int, ...]
    made_up: frozenset[int]
    skipped: int
    first_skipped: int | None
    last_skipped: int | None
    more: bool
    seen: int


def decide(plan: Plan, policy: MissedPolicy, seen: int, now: int, delivered: int | None = None) -> Decision:
    """Look at the ticks after `seen`.

    EventBridge Scheduler is the bell, the plan is the clock: whatever rings, what ran since is told by the plan. So a
    tick that is delivered twice, late or off a rate's grid makes no second job, and one that is not delivered is seen
    by whoever looks next. Only a tick of a cron or a one-time schedule that the plan does not know is believed as it
    comes: better a run that the plan did not foresee than none.

    Args:
        plan: the schedule's.
        policy: about ticks that come to notice too late.
        seen: up to here everything is decided.
        now: the time.
        delivered: the tick that EventBridge Scheduler says it is delivering, None when it does not say.
    """
    if delivered is not None:
        # What it says is good to the minute.
        delivered = next(plan.until(delivered + MINUTE_MS - 1, delivered - MINUTE_MS), delivered)
    # Clocks differ: a tick may come a little before its time.
    horizon = delivered if delivered is not None and now < delivered <= now + MINUTE_MS else now
    newest = list(islice(plan.until(horizon, seen), MOST_COUNTED + 1))
    more = len(newest) > MOST_COUNTED
    due = newest[MOST_COUNTED - 1 :: -1] if more else newest[::-1]
    if delivered is not None and plan.interval is None and seen < delivered <= horizon and delivered not in due:
        due = sorted([*due, delivered])
    on_time = [tick for tick in due if tick > now - ON_TIME_MS or tick == delivered]
    missed = [tick for tick in due if tick <= now - ON_TIME_MS and tick != delivered]
    most = {MissedPolicy.SKIP: 0, MissedPolicy.ONCE: 1, MissedPolicy.ALL: MOST_MADE_UP}[policy]
    made_up_from = max(0, len(missed) - most)
    left, made_up = missed[:made_up_from], missed[made_up_from:]
    return Decision(
        runs=tuple(sorted(made_up + on_time)),
        made_up=frozenset(made_up),
        skipped=len(left),
        first_skipped=left[0] if left else None,
        last_skipped=left[-1] if left else None,
        more=more,
        seen=max([seen, *due]),
    )


def _unwrapped(text: str) -> str:
    """What is wrong with a text that is not `cron(...)`, `rate(...)` or `at(...)`."""
    if written := nickname(text):
        return f"{text!r} is not supported: write {written}"
    parts = text.split()
    if parts and "=" in parts[0]:
        return f"{parts[0]!r} is not part of an expression: the field timezone names the zone"
    if not 5 <= len(parts) <= 7:  # noqa: PLR2004  fields of a cron of any dialect
        return "must be cron(...), rate(...) or at(...)"
    try:
        Cron.parse(text)
    except BadExpression as error:
        return str(error)
    return f"cron fields stand in parentheses: cron({text})"


def _interval(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9}) (minute|hour|day)s?", text, re.ASCII)
    if not found or int(found[1]) == 0:
        raise BadExpression(f"rate: {text!r} is not a positive number of minutes, hours or days, like rate(5 minutes)")
    interval = int(found[1]) * _UNITS[found[2]]
    if interval > _LONGEST_MS:
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


def _instant(wall: datetime, tz: tzinfo) -> int | None:
    moment = wall.replace(tzinfo=tz, fold=0).astimezone(UTC)
    if moment.astimezone(tz).replace(tzinfo=None) != wall:
        return None
    return _millis(moment)


def _millis(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
