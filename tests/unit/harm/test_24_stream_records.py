"""One unreadable record of a table's stream harms itself only; its neighbours are processed once."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adbot_queue.adbots.event_publisher import EventPublisher
from adbot_queue.adbots.model import Adbot, AdbotStatus, CreationSource, ExecutionMode, QueuedReason, Run
from adbot_queue.adbots.storage import items
from adbot_queue.core import aws, telemetry
from adbot_queue.core.attribute_values import decode, encode
from adbot_queue.core.errors import Unavailable
from adbot_queue.testing.tables import TEMPLATE
from tests.builders.job_stream import Stream, claimed, died, job
from tests.builders.world import AwsHarness, FakeContext

Record = dict[str, Any]
Break = Callable[[Record], Any]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What the code counts, by metric."""
    found: Counter[str] = Counter()
    monkeypatch.setattr(telemetry, "count", lambda name, value=1: found.update({name: value}))
    return found


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch, on_aws: AwsHarness) -> list[Any]:
    """What goes out to the event bus."""
    sent: list[Any] = []

    def put_events(Entries: list[Record]) -> Record:  # noqa: N803  boto3's name
        sent.extend(Entries)
        return {"FailedEntryCount": 0, "Entries": [{} for _ in Entries]}

    monkeypatch.setattr(aws.events(), "put_events", put_events)
    return sent


def bot(number: int) -> Adbot:
    return Adbot(
        id=f"bot_{number}",
        order_id=f"ord_{number}",
        user_id="cara",
        pool="standard",
        status=AdbotStatus.QUEUED,
        required=2,
        assigned=0,
        missing=2,
        creation_source=CreationSource.PAYMENT,
        execution_mode=ExecutionMode.ASYNC_QUEUE,
        created_at=1_763_769_600_000,
        queued_reason=QueuedReason.SEQUENCING,
        inbox_id="i1",
    )


def bot_record(number: int) -> Record:
    """A bot that waited and is complete."""
    before = bot(number)
    after = replace(before, status=AdbotStatus.READY, assigned=2, missing=0, runs=(Run("u", 0, 2),), version=2)
    body = {
        "ApproximateCreationDateTime": 1_763_769_600,
        "Keys": encode(items.adbot_key(before.id)),
        "SequenceNumber": f"{number:021d}",
        "OldImage": encode(items.adbot_item(before)),
        "NewImage": encode(items.adbot_item(after)),
    }
    return {"eventID": f"e{number}", "eventName": "MODIFY", "eventSource": "aws:dynamodb", "dynamodb": body}


def job_records(count: int) -> list[Record]:
    """Jobs whose last attempt is spent."""
    stream = Stream()
    dying = [claimed(job(number, "email"), 1_763_769_600_000) for number in range(count)]
    return [stream.record(active, died(active, 1_763_769_600_000)) for active in dying]


def change(image: str, name: str, value: Any) -> Break:
    return lambda record: record["dynamodb"][image].update({name: value})


def without(image: str, name: str) -> Break:
    return lambda record: record["dynamodb"][image].pop(name)


def drop(name: str) -> Break:
    return lambda record: record["dynamodb"].pop(name)


def set_to(name: str, value: Any) -> Break:
    return lambda record: record.update({name: value})


SHAPES: dict[str, Break] = {
    "no NewImage": drop("NewImage"),
    "no OldImage": drop("OldImage"),
    "no Keys": drop("Keys"),
    "empty Keys": lambda record: record["dynamodb"].update(Keys={}),
    "a numeric key": lambda record: record["dynamodb"]["Keys"].update(pk={"N": "1"}),
    "no body": lambda record: record.pop("dynamodb"),
    "a body that is text": set_to("dynamodb", "gone"),
    "an unknown kind": set_to("eventName", "EXPIRE"),
    "an image that is a list": lambda record: record["dynamodb"].update(NewImage=[1]),
    "an untyped value": lambda record: record["dynamodb"]["NewImage"].update(id="plain", status="x", state="x"),
}
"""Of any table."""

