"""Batches of the tables' streams that are dropped whole: what they would have done is done all the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adbot_queue.adbots.event_publisher import EventPublisher
from adbot_queue.core import aws, given_up, telemetry
from adbot_queue.jobs.model import JobState
from adbot_queue.queues import counters
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.effects import Provider, charging, new_provider
from tests.builders.jobs import Jobs, known_types
from tests.builders.payments import snapshot
from tests.builders.world import AwsHarness, FakeContext

Record = dict[str, Any]


class Bus:
    """The event bus: fails `failures` times, and keeps what it takes."""

    def __init__(self) -> None:
        self.failures = 0
        self.taken: list[str] = []

    def put_events(self, Entries: list[Record]) -> Record:  # noqa: N803  boto3's name
        if self.failures:
            self.failures -= 1
            raise ClientError({"Error": {"Code": "InternalException"}}, "PutEvents")
        self.taken += [json.loads(entry["Detail"])["event_id"] for entry in Entries]
        return {"FailedEntryCount": 0, "Entries": [{} for _ in Entries]}


class Streams:
    """Streams of the tables, and batches that are dropped as Lambda drops them."""

    def __init__(self, world: AwsHarness) -> None:
        self.world = world
        self.bus = Bus()
        specification: Any = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        self.arns = {
            table: aws.dynamodb().update_table(TableName=world.env[table], StreamSpecification=specification)[
                "TableDescription"
            ]["LatestStreamArn"]
            for table in ("ADBOTS_TABLE", "JOBS_TABLE")
        }

    def records(self, table: str) -> list[Record]:
        """Everything in the stream of a table, as Lambda hands it over."""
        place = self._place(table, "0", "9" * 30)
        return given_up.GivenUpBatches(aws.sqs(), aws.dynamodb_streams, "", {})._read(
            given_up.BatchPosition(
                place["streamArn"], place["shardId"], "1100000000017454423009", str(self._last(table))
            )
        )

    def _last(self, table: str) -> int:
        client = aws.dynamodb_streams()
        shard = client.describe_stream(StreamArn=self.arns[table])["StreamDescription"]["Shards"][0]["ShardId"]
        iterator = client.get_shard_iterator(
            StreamArn=self.arns[table], ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found = client.get_records(ShardIterator=iterator)["Records"]
        return int(found[-1]["dynamodb"]["SequenceNumber"])

    def _place(self, table: str, first: str, last: str) -> Record:
        described = aws.dynamodb_streams().describe_stream(StreamArn=self.arns[table])["StreamDescription"]
        return {
            "shardId": described["Shards"][0]["ShardId"],
            "startSequenceNumber": first,
            "endSequenceNumber": last,
            "approximateArrivalOfFirstRecord": "2026-11-28T00:00:00Z",
            "approximateArrivalOfLastRecord": "2026-11-28T00:00:01Z",
            "batchSize": 1,
            "streamArn": self.arns[table],
        }

    def drop(self, table: str, size: int = 100) -> list[Record]:
        """Drop the whole stream of a table, batch by batch, and return its records."""
        records = self.records(table)
        for start in range(0, len(records), size):
            batch = [record["dynamodb"]["SequenceNumber"] for record in records[start : start + size]]
            self.send({"version": "1.0", "DDBStreamBatchInfo": self._place(table, batch[0], batch[-1])})
        return records

    def send(self, body: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        aws.sqs().send_message(QueueUrl=self.world.queues["given-up"], MessageBody=text)

    def waiting(self) -> int:
        """Messages of the on-failure queue, those in flight included."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = aws.sqs().get_queue_attributes(QueueUrl=self.world.queues["given-up"], AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def sweep(self, left: int = 60_000) -> Record:
        answer: Record = self.world.app("sweep").handler({}, FakeContext(left=left))
        return answer

    def again(self) -> None:
        """Let the messages in flight come back."""
        with suppress(aws.sqs().exceptions.ClientError):
            aws.sqs().set_queue_attributes(
                QueueUrl=self.world.queues["given-up"], Attributes={"VisibilityTimeout": "0"}
            )


