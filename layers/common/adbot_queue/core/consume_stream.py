"""Entry points of functions that do records of a table's stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adbot_queue.core import events, telemetry
from adbot_queue.core.consume import Entry

RECORDS = "records of a DynamoDB stream"


def stream(work: Callable[[list[dict[str, Any]]], None]) -> Entry:
    """The entry of a function on a table's stream: the whole batch is done, or all of it is delivered again.

    Args:
        work: gets the records; must bear to see them twice.
    """

    def handle(event: Any, context: Any) -> dict[str, Any]:  # noqa: ARG001  Lambda's signature
        records = _records_of(event)
        if records is None:
            return events.nothing_done(event, RECORDS)
        try:
            work(records)
        finally:
            telemetry.flush()
        return events.failed_answer([])

    return handle


def _records_of(event: Any) -> list[Any] | None:
    """The records of a DynamoDB stream; None: there are none, or all of them say that they are of another source.

    Its consumer reads them one by one, and sets aside what it cannot read (`core.records`).
    """
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list) or (records and all(map(_is_foreign, records))):
        return None
    return records


def _is_foreign(record: Any) -> bool:
    """Whether a record names a source that is no stream of a table."""
    source = (record.get("eventSource") or record.get("EventSource")) if isinstance(record, dict) else None
    return source is not None and source != "aws:dynamodb"
