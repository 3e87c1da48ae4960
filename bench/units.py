"""Write units by AWS's published rules, from the requests: what DynamoDB Local reports is not what AWS bills.

Rules ("Read and write operations", "Item sizes and formats", "Managing complex workflows with transactions" and
"Using global secondary indexes" in the DynamoDB developer guide):

- a write costs 1 unit for every started KB of the larger of the item before and after; in a transaction 2;
- a delete costs as the item that goes; a refused condition costs as the write would have;
- every change of what an index shows costs 1 unit for every started KB of the entry: one if it appears, disappears
  or changes, two if it moves (its key changed), none if it stays as it was.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Wire = dict[str, Any]
"""An item in DynamoDB's typed form."""

KB = 1024


def size(item: Wire) -> int:
    """Bytes of an item: names and values."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Wire) -> int:  # noqa: PLR0911  a table of types
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return _number_size(content)
        case "B":
            return len(content if isinstance(content, bytes) else base64.b64decode(content))
        case "BOOL" | "NULL":
            return 1
        case "SS":
            return sum(len(entry.encode()) for entry in content)
        case "NS":
            return sum(map(_number_size, content))
        case "L":
            return 3 + sum(1 + _value_size(entry) for entry in content)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_size(entry) for name, entry in content.items())
    raise ValueError(f"no rule for the type {kind}")


def _number_size(text: str) -> int:
    """1 byte for two significant digits, 1 byte more, and 1 for a minus."""
    digits = text.lstrip("-").replace(".", "").strip("0")
    return math.ceil(len(digits) / 2) + 1 + text.startswith("-")


def started(number_of_bytes: int) -> int:
    """Kilobytes begun; nothing is smaller than one."""
    return max(1, math.ceil(number_of_bytes / KB))


class Index:
    """A global secondary index: what it shows of an item."""

    def __init__(self, described: dict[str, Any], table_key: Iterable[str]) -> None:
        self._keys = [part["AttributeName"] for part in described["KeySchema"]]
        self._shown = {*self._keys, *table_key, *described["Projection"].get("NonKeyAttributes", ())}
        self._all = described["Projection"]["ProjectionType"] == "ALL"

    def entry(self, item: Wire | None) -> Wire | None:
        """What the index shows of it, None when it is not in it."""
        if item is None or any(key not in item for key in self._keys):
            return None
        return item if self._all else {name: item[name] for name in self._shown if name in item}

    def units(self, before: Wire | None, after: Wire | None) -> int:
        """What a change of the item costs here."""
        was, becomes = self.entry(before), self.entry(after)
        if was == becomes:
            return 0
        if was is None or becomes is None:
            return started(size(was or becomes or {}))
        if any(was[key] != becomes[key] for key in self._keys):
            return started(size(was)) + started(size(becomes))
        return started(max(size(was), size(becomes)))


def write_units(before: Wire | None, after: Wire | None, indexes: Iterable[Index], *, transactional: bool) -> int:
    """What one write costs. The same before as after: a condition that was refused, or a write that changed nothing."""
    base = started(max(size(before or {}), size(after or {})))
    return (2 if transactional else 1) * base + sum(index.units(before, after) for index in indexes)


def _write_of(statement: Wire) -> Wire:
    """Table and key of an update in PartiQL, whose condition begins with the two attributes of the key."""
    changes = statement["Statement"].partition(" WHERE ")[0]
    first = changes.count("?")
    pk, sk = statement["Parameters"][first : first + 2]
    return {"TableName": changes.split('"')[1], "Key": {"pk": pk, "sk": sk}}


class Meter:
    """Counts the units of every write of a client.

    It looks at the items before and after each write with a client of its own: for one thread, and not for runs whose
    time is taken.
    """

    def __init__(self, client: DynamoDBClient, uncounted: DynamoDBClient) -> None:
        self._uncounted = uncounted
        self._tables: dict[str, tuple[list[str], list[Index]]] = {}
        self.units = 0
        self.calls: Counter[str] = Counter()
        self.keys: list[frozenset[str]] = []
        """Items of each transaction: two that share none cannot conflict."""
        client.meta.events.register("provide-client-params.dynamodb", self._begin)
        client.meta.events.register("after-call.dynamodb", self._end)

    def taken(self) -> int:
        """The units since the last time this was asked."""
        units, self.units = self.units, 0
        return units

    def _begin(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        self.calls[model.name] += 1
        if touched := self._touched(model.name, params):
            context["metered"] = (touched, self._read(touched), model.name == "TransactWriteItems")

    def _end(self, context: dict[str, Any], **_: Any) -> None:
        if "metered" not in context:
            return
        touched, before, transactional = context.pop("metered")
        after = self._read(touched)
        for name, (table, _key) in touched.items():
            indexes = self._tables[table][1]
            self.units += write_units(before.get(name), after.get(name), indexes, transactional=transactional)
            self._changed(table, before.get(name), after.get(name))
        if transactional:
            self.keys.append(frozenset(touched))

    def _changed(self, table: str, before: Wire | None, after: Wire | None) -> None:
        """A write is over; for meters that look at more than units."""

    def _touched(self, operation: str, params: dict[str, Any]) -> dict[str, tuple[str, Wire]]:
        """Every item that a request writes or checks."""
        match operation:
            case "TransactWriteItems":
                writes = [next(iter(action.values())) for action in params["TransactItems"]]
            case "PutItem" | "UpdateItem" | "DeleteItem":
                writes = [params]
            case "BatchWriteItem":
                writes = [
                    {"TableName": table, **next(iter(request.values()))}
                    for table, requests in params["RequestItems"].items()
                    for request in requests
                ]
            case "BatchExecuteStatement":
                writes = [_write_of(statement) for statement in params["Statements"]]
            case _:
                return {}
        touched = {}
        for write in writes:
            table, source = write["TableName"], write.get("Key") or write["Item"]
            key = {name: source[name] for name in self._key_of(table)}
            touched[f"{table} {key}"] = (table, key)
        return touched

    def _key_of(self, table: str) -> list[str]:
        if table not in self._tables:
            described: dict[str, Any] = dict(self._uncounted.describe_table(TableName=table)["Table"])
            key = [part["AttributeName"] for part in described["KeySchema"]]
            indexes = [Index(index, key) for index in described.get("GlobalSecondaryIndexes", [])]
            self._tables[table] = (key, indexes)
        return self._tables[table][0]

    def _read(self, touched: dict[str, tuple[str, Wire]]) -> dict[str, Wire]:
        found = {}
        entries = list(touched.values())
        for start in range(0, len(entries), 100):
            wanted: dict[str, Any] = {}
            for table, key in entries[start : start + 100]:
                wanted.setdefault(table, {"Keys": [], "ConsistentRead": True})["Keys"].append(key)
            while wanted:
                answer: Any = self._uncounted.batch_get_item(RequestItems=wanted)
                for table, items in answer["Responses"].items():
                    for item in items:
                        found[f"{table} { {name: item[name] for name in self._key_of(table)} }"] = item
                wanted = answer.get("UnprocessedKeys", {})
        return found
