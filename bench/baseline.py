"""The usual way to hand out a limited stock, to compare with.

One item a session, an index of those that are free; for each bot in turn: query the index, claim session by session
with a conditional update, then update the bot. Written to be as cheap as this way can be: the index is sparse and holds
keys only (a claimed session leaves it, for one unit), the client and its settings are the same, items are kept in
DynamoDB's own form, and the list of waiting bots is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from bench.pools import write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Baseline:
    """A table of sessions and bots, and an allocator for it."""

    def __init__(self, client: DynamoDBClient) -> None:
        self.client = client
        self.table = "Baseline"
        client.create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "available")],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "free_sessions",
                    "KeySchema": [
                        {"AttributeName": "available", "KeyType": "HASH"},
                        {"AttributeName": "pk", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )

    def fill(self, pool: str, sizes: Sequence[int]) -> None:
        """Bots of these sizes, and as many sessions as they need."""
        sessions = ({"pk": f"SESSION#{pool}-{n:08d}", "available": pool, "secret": "{}"} for n in range(sum(sizes)))
        bots = (
            {"pk": f"ADBOT#{pool}-{n:06d}", "status": "QUEUED", "required": size, "user_id": "u" * 36}
            for n, size in enumerate(sizes)
        )
        write(self.client, self.table, [*sessions, *bots])

    def allocate(self, pool: str, sizes: Sequence[int]) -> int:
        """Serve the bots in order; how many sessions were given."""
        return sum(self._serve(pool, f"ADBOT#{pool}-{number:06d}", size) for number, size in enumerate(sizes))

    def _serve(self, pool: str, adbot: str, required: int) -> int:
        claimed: list[str] = []
        while len(claimed) < required:
            free = self.client.query(
                TableName=self.table,
                IndexName="free_sessions",
                KeyConditionExpression="available = :pool",
                ExpressionAttributeValues={":pool": {"S": pool}},
                Limit=required - len(claimed),
            )["Items"]
            if not free:
                break
            claimed += [item["pk"]["S"] for item in free if self._claim(item["pk"], adbot)]
        self.client.update_item(
            TableName=self.table,
            Key={"pk": {"S": adbot}},
            UpdateExpression="SET #status = :status, holds = :sessions, assigned = :assigned",
            ConditionExpression="#status = :queued",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={
                ":status": {"S": "READY" if len(claimed) == required else "QUEUED"},
                ":queued": {"S": "QUEUED"},
                ":sessions": {"L": [{"S": name} for name in claimed]},
                ":assigned": {"N": str(len(claimed))},
            },
        )
        return len(claimed)

    def _claim(self, session: Any, adbot: str) -> bool:
        try:
            self.client.update_item(
                TableName=self.table,
                Key={"pk": session},
                UpdateExpression="SET adbot = :adbot REMOVE available",
                ConditionExpression="attribute_exists(available)",
                ExpressionAttributeValues={":adbot": {"S": adbot}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True