BOTS: dict[str, Break] = SHAPES | {
    "a new status": change("NewImage", "status", {"S": "PAUSED"}),
    "a new status before": change("OldImage", "status", {"S": "PAUSED"}),
    "a new reason": change("OldImage", "queued_reason", {"S": "ON_CREDIT"}),
    "a new source": change("NewImage", "creation_source", {"S": "PARTNER"}),
    "runs of another type": change("NewImage", "runs", {"S": "u:0:2"}),
    "runs of another shape": change("NewImage", "runs", {"L": [{"L": [{"S": "u"}]}]}),
    **{f"no {name}": without("NewImage", name) for name in ("status", "runs", "id", "missing", "execution_mode")},
}
JOBS: dict[str, Break] = SHAPES | {
    "a new state": change("NewImage", "state", {"S": "snoozed"}),
    "a new state before": change("OldImage", "state", {"S": "snoozed"}),
    "no state": without("NewImage", "state"),
    "no queue": without("NewImage", "queue"),
    "a queue of another type": lambda r: [r["dynamodb"][i].update(queue={"N": "3"}) for i in ("OldImage", "NewImage")],
    "no id of the record": lambda record: record.pop("eventID"),
    "no time": drop("ApproximateCreationDateTime"),
}


def batch(good: list[Record], spoil: Break) -> list[Record]:
    """Two good records with an unreadable one before, between and behind them."""
    bad = [copy.deepcopy(record) for record in good[2:]]
    for record in bad:
        spoil(record)
    return [bad[0], good[0], bad[1], good[1], bad[2]]


@pytest.mark.parametrize("spoilt", BOTS)
def test_the_neighbours_of_an_unreadable_record_of_a_bot_are_announced_once(
    spoilt: str, on_aws: AwsHarness, reported: list[Any], counted: Counter[str]
) -> None:
    records = batch([bot_record(number) for number in range(1, 6)], BOTS[spoilt])

    answer = on_aws.app("tally").handler({"Records": records}, FakeContext())

    assert answer == {"batchItemFailures": []}
    announced = [json.loads(entry["Detail"])["event_id"] for entry in reported]
    assert announced == ["bot_1:2:adbot.resolved", "bot_2:2:adbot.resolved"]
    assert counted["StreamRecordsUnreadable"] == 3


@pytest.mark.parametrize("spoilt", JOBS)
def test_the_neighbours_of_an_unreadable_record_of_a_job_are_counted_once(
    spoilt: str, on_aws: AwsHarness, counted: Counter[str]
) -> None:
    good = job_records(5)
    records = batch(good, JOBS[spoilt])

    answers = [on_aws.app("tally_jobs").handler({"Records": records}, FakeContext()) for _ in range(2)]

    assert answers == [{"batchItemFailures": []}] * 2
    assert counted["RecordsTallied"] == 2
    assert counted["StreamRecordsUnreadable"] == 6  # three in each delivery


@pytest.mark.parametrize(
    "missing", ["SequenceNumber", "eventID", "eventName", "eventSource", "ApproximateCreationDateTime"]
)
def test_what_an_announcement_does_not_need_decides_nothing(
    missing: str, on_aws: AwsHarness, reported: list[Any], counted: Counter[str]
) -> None:
    record = bot_record(1)
    record.pop(missing, None)
    record["dynamodb"].pop(missing, None)

    on_aws.app("tally").handler({"Records": [record, bot_record(2)]}, FakeContext())

    assert len(reported) == 2
    assert not counted["StreamRecordsUnreadable"]


def test_an_attribute_of_a_newer_version_decides_nothing(
    on_aws: AwsHarness, reported: list[Any], counted: Counter[str]
) -> None:
    record = bot_record(1)
    record["dynamodb"]["NewImage"] |= {"score": {"N": "1.5"}, "blob": {"B": "aGk="}, "tags": {"BS": ["aGk="]}}

    on_aws.app("tally").handler({"Records": [record]}, FakeContext())

    assert len(reported) == 1
    assert not counted["StreamRecordsUnreadable"]


