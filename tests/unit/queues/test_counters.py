"""Counters are exact, however often and in whatever batches the stream delivers its records."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.core import aws
from adbot_queue.core.attribute_values import decode
from adbot_queue.core.dynamodb import TRANSACTION_LIMIT, TransactionConflict
from adbot_queue.core.errors import Unavailable
from adbot_queue.queues import counters
from adbot_queue.queues.counters import MAX_RECORDS, MINUTES_TTL_S, SHARDS, Counters
from adbot_queue.queues.statistics import summed
from adbot_queue.testing.tables import template
from tests.builders.clocks import NOW, FakeClock
from tests.builders.crash import Killed, crash_after, every_call
from tests.builders.job_stream import Record, Stream, claimed, job
from tests.builders.payments import empty, failing, rows
from tests.builders.world import AwsHarness, FakeContext, world

QUEUES = ["money", "email", "ai-content"]
Numbers = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def one_world() -> Iterator[AwsHarness]:
    """Making clients and tables takes most of a second: the tests of this module share them."""
    with world() as made:
        yield made


@pytest.fixture
def tables(one_world: AwsHarness) -> AwsHarness:
    empty()
    return one_world


def store(world: AwsHarness) -> Counters:
    return Counters(aws.dynamodb(), world.env["SYSTEM_TABLE"], FakeClock(NOW + 300_000))


def kept(world: AwsHarness) -> tuple[Numbers, Numbers]:
    """Totals by queue, and minutes by queue and minute; what is zero left out."""
    return added_up(rows(world.env["SYSTEM_TABLE"]))


def added_up(items: Sequence[dict[str, Any]]) -> tuple[Numbers, Numbers]:
    totals: dict[str, list[Any]] = {}
    minutes: dict[str, list[Any]] = {}
    for item in items:
        if item["pk"].startswith("COUNTERS#"):
            totals.setdefault(item["sk"], []).append(item)
        elif item["pk"].startswith("MINUTES#"):
            minutes.setdefault(f"{item['pk']} {item['sk'][:16]}", []).append(item)
    return _summed(totals), _summed(minutes)


def _summed(found: dict[str, list[Any]]) -> Numbers:
    sums = {key: {name: n for name, n in summed(items).items() if n} for key, items in found.items()}
    return {key: numbers for key, numbers in sums.items() if numbers}


def of_one_delivery(records: Sequence[Record]) -> tuple[Numbers, Numbers]:
    """What the records say, added up without any table."""
    totals: dict[str, Counter[str]] = {}
    minutes: dict[str, Counter[str]] = {}
    for record in records:
        counted = counters.read(record)
        if counted is None:
            continue
        minute = counters._minute(counted.at)
        for queue, numbers in counted.change.counts.items():
            totals.setdefault(queue, Counter()).update(numbers)
            minutes.setdefault(f"MINUTES#{queue} {minute}", Counter()).update(numbers)
        for queue, numbers in counted.change.levels.items():
            totals.setdefault(queue, Counter()).update(numbers)
    return _summed({key: [one] for key, one in totals.items()}), _summed({key: [one] for key, one in minutes.items()})


def test_a_batch_is_one_transaction_and_nothing_else(tables: AwsHarness) -> None:
    records = Stream().lives(15, random.Random(1), QUEUES)[:MAX_RECORDS]
    with crash_after(None) as calls:
        store(tables).tally(records)
    assert calls.names == ["TransactWriteItems"]
    assert kept(tables) == of_one_delivery(records)


def test_totals_and_minutes_are_read_as_they_were_counted(tables: AwsHarness) -> None:
    records = Stream().lives(15, random.Random(2), QUEUES)[:MAX_RECORDS]
    counting = store(tables)
    counting.tally(records)
    totals, minutes = of_one_delivery(records)
    with crash_after(None) as calls:
        found = counting.totals()
    assert calls.names == ["Query"] * SHARDS
    assert {queue: {name: n for name, n in numbers.items() if n} for queue, numbers in found.items()} == totals
    for queue in QUEUES:
        reported = counting.minutes(queue, 60)
        assert {f"MINUTES#{queue} {minute}": dict(numbers) for minute, numbers in reported.items()} == {
            key: numbers for key, numbers in minutes.items() if key.startswith(f"MINUTES#{queue} ")
        }


def test_minutes_are_the_last_ones_and_no_others(tables: AwsHarness) -> None:
    stream = Stream()
    for ago in (0, 4, 5, 60):
        store(tables).tally([stream.record(None, job(ago), NOW + 300_000 - ago * 60_000)])
    counted = store(tables).minutes("money", 5)
    assert list(counted) == ["2025-11-22T00:01", "2025-11-22T00:05"]


def test_minutes_and_markers_expire_and_totals_stay(tables: AwsHarness) -> None:
    store(tables).tally([Stream().record(None, job())])
    by_kind = {item["pk"].split("#")[0]: item for item in rows(tables.env["SYSTEM_TABLE"])}
    assert by_kind["MINUTES"]["expires_at"] == NOW // 1000 + MINUTES_TTL_S
    assert by_kind["TALLIED"]["expires_at"] > NOW // 1000 + 86_400
    assert "expires_at" not in by_kind["COUNTERS"]


def test_other_items_and_changes_without_meaning_are_not_even_written(tables: AwsHarness) -> None:
    stream = Stream()
    active = claimed(job(), NOW)
    idle = stream.record(active, active.changed(progress={"percent": 50}))
    other = {"eventID": "x", "dynamodb": {"Keys": {"pk": {"S": "IDEM#x"}, "sk": {"S": "I"}}}}
    with crash_after(None) as calls:
        store(tables).tally([idle, other])
    assert calls.names == []


def test_a_record_that_cannot_be_read_is_left_out_and_stops_nothing(tables: AwsHarness) -> None:
    stream = Stream()
    broken = stream.record(None, job(1))
    broken["dynamodb"]["NewImage"]["state"] = {"S": "lost"}
    good = stream.record(None, job(2))
    store(tables).tally([broken, good])
    assert kept(tables)[0] == {"money": {"enqueued": 1, "level_waiting": 1}}


def test_a_batch_with_the_most_different_items_fits_into_one_transaction(tables: AwsHarness) -> None:
    """Every record of a queue and a minute of its own: no batch of this length can have more items."""
    stream = Stream()
    records = [stream.record(None, job(n, f"queue{n}"), NOW + n * 60_000) for n in range(MAX_RECORDS)]
    batch = [counted for record in records if (counted := counters.read(record))]
    assert len(store(tables)._transaction(batch)) == 2 * MAX_RECORDS + 1 <= TRANSACTION_LIMIT
    store(tables).tally(records)
    assert kept(tables) == of_one_delivery(records)


def test_the_template_delivers_no_longer_batches_and_halves_none() -> None:
    mapping = template()["Resources"]["TallyJobsFunction"]["Properties"]["Events"]["Stream"]["Properties"]
    assert mapping["BatchSize"] <= MAX_RECORDS
    assert mapping["ParallelizationFactor"] == 1
    assert mapping["BisectBatchOnFunctionError"] is False
    assert mapping["MaximumRetryAttempts"] > 0


@pytest.mark.parametrize(
    "deliveries",
    [
        [(0, 10), (0, 10)],
        [(0, 10), (0, 25), (25, 30)],
        [(0, 25), (0, 10), (10, 30)],
        [(0, 25), (0, 10), (10, 15), (15, 30)],
        [(0, 25), (0, 10), (10, 15), (0, 30)],
        [(0, 10), (10, 20), (0, 30)],
        [(0, 10), (10, 20), (0, 5), (5, 30)],
        [(0, 10), (10, 20), (0, 15), (15, 17), (17, 30)],
    ],
    ids=["same", "grown", "shrunk", "shrunk twice", "shrunk, then grown", "two back", "back, shrunk", "back, across"],
)
def test_batches_that_come_again_are_counted_once(tables: AwsHarness, deliveries: list[tuple[int, int]]) -> None:
    records = Stream().lives(30, random.Random(3), QUEUES)[:30]
    for start, end in deliveries:
        store(tables).tally(records[start:end])
    assert kept(tables) == of_one_delivery(records[: max(end for _, end in deliveries)])


class InMemory:
    """The DynamoDB calls of the counters, in memory: a thousand stories take seconds. Dies on demand."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.dies_after: int | None = None

    def transact_write_items(self, TransactItems: list[Any]) -> None:  # noqa: N803
        put = TransactItems[0]["Put"]
        present = self._create(put["Item"])
        if present:
            reasons = [
                {"Code": "ConditionalCheckFailed", "Item": present},
                *({"Code": "None"} for _ in TransactItems[1:]),
            ]
            error: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(error, "TransactWriteItems")
        for update in (entry["Update"] for entry in TransactItems[1:]):
            item = self.items.setdefault(_key(update["Key"]), dict(update["Key"]))
            adds = update["UpdateExpression"].partition("ADD ")[2].split(", ")
            for name, value in (add.split(" ") for add in adds):
                number = int(update["ExpressionAttributeValues"][value]["N"])
                item[name[1:]] = {"N": str(int(item.get(name[1:], {"N": "0"})["N"]) + number)}
        self._called()

    def put_item(self, Item: dict[str, Any], **_: Any) -> None:  # noqa: N803
        if self._create(Item):
            raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "PutItem")
        self._called()

    def _create(self, item: dict[str, Any]) -> dict[str, Any] | None:
        present = self.items.get(_key(item))
        self.items.setdefault(_key(item), item)
        return present

    def _called(self) -> None:
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after == 0:
                raise Killed

    def kept(self) -> tuple[Numbers, Numbers]:
        return added_up([decode(item) for item in self.items.values()])


