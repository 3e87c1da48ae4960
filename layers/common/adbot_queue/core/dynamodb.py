"""DynamoDB with plain Python values, and transactions whose refusals have names.

Not a repository: access patterns live in each capability's store. Shared here: conditional writes, paging, and
`Transaction`, which reports the conditions that failed.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from adbot_queue.core import patience
from adbot_queue.core.attribute_values import decode, encode, to_wire
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.cursors import make_cursor, open_cursor
from adbot_queue.core.error_codes import CONTENTION
from adbot_queue.core.errors import Invalid

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]

TRANSACTION_LIMIT = 100
"""Items in one TransactWriteItems, AWS's limit."""

BATCH_GET_LIMIT = 100
"""Keys in one BatchGetItem, AWS's limit."""


class Table:
    """A table, and the clock of what is written to it: what a store is made of."""

    def __init__(self, client: DynamoDBClient, table: str, now: Clock = system_clock) -> None:
        self.client = client
        self.table = table
        self.now = now


class ConditionFailed(Exception):
    """A conditional write was refused. `item` is the row as it is, if DynamoDB returned it."""

    def __init__(self, item: Item | None = None) -> None:
        super().__init__("condition failed")
        self.item = item


class TransactionConflict(Exception):
    """Another transaction touched the same items at this moment, or DynamoDB throttled: try again."""


class TransactionRejected(Exception):
    """A transaction was refused as a whole.

    Attributes:
        failed: tag of each item whose condition failed -> the row as it is (None if it does not exist).
    """

    def __init__(self, failed: dict[str, Item | None]) -> None:
        super().__init__(f"conditions refused: {', '.join(failed)}")
        self.failed = failed


class ItemTwice(ValueError):
    """A transaction names one item twice, which DynamoDB refuses as invalid, whatever the conditions say.

    A mistake of the code that made the transaction, and never sent: DynamoDB Local would call it a failed condition.
    """


class Transaction:
    """All of it or none of it: up to 100 items, each under its own condition.

    Every item has a tag; when the transaction is refused, `TransactionRejected.failed` names the tags. Sending the same
    transaction twice by a network retry is safe: boto3 gives each call its own client request token.
    """

    def __init__(self, client: DynamoDBClient) -> None:
        self._client = client
        self._tags: list[str] = []
        self._items: list[Any] = []
        self._keys: set[tuple[Any, ...]] = set()

    def __len__(self) -> int:
        """How many items it has."""
        return len(self._items)

    def put(self, tag: str, table: str, item: Item, *, condition: str | None = None, **values: Any) -> Self:
        """Write a whole item. `values` fill `:name` places in the condition."""
        return self._add(tag, "Put", {"TableName": table, "Item": encode(item)}, condition, values)

    def create(self, tag: str, table: str, item: Item) -> Self:
        """Write an item that must not exist yet."""
        return self.put(tag, table, item, condition="attribute_not_exists(pk)")

    def update(self, tag: str, table: str, key: Item, expression: str, *, condition: str | None, **values: Any) -> Self:
        """Change an item under a condition (None: in any case). `#names` are attributes of that name, as `#status`."""
        body = {"TableName": table, "Key": encode(key), "UpdateExpression": expression}
        return self._add(tag, "Update", body, condition, values)

    def add(self, tag: str, table: str, key: Item, numbers: Mapping[str, int], **values: Any) -> Self:
        """Add to numbers of an item, creating it if needed; `values` are attributes to set in addition."""
        changes = {f"n{index}": number for index, number in enumerate(numbers.values())}
        adds = ", ".join(f"#{name} :n{index}" for index, name in enumerate(numbers))
        sets = ", ".join(f"#{name} = :{name}" for name in values)
        body = {
            "TableName": table,
            "Key": encode(key),
            "UpdateExpression": f"SET {sets} ADD {adds}" if sets else f"ADD {adds}",
        }
        return self._add(tag, "Update", body, None, changes | values)

    def delete(
        self, tag: str, table: str, key: Item, *, condition: str = "attribute_exists(pk)", **values: Any
    ) -> Self:
        """Remove an item, by default one that must exist."""
        return self._add(tag, "Delete", {"TableName": table, "Key": encode(key)}, condition, values)

    def check(self, tag: str, table: str, key: Item, *, condition: str, **values: Any) -> Self:
        """Refuse the whole unless this item, which is not written, meets the condition."""
        return self._add(tag, "ConditionCheck", {"TableName": table, "Key": encode(key)}, condition, values)

    def _add(self, tag: str, kind: str, body: dict[str, Any], condition: str | None, values: dict[str, Any]) -> Self:
        if condition:
            body["ConditionExpression"] = condition
            body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if values:
            body["ExpressionAttributeValues"] = {f":{name}": to_wire(value) for name, value in values.items()}
        names = _placeholders(body.get("UpdateExpression", ""), condition or "")
        if names:
            body["ExpressionAttributeNames"] = names
        stored = body.get("Key") or body["Item"]
        key = (body["TableName"], *(str(stored.get(name)) for name in ("pk", "sk")))
        if key in self._keys:
            raise ItemTwice(f"{tag}: the transaction names an item of {key[0]} twice")
        self._keys.add(key)
        self._tags.append(tag)
        self._items.append({kind: body})
        return self

    def commit(self) -> None:
        """Write it.

        Raises:
            ValueError: more items than a transaction takes; nothing was sent.
            TransactionRejected: a condition did not hold; nothing was written.
            TransactionConflict: nothing was written; the same may succeed in a moment.
        """
        if len(self._items) > TRANSACTION_LIMIT:
            raise ValueError(f"a transaction takes {TRANSACTION_LIMIT} items, this one has {len(self._items)}")
        try:
            self._client.transact_write_items(TransactItems=self._items)
        except ClientError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: ClientError) -> Exception:
        code = error.response.get("Error", {}).get("Code", "")
        if code in CONTENTION:
            return TransactionConflict(code)
        if code != "TransactionCanceledException":
            return error
        reasons: list[Any] = error.response.get("CancellationReasons", [])
        # Before the conditions: the item in conflict might have refused as well, so that it is not known which did.
        if any(reason.get("Code") in CONTENTION for reason in reasons):
            return TransactionConflict(str({reason.get("Code") for reason in reasons}))
        failed = {
            tag: decode(reason["Item"]) if reason.get("Item") else None
            for tag, reason in zip(self._tags, reasons, strict=False)
            if reason.get("Code") == "ConditionalCheckFailed"
        }
        return TransactionRejected(failed) if failed else error


