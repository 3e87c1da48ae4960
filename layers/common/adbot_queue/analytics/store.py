"""The Analytics table: every read and write of events and aggregates.

    EVENT#<id>      E          an event, once; kept for 30 days after it was recorded and after its hour ended
    HOURS#<day>     <hour>     what an hour counts, and which part holds its people and articles; 90 days
    PART#<id>       *          people of an hour; A#<article>: an article in that hour; 35 days
    DAYS            <day>      what a day counts; until cleaned
    QUEUES          <day>#<q>  what a job queue did on a day; the same
    ARTICLE#<id>    D#<day>    what a day counts of an article; the same
    ARTICLE#<id>    TOTAL      all its days together
    LATE            <hour>     events came in after the hour's snapshot
    MARKS           <name>     SNAPSHOT: the last hour that was counted; CLEANED: events before that hour were deleted

    listed (listing, place)    RAW#<hour>#<shard>: events in order of time; ARTICLES#<day>: articles of a day

What an hour counts becomes valid in one write: its part is written first, and the item that names the part refuses one
whose reading began before that of the present one. So a slow snapshot never replaces a newer one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

from adbot_queue.analytics.model import HOUR_MS, Aggregate, Bucket, Event, People, hour_start
from adbot_queue.core import attribute_values, aws, cursors, dynamodb
from adbot_queue.core.clock import DAY_MS, iso
from adbot_queue.core.dynamodb import ConditionFailed, Item, Table, TransactionConflict
from adbot_queue.core.settings import MissingSetting

if TYPE_CHECKING:
    from collections import Counter


SHARDS = 4
"""Partitions of an hour's events: 4,000 events a second."""

RAW_TTL_MS = 30 * DAY_MS
HOURLY_TTL_MS = 90 * DAY_MS
PART_TTL_MS = 35 * DAY_MS
"""For as long as any hour of its day can still be counted anew, and a few days more."""

LATE_MS = 2 * HOUR_MS
"""An event that comes later than this after its hour began is noted as late; snapshots count the last hours anyway."""

PAGE = 1000
BATCH_WRITE = 25
"""Items in one BatchWriteItem, AWS's limit."""

TRIES = 8