def _key(item: dict[str, Any]) -> str:
    return f"{item['pk']['S']} {item['sk']['S']}"


@given(st.integers(0, 2**32), st.integers(1, 25))
def test_any_story_of_redeliveries_and_crashes_ends_with_the_counts_of_one_delivery(seed: int, lives: int) -> None:
    """Lambda's side: it goes on from the last success that it noted, with batches of any length, and dies anywhere."""
    chance, table = random.Random(seed), InMemory()
    records = Stream().lives(lives, chance, QUEUES)
    noted, successes, deliveries = 0, [0], 0
    while noted < len(records):
        deliveries += 1
        wild = deliveries < 60
        batch = records[noted : noted + chance.randint(1, MAX_RECORDS)]
        table.dies_after = chance.choice([None, None, 1, 1, 2, 3]) if wild else None
        counting = Counters(table, "system", FakeClock())  # type: ignore[arg-type]
        with suppress(Killed):
            counting.tally(batch)
            noted += len(batch)
            successes.append(noted)
        if wild and chance.random() < 0.15:
            noted = chance.choice(successes)  # what was noted since is lost
    assert table.kept() == of_one_delivery(records)


def test_the_same_on_a_real_table(tables: AwsHarness) -> None:
    for call in every_call(3):
        empty()
        records = Stream().lives(12, random.Random(call), QUEUES)[:36]
        with crash_after(call), suppress(Killed):
            store(tables).tally(records[:10])
            store(tables).tally(records[:20])
        store(tables).tally(records[:5])
        store(tables).tally(records[5:36])
        assert kept(tables) == of_one_delivery(records)


