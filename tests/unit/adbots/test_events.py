"""Domain events out of the table's stream."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from adbot_queue.adbots.event_publisher import EventPublisher
from adbot_queue.adbots.events import events_of
from adbot_queue.adbots.model import Adbot, AdbotStatus, CreationSource, ExecutionMode, QueuedReason, Run
from adbot_queue.adbots.storage import items
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.errors import Unavailable

BOUGHT = Adbot(
    id="bot_1",
    order_id="ord_1",
    user_id="cara",
    pool="standard",
    status=AdbotStatus.QUEUED,
    required=2,
    assigned=0,
    missing=2,
    creation_source=CreationSource.PAYMENT,
    execution_mode=ExecutionMode.ASYNC_QUEUE,
    created_at=1,
    queued_reason=QueuedReason.SEQUENCING,
    inbox_id="i",
)
WAITING = replace(BOUGHT, version=2, queued_reason=QueuedReason.INSUFFICIENT_STOCK, seq=0, queued_at=2, inbox_id=None)
READY = replace(
    WAITING, version=3, status=AdbotStatus.READY, missing=0, assigned=2, runs=(Run("u", 0, 2),), queued_reason=None
)
RUNNING = replace(READY, version=4, status=AdbotStatus.RUNNING)
LOST = replace(
    RUNNING,
    version=5,
    status=AdbotStatus.QUEUED,
    missing=1,
    assigned=1,
    runs=(Run("u", 1, 1),),
    queued_reason=QueuedReason.SESSION_LOST,
)
PARKED = replace(WAITING, version=3, queued_reason=QueuedReason.PARKED)


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (None, BOUGHT, ["adbot.created"]),
        (BOUGHT, WAITING, ["adbot.queued"]),
        (BOUGHT, READY, ["adbot.resolved"]),
        (WAITING, replace(WAITING, assigned=1, missing=1), []),
        (WAITING, READY, ["adbot.resolved"]),
        (READY, RUNNING, ["adbot.started"]),
        (RUNNING, replace(RUNNING, status=AdbotStatus.STOPPED), ["adbot.stopped"]),
        (RUNNING, LOST, ["adbot.queued"]),
        (LOST, replace(LOST, queued_reason=QueuedReason.REASSIGNED), []),
        (RUNNING, replace(RUNNING, runs=(Run("u", 5, 2),)), ["adbot.sessions_changed"]),
        (WAITING, replace(WAITING, status=AdbotStatus.CANCELLED, missing=0), ["adbot.cancelled"]),
        (WAITING, PARKED, ["adbot.parked"]),
        (PARKED, replace(WAITING, version=4), []),
        (READY, replace(READY, on_hold=True), []),
        (READY, None, []),
    ],
)
def test_a_change_is_these_events(before: Adbot | None, after: Adbot | None, names: list[str]) -> None:
    assert [event.name for event in events_of(before, after)] == names


class Bus:
    def __init__(self, refuse: int = 0) -> None:
        self.refuse = refuse
        self.sent: list[dict[str, Any]] = []

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  boto3's name
        self.sent += Entries
        failed = [{"ErrorCode": "ThrottlingException"}] * self.refuse
        return {"FailedEntryCount": self.refuse, "Entries": failed}


class Noticed:
    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, int], list[dict[str, Any]]]] = []

    def record(self, batch_id: str, counts: dict[str, int], samples: list[dict[str, Any]]) -> None:
        self.calls.append((batch_id, counts, samples))


def record(number: int, before: Adbot | None, after: Adbot | None) -> dict[str, Any]:
    images: dict[str, Any] = {"Keys": encode(items.adbot_key("bot_1"))}
    if before:
        images["OldImage"] = encode(items.adbot_item(before))
    if after:
        images["NewImage"] = encode(items.adbot_item(after))
    return {"eventID": f"e{number}", "dynamodb": images}


def test_a_batch_becomes_events_with_an_id_of_their_own_and_one_notice() -> None:
    bus, noticed = Bus(), Noticed()
    batch = [record(1, None, BOUGHT), record(2, BOUGHT, WAITING), record(3, WAITING, READY)]

    EventPublisher(bus, "events", noticed).publish(batch)  # type: ignore[arg-type]

    assert [entry["DetailType"] for entry in bus.sent] == ["adbot.created", "adbot.queued", "adbot.resolved"]
    assert json.loads(bus.sent[1]["Detail"])["event_id"] == "bot_1:2:adbot.queued"
    ((batch_id, counts, samples),) = noticed.calls
    assert (batch_id, counts) == ("e1", {"queued": 1, "resolved": 1})
    assert "user_id" not in samples[0]


def test_more_than_ten_events_go_in_several_calls() -> None:
    bus = Bus()
    EventPublisher(bus, "events", Noticed()).publish([record(n, None, BOUGHT) for n in range(25)])  # type: ignore[arg-type]
    assert len(bus.sent) == 25


def test_an_event_that_the_bus_refused_brings_the_batch_back() -> None:
    with pytest.raises(Unavailable, match="ThrottlingException"):
        EventPublisher(Bus(refuse=1), "events", Noticed()).publish([record(1, None, BOUGHT)])  # type: ignore[arg-type]


def test_an_order_that_comes_into_review_is_noticed_once() -> None:
    noticed = Noticed()
    new = {"status": {"S": "REVIEW"}, "id": {"S": "ord_1"}, "review_reason": {"S": "no pool"}}
    change = {"Keys": encode(items.order_key("ord_1")), "NewImage": new}
    again = {**change, "OldImage": new}
    batch = [{"eventID": "e1", "dynamodb": change}, {"eventID": "e2", "dynamodb": again}]

    EventPublisher(Bus(), "events", noticed).publish(batch)  # type: ignore[arg-type]

    assert noticed.calls == [("e1", {"review": 1}, [{"order_id": "ord_1", "review_reason": "no pool"}])]