@pytest.fixture
def streams(on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> Streams:
    on_aws.pool()
    made = Streams(on_aws)
    monkeypatch.setattr(aws.events(), "put_events", made.bus.put_events)
    made.again()
    return made


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    found: Counter[str] = Counter()
    for module in (telemetry, given_up):
        monkeypatch.setattr(module, "count", lambda name, value=1: found.update({name: value}))
    return found


def some_bots(on: AwsHarness) -> None:
    """Bots that are bought, queued, resolved, started and cancelled."""
    first, second = on.create(2), on.create(3)
    on.upload("s1", "s2", "s3")
    on.adbots.resolver.run("standard", on.time_left)
    on.http("start", "POST /adbots/{id}/start", role="admin", body={}, id=first.id)
    on.http("adbots", "POST /admin/adbots/{id}/cancel", role="admin", body={"reason": "asked to"}, id=second.id)


def announced(records: list[Record]) -> list[str]:
    """The events that the stream's function makes of records."""

    class Ignored:
        def record(self, *_: Any) -> None: ...

    bus = Bus()
    EventPublisher(bus, "events", Ignored()).publish(records)  # type: ignore[arg-type]
    return bus.taken


@pytest.mark.parametrize("size", [1, 3, 100])
def test_domain_events_and_the_digest_of_a_dropped_stream_are_sent(streams: Streams, size: int) -> None:
    some_bots(streams.world)
    records = streams.drop("ADBOTS_TABLE", size)

    streams.sweep()

    expected = announced(records)
    assert {event.rpartition(":")[2] for event in expected} >= {
        "adbot.created",
        "adbot.queued",
        "adbot.resolved",
        "adbot.started",
        "adbot.cancelled",
    }
    assert Counter(streams.bus.taken) == Counter(expected)
    assert streams.waiting() == 0
    rows = aws.dynamodb().scan(TableName=streams.world.env["SYSTEM_TABLE"])["Items"]
    noticed = [row["counts"]["M"] for row in rows if row["pk"]["S"].startswith("NOTICES#") and "counts" in row]
    assert sum(int(counts.get("resolved", {"N": "0"})["N"]) for counts in noticed) == 1
    minutes = {row["pk"]["S"].removeprefix("NOTICES#") for row in rows if row["pk"]["S"].startswith("NOTICES#")}
    digests = [job.payload["minute"] for job in Jobs(streams.world).all() if job.type == "admin-digest"]
    assert sorted(digests) == sorted(minutes)


def test_jobs_of_a_dropped_stream_are_counted_exactly_once(streams: Streams) -> None:
    jobs = Jobs(streams.world)
    with known_types(charging()):
        new_provider()
        jobs.run("charge", {"name": "a"})
        jobs.run("charge", {"name": "b", "goes": ["permanent"]})
    streams.drop("JOBS_TABLE", counters.MAX_RECORDS)
    streams.drop("JOBS_TABLE", counters.MAX_RECORDS)  # the function was about to succeed after all

    streams.sweep()

    totals = counters.from_env().totals()
    assert [totals["money"][name] for name in ("enqueued", "completed", "failed")] == [2, 1, 1]
    assert [totals["money"][f"level_{state}"] for state in ("waiting", "active", "completed")] == [0, 0, 1]


def test_a_batch_that_fails_again_stays_and_stops_no_other(streams: Streams) -> None:
    some_bots(streams.world)
    records = streams.drop("ADBOTS_TABLE", 4)
    batches = streams.waiting()
    streams.bus.failures = 1

    swept = streams.sweep()["stream_batches"]

    assert (swept, streams.waiting()) == (batches, 0)  # the failed batch came back at once, and was processed
    assert Counter(streams.bus.taken) >= Counter(announced(records))


def test_a_bus_that_stays_down_keeps_every_batch(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.sqs().set_queue_attributes(QueueUrl=streams.world.queues["given-up"], Attributes={"VisibilityTimeout": "180"})
    some_bots(streams.world)
    streams.drop("ADBOTS_TABLE")
    streams.bus.failures = 1000

    assert streams.sweep()["stream_batches"] == 0

    assert (streams.waiting(), streams.bus.taken) == (1, [])


@pytest.mark.parametrize("code", ["TrimmedDataAccessException", "ResourceNotFoundException"])
def test_a_batch_that_has_left_the_stream_is_counted_and_its_message_dropped(
    streams: Streams, counted: Counter[str], monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    some_bots(streams.world)
    streams.drop("ADBOTS_TABLE")

    def gone(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code}}, "GetShardIterator")

    monkeypatch.setattr(aws.dynamodb_streams(), "get_shard_iterator", gone)
    streams.sweep()

    assert (streams.waiting(), counted["StreamBatchesLost"]) == (0, 1)


PLACE = {
    "streamArn": "arn:aws:dynamodb:eu-central-1:123456789012:table/other/stream/2026",
    "shardId": "s",
    "startSequenceNumber": "1",
    "endSequenceNumber": "2",
}
ODD: list[Any] = [
    "",
    "not json",
    "[" * 20_000,
    "null",
    "[]",
    {},
    {"DDBStreamBatchInfo": None},
    {"DDBStreamBatchInfo": "x"},
    {"DDBStreamBatchInfo": {}},
    {"DDBStreamBatchInfo": PLACE},
    {"DDBStreamBatchInfo": PLACE | {"streamArn": "x"}},
    {"DDBStreamBatchInfo": PLACE | {"startSequenceNumber": "x"}},
    {"DDBStreamBatchInfo": PLACE | {"startSequenceNumber": "3"}},
]


def test_a_message_that_names_no_batch_is_dropped_and_counted(streams: Streams, counted: Counter[str]) -> None:
    for body in ODD[1:]:
        streams.send(body)

    streams.sweep()

    assert (streams.waiting(), counted["MessagesDropped"]) == (0, len(ODD) - 1)


def test_no_batch_is_begun_without_time_for_it(streams: Streams) -> None:
    some_bots(streams.world)
    streams.drop("ADBOTS_TABLE")

    streams.sweep(left=given_up.RESERVE_MS)

    assert (streams.waiting(), streams.bus.taken) == (1, [])


def test_killed_at_any_call_nothing_of_a_dropped_stream_is_lost(streams: Streams) -> None:
    streams.world.create(2)
    streams.world.upload("s1", "s2")
    streams.world.adbots.resolver.run("standard", streams.world.time_left)
    expected = set(announced(streams.drop("ADBOTS_TABLE")))
    restore = snapshot()
    with crash_after(None) as calls:
        streams.sweep()
    for call in every_call(len(calls.names)):
        restore()
        streams.drop("ADBOTS_TABLE")
        streams.bus.taken.clear()
        with crash_after(call), suppress(Killed):
            streams.sweep()
        streams.sweep()
        assert set(streams.bus.taken) == expected, f"after call {call}"
        assert streams.waiting() == 0


# What jobs are followed by needs no stream at all


@pytest.fixture
def provider() -> Iterator[Provider]:
    with known_types(charging(), charging("mail", "email")):
        yield new_provider()


@pytest.mark.parametrize("goes", [[], ["permanent"]])
def test_children_callbacks_and_result_webhooks_follow_without_any_record_of_the_stream(
    on_aws: AwsHarness, provider: Provider, goes: list[str]
) -> None:
    """The worker dies after each of its calls in turn, and no batch of the stream is ever delivered."""
    jobs = Jobs(on_aws)
    parent = jobs.enqueue("charge", {"name": "parent", "goes": goes}, webhook_url="https://example.com/hook")
    child = jobs.enqueue("mail", {"name": "child"}, depends_on=(parent.id,))
    callback = jobs.enqueue("mail", {"name": "callback"}, depends_on=(parent.id,), run_if_parents_fail=True)
    restore, clock = snapshot(), jobs.clock.now
    with crash_after(None) as calls:
        jobs.work(parent)
    for call in every_call(len(calls.names)):
        restore()
        jobs.clock.now = clock
        new_provider()
        with crash_after(call), suppress(Killed):
            jobs.work(parent)
        _let_an_hour_pass_until(jobs, lambda: all(jobs.get(one).is_terminal for one in (parent, child, callback)))
        ended = JobState.FAILED if goes else JobState.COMPLETED
        assert jobs.get(parent).state is ended, f"after call {call}"
        assert jobs.get(child).state is (JobState.CANCELLED if goes else JobState.COMPLETED), f"after call {call}"
        assert jobs.get(callback).state is JobState.COMPLETED, f"after call {call}"
        [webhook] = jobs.assert_enqueued("deliver-webhook")
        assert webhook.attempts, f"after call {call}"


def _let_an_hour_pass_until(jobs: Jobs, done: Callable[[], bool]) -> None:
    for _ in range(10):
        jobs.advance(360)
        jobs.sweep()
        jobs.drain()
        if done():
            break