def test_two_that_count_the_same_batch_at_once_count_it_once(
    tables: AwsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Stream().lives(10, random.Random(4), QUEUES)[:20]
    transaction = Counters._transaction

    def and_then_the_other_is_faster(self: Counters, batch: Any) -> Any:
        made = transaction(self, batch)
        monkeypatch.undo()
        store(tables).tally(records)
        return made

    monkeypatch.setattr(Counters, "_transaction", and_then_the_other_is_faster)
    store(tables).tally(records)
    assert kept(tables) == of_one_delivery(records)


def test_writers_that_collide_go_on_to_other_shards(tables: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Stream().lives(10, random.Random(5), QUEUES)[:20]
    counting, commit, collided = store(tables), counters.Transaction.commit, iter([True, True])

    def collide(self: Any) -> None:
        if next(collided, False):
            raise TransactionConflict("TransactionConflict")
        commit(self)

    monkeypatch.setattr(counters.Transaction, "commit", collide)
    counting.tally(records)
    assert {item["pk"] for item in rows(tables.env["SYSTEM_TABLE"], "COUNTERS#")} == {"COUNTERS#2"}
    assert kept(tables) == of_one_delivery(records)
    assert SHARDS > 2


def test_a_throttled_table_leaves_the_batch_to_the_next_delivery(tables: AwsHarness) -> None:
    records = Stream().lives(5, random.Random(6), QUEUES)[:10]
    with failing(aws.dynamodb(), "TransactWriteItems", code="ThrottlingException"), pytest.raises(Unavailable):
        store(tables).tally(records)
    assert kept(tables) == ({}, {})
    store(tables).tally(records)
    assert kept(tables) == of_one_delivery(records)


def test_the_function_counts_what_its_stream_delivers(tables: AwsHarness) -> None:
    active = claimed(job(), NOW + 10)
    records = Stream().life(job(), active, active.completed({}, NOW + 20))
    for _ in range(2):
        answer = tables.app("tally_jobs").handler({"Records": records}, FakeContext())
        assert answer == {"batchItemFailures": []}
    assert kept(tables)[0] == of_one_delivery(records)[0]
