"""Carries what happened to bots from the table's stream to the event bus, to the admin's notices, to metrics."""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from adbot_queue.adbots import items
from adbot_queue.adbots.events import DomainEvent, events_of
from adbot_queue.core import aws, telemetry
from adbot_queue.core.dynamodb import decode
from adbot_queue.core.errors import Unavailable
from adbot_queue.core.settings import settings

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

SOURCE = "adbot-queue"
ENTRIES = 10
"""Events in one PutEvents, AWS's limit."""

NOTICED = {"adbot.queued": "queued", "adbot.resolved": "resolved", "adbot.parked": "parked"}
SAMPLES = 20
"""Ids that one notice shows; the counts are exact."""


class Notices(Protocol):
    """Where notices for the admin are gathered into digests."""

    def record(self, batch_id: str, counts: dict[str, int], samples: list[dict[str, Any]]) -> None:
        """Keep a batch's notices; the same batch twice is one."""


class Announcer:
    """Sends events at least once, in the order of the stream for each bot."""

    def __init__(self, client: EventBridgeClient, bus: str, notices: Notices) -> None:
        self._client = client
        self._bus = bus
        self._notices = notices

    def announce(self, records: list[dict[str, Any]]) -> None:
        """Announce a batch of stream records.

        Raises:
            Unavailable: the bus did not take all of it; the stream delivers the batch again.
        """
        happened = [event for record in records for event in _read(record)]
        for start in range(0, len(happened), ENTRIES):
            self._send(happened[start : start + ENTRIES])
        reviews = [review for record in records if (review := _review(record))]
        counts = Counter(NOTICED[event.name] for event in happened if event.name in NOTICED)
        counts["review"] += len(reviews)
        if counts.total():
            noticed = [_sample(event) for event in happened if event.name in NOTICED]
            self._notices.record(records[0]["eventID"], dict(+counts), (reviews + noticed)[:SAMPLES])
        for name, number in Counter(event.name for event in happened).items():
            telemetry.count("".join(part.capitalize() for part in name.replace(".", "_").split("_")), number)

    def _send(self, happened: list[DomainEvent]) -> None:
        entries: list[PutEventsRequestEntryTypeDef] = [
            {
                "EventBusName": self._bus,
                "Source": SOURCE,
                "DetailType": event.name,
                "Resources": [event.detail["adbot_id"]],
                "Detail": json.dumps({"event_id": event.id, **event.detail}),
            }
            for event in happened
        ]
        answer = self._client.put_events(Entries=entries)
        if answer["FailedEntryCount"]:
            codes = {entry.get("ErrorCode") for entry in answer["Entries"] if entry.get("ErrorCode")}
            raise Unavailable(f"the event bus refused {answer['FailedEntryCount']} events: {codes}")


@lru_cache(maxsize=1)
def from_env(notices: Notices) -> Announcer:
    """The announcer of this process."""
    return Announcer(aws.events(), settings().event_bus, notices)


def _read(record: dict[str, Any]) -> list[DomainEvent]:
    images = record["dynamodb"]
    if not images["Keys"]["pk"]["S"].startswith("ADBOT#"):
        return []
    before, after = (images.get(name) for name in ("OldImage", "NewImage"))
    return events_of(
        items.adbot_of(decode(before)) if before else None, items.adbot_of(decode(after)) if after else None
    )


def _review(record: dict[str, Any]) -> dict[str, Any] | None:
    """A notice for an order that has just come into REVIEW."""
    images = record["dynamodb"]
    if not images["Keys"]["pk"]["S"].startswith("ORDER#"):
        return None
    before, after = images.get("OldImage", {}), images.get("NewImage", {})
    statuses = [image.get("status", {}).get("S") for image in (before, after)]
    if statuses[1] != "REVIEW" or statuses[0] == "REVIEW":
        return None
    return {"order_id": after["id"]["S"], "review_reason": after.get("review_reason", {}).get("S", "")}


def _sample(event: DomainEvent) -> dict[str, Any]:
    kept = ("adbot_id", "pool", "missing_sessions_count", "queued_reason")
    return {"event": event.name, **{name: event.detail[name] for name in kept}}
