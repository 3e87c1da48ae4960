"""When each pool was last audited to a verdict.

In the System table:

VERDICTS   <pool>   of the last conclusive audit: when, how many findings
"""

from __future__ import annotations

from collections.abc import Mapping

from adbot_queue.core import attribute_values, dynamodb
from adbot_queue.core.dynamodb import Table

DUE_MS = 26 * 3_600_000
"""Age at which a verdict is missed: pools are audited once a day, which takes up to a quarter of an hour."""


class Verdicts(Table):
    """The last verdict of each pool."""

    def keep(self, pool: str, findings: int) -> None:
        """Record a verdict."""
        item = {"pk": "VERDICTS", "sk": pool, "at": self.now(), "findings": findings}
        self.client.put_item(TableName=self.table, Item=attribute_values.encode(item))

    def missing(self, pools: Mapping[str, int]) -> list[str]:
        """Return the pools without a verdict for `DUE_MS`.

        Args:
            pools: name -> when the pool was made, in milliseconds; 0: long ago.
        """
        found = dynamodb.query(self.client, self.table, "pk = :pk", pk="VERDICTS")
        last = {item["sk"]: item["at"] for item in found if isinstance(item.get("at"), int)}
        due = self.now() - DUE_MS
        return sorted(pool for pool, made in pools.items() if last.get(pool, made) <= due)
