"""Publishes what happened to bots, from the table's stream: to the event bus, the admin's digest and metrics."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from adbot_queue.adbots.events import DomainEvent, events_of
from adbot_queue.adbots.model import Adbot
from adbot_queue.adbots.storage import readers
from adbot_queue.core import aws, records, telemetry
from adbot_queue.core.attribute_values import decode
from adbot_queue.core.errors import Unavailable
from adbot_queue.core.records import readable
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

SOURCE = "adbot-queue"
ENTRIES = 10
"""Events in one PutEvents, AWS's limit."""

ENTRIES_BYTES = 240_000
"""Size of one PutEvents: AWS's limit is 256 KiB, names and times included."""

SENDS = 3
"""Calls for an entry that the bus refuses for now; then the whole batch is delivered again."""

NEVER_TAKEN = {"MalformedDetail", "InvalidArgument"}
"""The bus's codes for an entry that it never accepts."""

NOTICED = {"adbot.queued": "queued", "adbot.resolved": "resolved", "adbot.parked": "parked"}
SAMPLES = 20
"""Ids that one notice shows; the counts are exact."""


class Notices(Protocol):
    """The store that gathers the admin's notices into digests."""

    def record(self, batch_id: str, counts: dict[str, int], samples: list[dict[str, Any]]) -> None:
        """Store a batch's notices; a repeated batch counts once."""


class EventPublisher:
    """Publishes events at least once, in stream order for each bot."""

    def __init__(self, client: EventBridgeClient, bus: str, notices: Notices) -> None:
        self._client = client
        self._bus = bus
        self._notices = notices

    def publish(self, batch: list[dict[str, Any]]) -> None:
        """Publish a batch of stream records; an unreadable one is skipped and stops no other.

        Raises:
            Unavailable: the bus did not accept all of it; the stream delivers the batch again.
        """
        read = readable(batch, _events_of_record)
        happened = [event for record in read for event in record.events]
        for chunk in _chunks([self._entry(event) for event in happened]):
            self._send(chunk)
        reviews = [record.review for record in read if record.review]
        counts = Counter(NOTICED[event.name] for event in happened if event.name in NOTICED)
        counts["review"] += len(reviews)
        if counts.total():
            noticed = [_sample(event) for event in happened if event.name in NOTICED]
            self._notices.record(read[0].id, dict(+counts), (reviews + noticed)[:SAMPLES])
        for name, number in Counter(event.name for event in happened).items():
            telemetry.count("".join(part.capitalize() for part in name.replace(".", "_").split("_")), number)

    def _entry(self, event: DomainEvent) -> PutEventsRequestEntryTypeDef:
        return {
            "EventBusName": self._bus,
            "Source": SOURCE,
            "DetailType": event.name,
            "Resources": [event.detail["adbot_id"]],
            "Detail": json.dumps({"event_id": event.id, **event.detail}),
        }

    def _send(self, entries: list[PutEventsRequestEntryTypeDef]) -> None:
        """Send entries. Those refused for now are sent again, alone; those that the bus never accepts are dropped."""
        codes: set[str] = set()
        for attempt in range(SENDS):
            if attempt:
                time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311  jitter, no secret
            answer = self._client.put_events(Entries=entries)
            if not answer["FailedEntryCount"]:
                return
            results = [result.get("ErrorCode", "") for result in answer["Entries"]]
            refused = list(zip(entries, results, strict=False))
            for entry, code in refused:
                if code in NEVER_TAKEN:
                    logger.error("event dropped: the bus does not take it", adbot_id=entry["Resources"], code=code)
                    telemetry.count("StreamRecordsUnreadable")
            entries = [entry for entry, code in refused if code and code not in NEVER_TAKEN]
            codes = {code for code in results if code}
            if not entries:
                return
        raise Unavailable(f"the event bus refused {len(entries)} events: {', '.join(sorted(codes))}")


@lru_cache(maxsize=1)
def from_env(notices: Notices) -> EventPublisher:
    """Return the publisher of this process."""
    return EventPublisher(aws.events(), settings().event_bus, notices)


@dataclass(frozen=True, slots=True)
class _RecordEvents:
    """The events of one stream record. `id` is the same for every delivery."""

    id: str
    events: list[DomainEvent]
    review: dict[str, Any] | None = None


def _events_of_record(record: dict[str, Any]) -> _RecordEvents | None:
    kind, _, name = records.partition(record).partition("#")
    if kind not in {"ADBOT", "ORDER"}:
        return None
    before, after = records.images(record)
    if kind == "ADBOT":
        happened = events_of(_adbot(before), _adbot(after))
        return _RecordEvents(str(record.get("eventID") or happened[0].id), happened) if happened else None
    if after is None or _status(after) != "REVIEW" or _status(before) == "REVIEW":
        return None
    order_id, reason = after.get("id", {}).get("S", name), after.get("review_reason", {}).get("S", "")
    record_id = str(record.get("eventID") or f"{order_id}:review")
    return _RecordEvents(record_id, [], {"order_id": order_id, "review_reason": reason})


def _adbot(image: Mapping[str, Any] | None) -> Adbot | None:
    """Return a bot's image; attributes that this version does not know are not decoded."""
    if not image:
        return None
    return readers.adbot_of(decode({name: image[name] for name in (*Adbot.__slots__, "v") if name in image}))


def _status(image: Mapping[str, Any] | None) -> str | None:
    status: str | None = (image or {}).get("status", {}).get("S")
    return status


def _chunks(entries: list[PutEventsRequestEntryTypeDef]) -> Iterator[list[PutEventsRequestEntryTypeDef]]:
    """Yield parts that one PutEvents accepts, by number and size: the event of a badly fragmented bot has 30 kB."""
    chunk: list[PutEventsRequestEntryTypeDef] = []
    size = 0
    for entry in entries:
        length = len(entry["Detail"].encode()) + 512
        if chunk and (len(chunk) == ENTRIES or size + length > ENTRIES_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += length
    if chunk:
        yield chunk


def _sample(event: DomainEvent) -> dict[str, Any]:
    kept = ("adbot_id", "pool", "missing_sessions_count", "queued_reason")
    return {"event": event.name, **{name: event.detail[name] for name in kept}}