_NEWER = "attribute_not_exists(pk) OR began_at <= :began"


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known of an hour or a day.

    Attributes:
        start: `2025-11-22T05` or `2025-11-22`.
        began_at: when the counting began, in ms; what was recorded later is not in it.
        part: of an hour: where its people and articles are.
    """

    start: str
    events: int
    people: int
    people_exact: bool
    by_event: dict[str, int]
    began_at: int
    part: str = ""
    hours: int = 1


@dataclass(frozen=True, slots=True)
class ArticleCounted:
    """What is known of an article, of one day or (`start` empty) of all."""

    article: str
    start: str
    aggregate: Aggregate
    began_at: int
    days: int = 1
    first: str = ""
    last: str = ""


class AnalyticsStore(Table):
    """Access patterns of the Analytics table."""

    # Events

    def record(self, event: Event, now: int) -> bool:
        """Keep an event, and note its hour when it is late; whether it is new. As often as one likes."""
        kept_from = max(now, hour_start(event.hour) + HOUR_MS)
        item: Item = {
            "pk": f"EVENT#{event.id}",
            "sk": "E",
            "listing": _raw(event.hour, crc32(event.id.encode()) % SHARDS),
            "place": f"{iso(event.at)}#{event.id}",
            "name": event.name,
            "person": f"{event.person:016x}",
            "article": event.article,
            "expires_at": (kept_from + RAW_TTL_MS) // 1000,
        }
        new = True
        try:
            dynamodb.put_if(self.client, self.table, item, condition="attribute_not_exists(pk)")
        except ConditionFailed as failed:
            item, new = failed.item or item, False
        hour = str(item["listing"]).split("#")[1]
        if now >= hour_start(hour) + LATE_MS:
            # After the event: who sees the note sees the event.
            note = {"pk": "LATE", "sk": hour, "noted_at": now, "expires_at": (now + RAW_TTL_MS) // 1000}
            self.client.put_item(TableName=self.table, Item=attribute_values.encode(note))
        return new

    def events(
        self, hour: str, shard: int, cursor: str | None = None, limit: int = PAGE
    ) -> tuple[list[Event], str | None]:
        """A page of an hour's events in the order of time. As old as an index, a moment."""
        found, following = self._listed(_raw(hour, shard), cursor, limit)
        return [_event_of(item, hour) for item in found], following

    def late(self, before: int, limit: int) -> dict[str, int]:
        """Hours that late events were noted for before that time, with the time; the oldest first."""
        found = dynamodb.query(self.client, self.table, "pk = :pk", limit=limit, pk="LATE")
        return {item["sk"]: item["noted_at"] for item in found if item["noted_at"] < before}

    def forget_late(self, hour: str, noted_at: int) -> None:
        """Its snapshot is made; unless another late event was noted meanwhile."""
        self._delete_if({"pk": "LATE", "sk": hour}, "noted_at = :noted", noted=noted_at)

    def mark(self, name: str) -> str:
        """The hour that a mark names; empty when it was never set."""
        found = dynamodb.get(self.client, self.table, {"pk": "MARKS", "sk": name})
        return str(found["hour"]) if found else ""

    def set_mark(self, name: str, hour: str) -> None:
        """Move a mark on; never back."""
        with suppress(ConditionFailed):
            condition = "attribute_not_exists(pk) OR #hour < :hour"
            item = {"pk": "MARKS", "sk": name, "hour": hour}
            dynamodb.put_if(self.client, self.table, item, condition=condition, hour=hour)

    def delete_events(self, events: Iterable[Event]) -> None:
        """Delete events; they never change, so nothing can come in between."""
        keys = [attribute_values.encode({"pk": f"EVENT#{event.id}", "sk": "E"}) for event in events]
        self._batch([{"DeleteRequest": {"Key": key}} for key in keys])

    # Hours

    def write_part(self, part: str, bucket: Bucket, now: int) -> None:
        """Store people and articles of an hour, or of what is counted of it so far, under a new id."""
        expires_at = (now + PART_TTL_MS) // 1000
        items = [("*", bucket.total)] + [(f"A#{name}", one) for name, one in sorted(bucket.articles.items())]
        puts = [{"pk": f"PART#{part}", "sk": sk, **_people_item(one), "expires_at": expires_at} for sk, one in items]
        self._batch([{"PutRequest": {"Item": attribute_values.encode(item)}} for item in puts])

    def read_part(self, part: str) -> Bucket:
        """What was kept as a part."""
        bucket = Bucket()
        for item in dynamodb.query(self.client, self.table, "pk = :pk", pk=f"PART#{part}"):
            if item["sk"] == "*":
                bucket.total = _aggregate_of(item)
            else:
                bucket.articles[item["sk"].removeprefix("A#")] = _aggregate_of(item)
        return bucket

    def totals_of(self, parts: Iterable[str]) -> list[Aggregate]:
        """The whole of each part."""
        keys = [{"pk": f"PART#{part}", "sk": "*"} for part in parts]
        return [_aggregate_of(item) for item in dynamodb.get_many(self.client, self.table, keys)]

    def articles_of_part(self, part: str, after: str | None) -> Iterator[tuple[str, Aggregate]]:
        """A part's articles in the order of their ids, from behind that one on; read page by page."""
        cursor = None if after is None else cursors.make_cursor({"pk": f"PART#{part}", "sk": f"A#{after}"})
        while True:
            found, cursor = dynamodb.query_page(
                self.client,
                self.table,
                "pk = :pk AND begins_with(sk, :sk)",
                limit=100,
                cursor=cursor,
                forward=True,
                pk=f"PART#{part}",
                sk="A#",
            )
            yield from ((item["sk"].removeprefix("A#"), _aggregate_of(item)) for item in found)
            if cursor is None:
                return

    def publish_hour(self, hour: str, total: Aggregate, part: str, began_at: int) -> bool:
        """Publish the counts of an hour; False if the present ones began to be counted later."""
        expires_at = (hour_start(hour) + HOURLY_TTL_MS) // 1000
        key: Item = {"pk": f"HOURS#{hour[:10]}", "sk": hour}
        return self._replace(key | _counted_item(total) | {"part": part, "expires_at": expires_at}, began_at)

    def hours(self, day: str) -> list[Counted]:
        """The hours of a day that are counted, in order. One Query."""
        return [_counted_of(item) for item in dynamodb.query(self.client, self.table, "pk = :pk", pk=f"HOURS#{day}")]

    # Days

    def publish_day(self, day: str, total: Aggregate, hours: int, began_at: int) -> bool:
        """Publish the counts of a day, of which `hours` are counted; as `publish_hour`."""
        return self._replace({"pk": "DAYS", "sk": day, **_counted_item(total), "hours": hours}, began_at)

    def days(self, first: str, last: str, limit: int | None = None) -> list[Counted]:
        """The days that are counted, in order. One Query."""
        condition = "pk = :pk AND sk BETWEEN :first AND :last"
        found = dynamodb.query(self.client, self.table, condition, limit=limit, pk="DAYS", first=first, last=last)
        return [_counted_of(item) for item in found]

    def delete_day(self, day: str) -> bool:
        """Delete what a day counts; whether it was there."""
        return self._delete_if({"pk": "DAYS", "sk": day})

    def publish_queue(self, day: str, queue: str, numbers: Counter[str], began_at: int) -> bool:
        """What a job queue did on a day."""
        counts = {name: number for name, number in numbers.items() if number}
        return self._replace({"pk": "QUEUES", "sk": f"{day}#{queue}", "counts": counts}, began_at)

    def queue_days(self, first: str, last: str) -> list[tuple[str, str, dict[str, int]]]:
        """Day, queue and what it did, in order. One Query."""
        condition = "pk = :pk AND sk BETWEEN :first AND :last"
        found = dynamodb.query(self.client, self.table, condition, pk="QUEUES", first=first, last=f"{last}~")
        return [(*item["sk"].split("#"), item["counts"]) for item in found]

    def delete_queue_day(self, day: str, queue: str) -> bool:
        """Delete what a queue did on a day; whether it was there."""
        return self._delete_if({"pk": "QUEUES", "sk": f"{day}#{queue}"})

    # Articles

    def publish_article_day(self, article: str, day: str, aggregate: Aggregate, began_at: int) -> bool:
        """What a day counts of an article."""
        item = {
            "pk": f"ARTICLE#{article}",
            "sk": f"D#{day}",
            "listing": f"ARTICLES#{day}",
            "place": article,
            **_people_item(aggregate),
        }
        return self._replace(item, began_at)

    def articles(self, day: str, cursor: str | None = None, limit: int = 100) -> tuple[list[str], str | None]:
        """A page of a day's articles in the order of their ids. As old as an index, a moment."""
        found, following = self._listed(f"ARTICLES#{day}", cursor, limit)
        return [item["place"] for item in found], following

    def articles_after(self, day: str, article: str | None) -> Iterator[str]:
        """A day's articles in the order of their ids, from behind that one on."""
        position = {"pk": f"ARTICLE#{article}", "sk": f"D#{day}", "listing": f"ARTICLES#{day}", "place": article}
        cursor = None if article is None else cursors.make_cursor(position)
        while True:
            found, cursor = self.articles(day, cursor)
            yield from found
            if cursor is None:
                return

    def article_days(self, article: str, first: str = "0", last: str = "9") -> list[ArticleCounted]:
        """What is known of an article day by day, in order."""
        condition = "pk = :pk AND sk BETWEEN :first AND :last"
        found = dynamodb.query(
            self.client, self.table, condition, pk=f"ARTICLE#{article}", first=f"D#{first}", last=f"D#{last}"
        )
        return [
            ArticleCounted(article, item["sk"].removeprefix("D#"), _aggregate_of(item), item["began_at"])
            for item in found
        ]

    def delete_article_day(self, article: str, day: str) -> bool:
        """Delete what a day counts of an article; whether it was there."""
        return self._delete_if({"pk": f"ARTICLE#{article}", "sk": f"D#{day}"})

    def publish_article(self, counted: ArticleCounted) -> bool:
        """All days of an article together."""
        item = {
            "pk": f"ARTICLE#{counted.article}",
            "sk": "TOTAL",
            **_people_item(counted.aggregate),
            "days": counted.days,
            "first": counted.first,
            "last": counted.last,
        }
        return self._replace(item, counted.began_at)

    def article(self, article: str) -> ArticleCounted | None:
        """All days of an article together, as they were when that was put together last."""
        item = dynamodb.get(self.client, self.table, {"pk": f"ARTICLE#{article}", "sk": "TOTAL"})
        if item is None:
            return None
        rest = {name: item[name] for name in ("days", "first", "last")}
        return ArticleCounted(article, "", _aggregate_of(item), item["began_at"], **rest)

    # What they share

    def _listed(self, listing: str, cursor: str | None, limit: int) -> tuple[list[Item], str | None]:
        return dynamodb.query_page(
            self.client,
            self.table,
            "listing = :listing",
            index="listed",
            limit=limit,
            cursor=cursor,
            forward=True,
            listing=listing,
        )

    def _replace(self, item: Item, began_at: int) -> bool:
        """Write an item unless the present one is newer."""
        try:
            item = item | {"began_at": began_at}
            dynamodb.put_if(self.client, self.table, item, condition=_NEWER, began=began_at)
        except ConditionFailed:
            return False
        return True

    def _delete_if(self, key: Item, condition: str = "attribute_exists(pk)", **values: Any) -> bool:
        request: dict[str, Any] = {"TableName": self.table, "Key": attribute_values.encode(key)}
        if values:
            wire = attribute_values.encode(values)
            request["ExpressionAttributeValues"] = {f":{name}": value for name, value in wire.items()}
        try:
            self.client.delete_item(**request, ConditionExpression=condition)
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _batch(self, requests: list[Any]) -> None:
        """Write or delete without a condition; what DynamoDB leaves undone is asked for again.

        Raises:
            TransactionConflict: DynamoDB does not come after.
        """
        for start in range(0, len(requests), BATCH_WRITE):
            pending: Any = {self.table: requests[start : start + BATCH_WRITE]}
            for _ in range(TRIES):
                pending = self.client.batch_write_item(RequestItems=pending).get("UnprocessedItems")
                if not pending:
                    break
            else:
                raise TransactionConflict("analytics")


