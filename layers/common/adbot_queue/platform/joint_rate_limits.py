"""One token out of each of several buckets, or out of none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.settings import settings
from adbot_queue.platform.rate import Rate
from adbot_queue.platform.rate_limits import SECOND, RateLimiter, RateLimitResult, expires, taken


class JointRateLimiter(RateLimiter):
    """Takes tokens out of several buckets together."""

    def acquire_all(self, wanted: Mapping[str, Rate]) -> dict[str, RateLimitResult]:
        """Take one token out of each of these buckets, or out of none of them.

        All are read, decided about, and written in one transaction that refuses when one of them has moved meanwhile.

        Returns:
            The buckets that have no token; empty when all tokens are taken.

        Raises:
            Unavailable: others were faster each time.
        """
        keys = {name: {"pk": f"LIMIT#{name}", "sk": "L"} for name in wanted}

        def attempt() -> dict[str, RateLimitResult]:
            now = self._now() * 1000
            items = dynamodb.get_many(self._client, self._table, keys.values())
            found = {item["pk"].partition("#")[2]: item["tat"] for item in items}
            refused: dict[str, RateLimitResult] = {}
            transaction = Transaction(self._client)
            for name, rate in wanted.items():
                interval = math.ceil(SECOND / rate.per_second)
                seen = found.get(name, 0)
                tat = max(seen, now) + interval
                if tat > now + rate.burst * interval:
                    refused[name] = taken(rate, interval, interval, now, seen, allowed=False)
                transaction.update(
                    name,
                    self._table,
                    keys[name],
                    "SET tat = :tat, expires_at = :expires",
                    condition="tat = :seen" if name in found else "attribute_not_exists(pk)",
                    **({"seen": seen} if name in found else {}),
                    tat=tat,
                    expires=expires(tat),
                )
            if not refused:
                transaction.commit()
            return refused

        return retry_on_conflict(attempt, CHANGED)


@lru_cache(maxsize=1)
def from_env() -> JointRateLimiter:
    """The limits of this process."""
    return JointRateLimiter(aws.dynamodb(), settings().system_table)