def is_invalid(error: ClientError) -> bool:
    """Return whether DynamoDB called a write invalid, by itself or for one of a transaction's items.

    An update that computes with an attribute of another type, or with none, is: AWS names the item as a reason of the
    transaction, DynamoDB Local and moto refuse the request.
    """
    reasons: list[Any] = error.response.get("CancellationReasons") or []
    code = error.response.get("Error", {}).get("Code")
    return code == "ValidationException" or any(reason.get("Code") == "ValidationError" for reason in reasons)


@lru_cache(maxsize=256)
def _placeholders(*expressions: str) -> Mapping[str, str]:
    """`#status` in any expression -> {"#status": "status"}: reserved words need a placeholder, nothing else does."""
    return {name: name[1:] for name in re.findall(r"#\w+", " ".join(expressions))}


def put_if(client: DynamoDBClient, table: str, item: Item, *, condition: str, **values: Any) -> None:
    """Write one item under a condition.

    Raises:
        ConditionFailed: with the row as it is.
    """
    request: dict[str, Any] = {
        "TableName": table,
        "Item": encode(item),
        "ConditionExpression": condition,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    if values:
        request["ExpressionAttributeValues"] = {f":{name}": to_wire(value) for name, value in values.items()}
    names = _placeholders(condition)
    if names:
        request["ExpressionAttributeNames"] = names
    _conditional(client.put_item, request)


def update_if(
    client: DynamoDBClient,
    table: str,
    key: Item,
    expression: str,
    *,
    condition: str,
    answer: bool = True,
    **values: Any,
) -> Item:
    """Change one item under a condition and return it as changed; without `answer` nothing of it.

    Raises:
        ConditionFailed: with the row as it is.
    """
    request: dict[str, Any] = {
        "TableName": table,
        "Key": encode(key),
        "UpdateExpression": expression,
        "ConditionExpression": condition,
        "ReturnValues": "ALL_NEW" if answer else "NONE",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        "ExpressionAttributeValues": {f":{name}": to_wire(value) for name, value in values.items()},
    }
    names = _placeholders(expression, condition)
    if names:
        request["ExpressionAttributeNames"] = names
    return decode(_conditional(client.update_item, request).get("Attributes", {}))


CONFLICT_TRIES = 6
"""Tries of a one-item write that meets a transaction on its item (`TransactionConflictException`): botocore does not
retry it, and a worker's result would be lost. Five pauses, at most 0.15 s together."""


def _conditional(call: Any, request: dict[str, Any], tries: int = CONFLICT_TRIES) -> Any:
    try:
        return call(**request)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code == "ConditionalCheckFailedException":
            found: dict[str, Any] | None = error.response.get("Item")  # type: ignore[assignment]
            raise ConditionFailed(decode(found) if found else None) from error
        if code != "TransactionConflictException" or tries == 1:
            raise
    time.sleep(random.uniform(0, 0.32 / 2**tries))  # noqa: S311  jitter, no secret; longer each time
    return _conditional(call, request, tries - 1)


def get(client: DynamoDBClient, table: str, key: Item, *, consistent: bool = True) -> Item | None:
    """Return one item, read strongly by default."""
    found = client.get_item(TableName=table, Key=encode(key), ConsistentRead=consistent).get("Item")
    return decode(found) if found else None


def get_many(client: DynamoDBClient, table: str, keys: Iterable[Item], *, consistent: bool = True) -> list[Item]:
    """Return the items that exist, in any order: 100 keys a call, what DynamoDB leaves unprocessed asked for again.

    A key that is given twice is asked for once, because DynamoDB refuses a call that names one twice.
    """
    wanted = [encode(key) for key in {tuple(sorted(key.items())): key for key in keys}.values()]
    found: list[Item] = []
    for start in range(0, len(wanted), BATCH_GET_LIMIT):
        pending: Any = {table: {"Keys": wanted[start : start + BATCH_GET_LIMIT], "ConsistentRead": consistent}}
        attempt = 1
        while pending:
            answer = client.batch_get_item(RequestItems=pending)
            got = answer["Responses"].get(table, [])
            found.extend(map(decode, got))
            pending = answer.get("UnprocessedKeys")
            if pending:  # throttled, or 16 MB are full; only what was throttled altogether waits longer each time
                attempt = 2 if got else min(attempt + 1, patience.ATTEMPTS)
                time.sleep(patience.pause_before(attempt))
    return found


def query(
    client: DynamoDBClient,
    table: str,
    condition: str,
    *,
    limit: int | None = None,
    forward: bool = True,
    consistent: bool = True,
    **values: Any,
) -> list[Item]:
    """Yield the items of a partition in key order, page by page, up to `limit`; read strongly by default."""
    return list(_pages(client, table, condition, limit, values, forward=forward, consistent=consistent))


def _pages(
    client: DynamoDBClient,
    table: str,
    condition: str,
    limit: int | None,
    values: dict[str, Any],
    *,
    forward: bool,
    consistent: bool,
) -> Iterator[Item]:
    request: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": {f":{name}": to_wire(value) for name, value in values.items()},
        "ConsistentRead": consistent,
        "ScanIndexForward": forward,
    }
    left = limit
    while left is None or left > 0:
        if left is not None:
            request["Limit"] = left
        answer = client.query(**request)
        yield from map(decode, answer["Items"])
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        if left is not None:
            left -= len(answer["Items"])


def query_page(
    client: DynamoDBClient,
    table: str,
    condition: str,
    *,
    index: str | None = None,
    limit: int,
    cursor: str | None,
    forward: bool = False,
    where: str | None = None,
    **values: Any,
) -> tuple[list[Item], str | None]:
    """Return one page of a list and the opaque cursor of the next, None after the last.

    `where` filters after reading, so a page may be shorter than `limit` while more follow.

    Raises:
        Invalid: the cursor is invalid.
    """
    request: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": {f":{name}": to_wire(value) for name, value in values.items()},
        "ScanIndexForward": forward,
        "Limit": limit,
    }
    names = _placeholders(condition, where or "")
    if names:
        request["ExpressionAttributeNames"] = names
    if index:
        request["IndexName"] = index
    if where:
        request["FilterExpression"] = where
    if cursor:
        request["ExclusiveStartKey"] = encode(open_cursor(cursor))
    try:
        answer = client.query(**request)
    except ClientError as error:
        if cursor and error.response.get("Error", {}).get("Code") == "ValidationException":
            raise Invalid.field("cursor", "is not a cursor of this list") from error
        raise
    last = answer.get("LastEvaluatedKey")
    return [decode(item) for item in answer["Items"]], make_cursor(decode(last)) if last else None