def _raw(hour: str, shard: int) -> str:
    return f"RAW#{hour}#{shard}"


def _event_of(item: Item, hour: str) -> Event:
    event_id = str(item["pk"]).removeprefix("EVENT#")
    return Event(event_id, hour_start(hour), item["name"], int(item["person"], 16), item.get("article"))


def _people_item(aggregate: Aggregate) -> Item:
    return {"by_event": aggregate.shown(), "people": aggregate.people.packed()}


def _aggregate_of(item: Item) -> Aggregate:
    aggregate = Aggregate(people=People.unpacked(item["people"]))
    aggregate.by_event.update(item["by_event"])
    return aggregate


def _counted_item(total: Aggregate) -> Item:
    return {
        "events": total.events,
        "by_event": total.shown(),
        "people": total.people.count,
        "people_exact": total.people.exact,
    }


def _counted_of(item: Item) -> Counted:
    names = ("events", "people", "people_exact", "by_event", "began_at", "part", "hours")
    return Counted(item["sk"], **{name: item[name] for name in names if name in item})


def from_env() -> AnalyticsStore:
    """The store of this process.

    Raises:
        MissingSetting: this function has nothing to do with analytics.
    """
    table = os.environ.get("ANALYTICS_TABLE")
    if not table:
        raise MissingSetting("environment variables are not set: ANALYTICS_TABLE")
    return AnalyticsStore(aws.dynamodb(), table)
