"""Deliveries in the System table, each for 90 days after its last report.

DELIVERY#<job>   <message id>   channel, key, furthest, history, version

A row that this version cannot read (another one wrote it) is left as it is: it is neither shown nor added to, and
harms no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item, Table
from adbot_queue.core.telemetry import logger
from adbot_queue.messaging.model import Delivery, DeliveryEvent, DeliveryStatus

TTL_S = 90 * 86_400

Kept = tuple[Delivery, int]
"""A delivery, and the version under which it was read."""


class Unreadable:
    """A row that this version cannot read."""


class DeliveryStore(Table):
    """Reads and conditional writes."""

    def of_job(self, job: str) -> list[Delivery]:
        """Return the messages that a job sent: more than one is a double."""
        kept = (_kept(item) for item in self._rows(job))
        return [one[0] for one in kept if not isinstance(one, Unreadable)]

    def message_of(self, job: str, key: str) -> str | None:
        """Return the provider's id of the message that a job sent under a key, whatever else its row says."""
        return next((item["sk"] for item in self._rows(job) if item.get("key") == key), None)

    def get_many(self, messages: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Kept | Unreadable]:
        """Return those of (job, message id) that exist."""
        found = dynamodb.get_many(self.client, self.table, [_key(*message) for message in messages])
        return {(_job(item), item["sk"]): _kept(item) for item in found}

    def _rows(self, job: str) -> Iterable[Item]:
        return dynamodb.query(self.client, self.table, "pk = :pk", pk=_pk(job))

    def put(self, delivery: Delivery, version: int, now: int) -> None:
        """Write it over the version that was read, 0 for none.

        Raises:
            ConditionFailed: another writer was faster.
        """
        item: Item = {
            **_key(delivery.job, delivery.message_id),
            "channel": delivery.channel,
            "key": delivery.key,
            "furthest": _item(delivery.furthest),
            "history": [_item(report) for report in delivery.history],
            "version": version + 1,
            "expires_at": now // 1000 + TTL_S,
        }
        if version:
            dynamodb.put_if(self.client, self.table, item, condition="version = :version", version=version)
        else:
            dynamodb.put_if(self.client, self.table, item, condition="attribute_not_exists(pk)")


def _pk(job: str) -> str:
    return f"DELIVERY#{job}"


def _key(job: str, message_id: str) -> Item:
    return {"pk": _pk(job), "sk": message_id}


def _item(report: DeliveryEvent) -> Item:
    return {"id": report.event_id, "status": report.status.value, "at": report.at, "reason": report.reason}


def _report(item: Mapping[str, Any]) -> DeliveryEvent:
    return DeliveryEvent(item["id"], DeliveryStatus(item["status"]), item["at"], item["reason"])


def _job(item: Mapping[str, Any]) -> str:
    return str(item["pk"]).removeprefix(_pk(""))


def _kept(item: Mapping[str, Any]) -> Kept | Unreadable:
    try:
        history = tuple(_report(entry) for entry in item["history"])
        furthest = _report(item["furthest"])
        delivery = Delivery(_job(item), item["sk"], item["channel"], item["key"], furthest, history)
        return delivery, int(item["version"])
    except (KeyError, TypeError, ValueError) as error:
        logger.warning("delivery cannot be read", job_id=_job(item), error=type(error).__name__)
        return Unreadable()