def test_an_order_in_review_is_noticed_although_its_neighbour_is_unreadable(
    on_aws: AwsHarness, reported: list[Any], counted: Counter[str]
) -> None:
    noticed: list[tuple[str, dict[str, int]]] = []

    class Noticed:
        def record(self, batch_id: str, counts: dict[str, int], samples: list[Any]) -> None:
            noticed.append((batch_id, counts))

    image = {"pk": {"S": "ORDER#o"}, "id": {"S": "o"}, "status": {"S": "REVIEW"}}
    order = {"eventID": "e9", "eventName": "INSERT", "dynamodb": {"Keys": {"pk": image["pk"]}, "NewImage": image}}
    broken = {**copy.deepcopy(order), "eventID": "e8"}
    broken["dynamodb"]["NewImage"]["status"] = "REVIEW"  # type: ignore[index]

    EventPublisher(aws.events(), "events", Noticed()).publish([broken, order])

    assert noticed == [("e9", {"review": 1})]
    assert counted["StreamRecordsUnreadable"] == 1


def test_a_batch_of_nothing_but_unreadable_records_is_done(on_aws: AwsHarness, counted: Counter[str]) -> None:
    for function in ("tally", "tally_jobs"):
        records: list[Any] = [None, 3, "x", [], {}, {"dynamodb": None}]
        assert on_aws.app(function).handler({"Records": records}, FakeContext()) == {"batchItemFailures": []}

    assert counted["StreamRecordsUnreadable"] == 6 * 2


class Bus:
    """Answers each call with the codes that are next; refuses nothing after them."""

    def __init__(self, *codes: list[str]) -> None:
        self.codes = list(codes)
        self.sent: list[list[str]] = []

    def put_events(self, Entries: list[Record]) -> Record:  # noqa: N803  boto3's name
        self.sent.append([entry["Resources"][0] for entry in Entries])
        codes = self.codes.pop(0) if self.codes else [""] * len(Entries)
        return {
            "FailedEntryCount": sum(map(bool, codes)),
            "Entries": [{"ErrorCode": code} if code else {} for code in codes],
        }


def publish_all(bus: Bus, records: list[Record]) -> None:
    class Noticed:
        def record(self, *_: Any) -> None: ...

    EventPublisher(bus, "events", Noticed()).publish(records)  # type: ignore[arg-type]


def test_only_the_events_that_the_bus_refused_for_now_are_sent_again(counted: Counter[str]) -> None:
    bus = Bus(["", "ThrottlingException", ""])
    publish_all(bus, [bot_record(1), bot_record(2), bot_record(3)])

    assert bus.sent == [["bot_1", "bot_2", "bot_3"], ["bot_2"]]
    assert not counted["StreamRecordsUnreadable"]


def test_an_event_that_the_bus_never_takes_is_dropped_and_counted(counted: Counter[str]) -> None:
    bus = Bus(["", "MalformedDetail", "InternalFailure"])
    publish_all(bus, [bot_record(1), bot_record(2), bot_record(3)])

    assert bus.sent == [["bot_1", "bot_2", "bot_3"], ["bot_3"]]
    assert counted["StreamRecordsUnreadable"] == 1


def test_a_bus_that_goes_on_refusing_brings_the_batch_back() -> None:
    with pytest.raises(Unavailable, match="InternalFailure"):
        publish_all(Bus(*[["InternalFailure"]] * 10), [bot_record(1)])


def test_events_of_fragmented_bots_fit_into_a_call() -> None:
    sizes: list[int] = []

    class Measuring(Bus):
        def put_events(self, Entries: list[Record]) -> Record:  # noqa: N803  boto3's name
            sizes.append(sum(len(entry["Detail"]) for entry in Entries))
            return super().put_events(Entries)

    records = [bot_record(number) for number in range(10)]
    for record in records:
        image = decode(record["dynamodb"]["NewImage"])
        record["dynamodb"]["NewImage"] = encode(image | {"runs": [[f"up_{n:030d}", 2 * n, 1] for n in range(500)]})
    publish_all(bus := Measuring(), records)

    assert [name for call in bus.sent for name in call] == [f"bot_{number}" for number in range(10)]
    assert max(sizes) < 256 * 1024


def test_the_alarm_of_unreadable_records_is_in_the_template_and_the_runbook() -> None:
    assert "StreamRecordsUnreadable" in TEMPLATE.read_text("utf-8")
    assert "`StreamRecordsUnreadable`" in (TEMPLATE.parents[1] / "docs" / "runbook.md").read_text("utf-8")
