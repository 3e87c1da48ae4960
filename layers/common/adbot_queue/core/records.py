"""Records of a table's stream, read one by one: an unreadable record harms itself only.

A stream delivers a failed batch again from the failed record on, so that a record which no version of the code at hand
can read would stop its shard and have its neighbours processed again and again. Such a record is set aside instead:
logged with its keys, counted (metric `StreamRecordsUnreadable`, alarmed), never retried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from adbot_queue.core import telemetry
from adbot_queue.core.telemetry import logger

Read = TypeVar("Read")
Image = Mapping[str, Any] | None

_IMAGES = {"INSERT": ("NewImage",), "MODIFY": ("OldImage", "NewImage"), "REMOVE": ("OldImage",)}
"""What each kind of record carries under the stream's view type `NEW_AND_OLD_IMAGES`."""


def readable(records: Iterable[Any], read: Callable[[Any], Read | None]) -> list[Read]:
    """Return what `read` makes of the records, in their order, without those it answers None for.

    A record for which `read` raises, whatever it raises, is set aside.
    """
    found: list[Read] = []
    for record in records:
        try:
            made = read(record)
        except Exception as error:  # noqa: BLE001  a record of another shape may raise anything
            _set_aside(record, error)
            continue
        if made is not None:
            found.append(made)
    return found


def partition(record: Any) -> str:
    """Return the partition key of the changed item.

    Raises:
        KeyError, TypeError: the record has none.
    """
    key = record["dynamodb"]["Keys"]["pk"]["S"]
    if not isinstance(key, str):
        raise TypeError("pk: must be text")
    return key


def images(record: Any) -> tuple[Image, Image]:
    """Return the item before and after the change, still in DynamoDB's typed form.

    Raises:
        ValueError: an unknown kind of record, or an image that its kind must carry is missing.
    """
    body, kind = record["dynamodb"], record.get("eventName")
    if kind is not None and kind not in _IMAGES:
        raise ValueError(f"eventName: unknown kind {str(kind)[:20]!r}")
    before, after = body.get("OldImage"), body.get("NewImage")
    missing = [name for name in _IMAGES.get(kind, ()) if not body.get(name)]
    if missing or not (before or after):
        raise ValueError(f"{', '.join(missing) or 'NewImage'}: missing")
    return before, after


def _set_aside(record: Any, error: Exception) -> None:
    body = record.get("dynamodb") if isinstance(record, dict) else None
    body = body if isinstance(body, dict) else {}
    logger.error(
        "stream record set aside: this version cannot read it",
        keys=body.get("Keys"),
        sequence_number=body.get("SequenceNumber"),
        event_id=record.get("eventID") if isinstance(record, dict) else None,
        error=f"{type(error).__name__}: {error}"[:200],
    )
    telemetry.count("StreamRecordsUnreadable")
