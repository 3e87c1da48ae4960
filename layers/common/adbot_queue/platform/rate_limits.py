"""Rate limits: token buckets in DynamoDB, as GCRA (generic cell rate algorithm): one number per bucket.

    LIMIT#<name>   L   tat: theoretical arrival time: when the bucket is full again, in microseconds

Every token moves it by one interval (1/rate); tokens are granted if `tat` then is at most the whole bucket ahead. It
never grants too many, whatever the clocks say: `tat` only grows, by at least an interval per token; the first token
puts it past its caller's clock reading `a`, the last may put it at most `burst` intervals past its caller's reading
`b`. So at most `burst + rate * (b - a)` tokens were granted in between.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item, TransactionConflict
from adbot_queue.core.settings import settings
from adbot_queue.platform.rate import Rate

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SECOND = 1_000_000
"""Microseconds."""

TTL_S = 3_600
"""How long a full bucket's item stays: longer than any two clocks differ."""

MAX_TRIES = 5
"""Tries of a take; three at most are needed, unless the bucket's item is deleted meanwhile."""

REMEMBERED = 1_000
"""Buckets whose last `tat` a process caches."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RateLimitResult:
    """The outcome of `acquire`.

    Attributes:
        allowed: the tokens are granted; otherwise nothing has changed.
        limit: tokens in a full bucket.
        remaining: tokens left.
        reset_s: seconds until it is full again, rounded up.
        retry_after_s: seconds until the same call would succeed, at least 1; 0 if it did.
        virtual_time_ms: now, or later for a caller ahead of its rate: when the first of these tokens would have been
            there for a caller that takes one at a time. For fair ranking.
        interval_us: microseconds between two tokens.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_after_s: int
    virtual_time_ms: int
    interval_us: int

    def virtual_time_of(self, index: int) -> int:
        """The virtual time of one of the tokens taken, counted from 0, in ms."""
        return self.virtual_time_ms + index * self.interval_us // 1000


class RateLimiter:
    """Takes tokens out of named buckets. One UpdateItem as a rule; a refused take writes nothing."""

    def __init__(self, client: DynamoDBClient, table: str, now: Clock = system_clock) -> None:
        self._client = client
        self._table = table
        self._now = now
        self._seen: OrderedDict[str, int] = OrderedDict()

    def acquire(self, name: str, rate: Rate, n: int = 1) -> RateLimitResult:
        """Take `n` tokens, all or none.

        Two writes cover every state: a full bucket starts from now, another goes on from its `tat`. The cached value
        decides which is tried first; a wrong guess fails its condition, which returns the item. However many callers
        compete, none loses more than one race.

        Raises:
            ValueError: `n` is not between 1 and a full bucket.
            TransactionConflict: the item disappeared and came back several times.
        """
        if not 1 <= n <= rate.burst:
            raise ValueError(f"{n} tokens of a bucket of {rate.burst}")
        interval = math.ceil(SECOND / rate.per_second)  # rounded up: never more than the rate
        cost, full = n * interval, rate.burst * interval
        seen = self._seen.get(name, 0)
        # Read once: `tat` only grows, so one that has been found past this moment stays there. Were the clock read for
        # each try, then takers whose tries take longer than an interval would find the bucket full and in use by turns.
        now = self._now() * 1000
        for _ in range(MAX_TRIES):
            try:
                tat = self._advance(name, cost, now, full) if seen > now else self._begin(name, cost, now)
            except ConditionFailed as failed:
                seen = failed.item["tat"] if failed.item else 0
                if seen > now and seen + cost > now + full:
                    return self._remember(name, seen, taken(rate, interval, cost, now, seen, allowed=False))
                continue
            return self._remember(name, tat, taken(rate, interval, cost, now, tat, allowed=True))
        raise TransactionConflict(f"limit {name}")

    def _begin(self, name: str, cost: int, now: int) -> int:
        """A full bucket: there is no item, or its time has passed."""
        return self._write(
            name,
            "SET tat = :tat, expires_at = :expires",
            "attribute_not_exists(pk) OR tat <= :now",
            tat=now + cost,
            expires=expires(now + cost),
            now=now,
        )

    def _advance(self, name: str, cost: int, now: int, full: int) -> int:
        """Advance a bucket in use. The update adds to `tat`, so that callers do not refuse each other."""
        return self._write(
            name,
            "SET tat = tat + :cost, expires_at = :expires",
            "tat > :now AND tat <= :most",
            cost=cost,
            expires=expires(now + full),
            now=now,
            most=now + full - cost,
        )

    def _write(self, name: str, expression: str, condition: str, **values: Any) -> int:
        key = {"pk": f"LIMIT#{name}", "sk": "L"}
        changed: Item = dynamodb.update_if(self._client, self._table, key, expression, condition=condition, **values)
        tat: int = changed["tat"]
        return tat

    def _remember(self, name: str, tat: int, taken: RateLimitResult) -> RateLimitResult:
        self._seen[name] = tat
        self._seen.move_to_end(name)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return taken


def expires(tat: int) -> int:
    """Return when a bucket's item may go, in seconds."""
    return tat // SECOND + TTL_S


def taken(rate: Rate, interval: int, cost: int, now: int, tat: int, *, allowed: bool) -> RateLimitResult:
    """Return the outcome for a bucket whose `tat` is this now."""
    full = rate.burst * interval
    before = tat - cost if allowed else tat
    return RateLimitResult(
        allowed,
        limit=rate.burst,
        remaining=min(rate.burst, max(0, (now + full - tat) // interval)),
        reset_s=max(0, math.ceil((tat - now) / SECOND)),
        retry_after_s=0 if allowed else max(1, math.ceil((tat + cost - full - now) / SECOND)),
        virtual_time_ms=max(before, now) // 1000,
        interval_us=interval,
    )


@lru_cache(maxsize=1)
def from_env() -> RateLimiter:
    """The limits of this process."""
    return RateLimiter(aws.dynamodb(), settings().system_table)
