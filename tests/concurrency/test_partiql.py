"""Updates of several items in one call mean the same as one by one, on Amazon's DynamoDB Local and on moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from adbot_queue.core import attribute_values, dynamodb
from adbot_queue.core.dynamodb import ConditionFailed, Item
from adbot_queue.core.updates import BATCH, Update, update_many
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.model import Job, JobMode, JobState, Verdict
from adbot_queue.jobs.store import claims
from adbot_queue.jobs.store.claims import Claims
from adbot_queue.jobs.store.items import item_of
from adbot_queue.testing.moto_partiql import partiql
from adbot_queue.testing.tables import create_tables
from tests.support.dynamodb_local import client, lacking

NOW = 1_790_000_000_000
PLACES = [
    "moto",
    pytest.param(
        "dynamodb local",
        marks=[
            pytest.mark.concurrency,
            pytest.mark.xdist_group("dynamodb-local"),
            pytest.mark.skipif(lacking() is not None, reason=str(lacking())),
        ],
    ),
]


class Place:
    """A DynamoDB with two tables: on one a batch is tried, on the other the same one by one."""

    def __init__(self, on: Any) -> None:
        self.client = on
        self.batch, self.single = (create_tables(on, "JobsTable", prefix=name)["JobsTable"] for name in ("b-", "s-"))

    def put(self, *items: Item) -> None:
        for table in (self.batch, self.single):
            for item in items:
                dynamodb.put_if(self.client, table, item, condition="attribute_not_exists(pk)")

    def rows(self, table: str) -> list[Item]:
        found = [attribute_values.decode(item) for item in self.client.scan(TableName=table)["Items"]]
        return sorted(found, key=lambda item: str(item["pk"]))

    def both(self, updates: list[Update]) -> list[Item | Exception]:
        """What a batch of them answers; one by one they must do and answer the same."""
        together = update_many(self.client, self.batch, updates)
        alone = [outcome for one in updates for outcome in update_many(self.client, self.single, [one])]
        assert [_plain(one) for one in together] == [_plain(one) for one in alone]
        assert self.rows(self.batch) == self.rows(self.single)
        return together


def _plain(outcome: Item | Exception) -> Any:
    return (type(outcome), outcome.item) if isinstance(outcome, ConditionFailed) else outcome


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "moto":
        with mock_aws(), partiql():
            yield Place(client("https://dynamodb.eu-west-1.amazonaws.com"))
        return
    on = client(request.getfixturevalue("endpoint"))
    made = Place(on)
    yield made
    for table in (made.batch, made.single):
        on.delete_table(TableName=table)


def key(name: str) -> Item:
    return {"pk": name, "sk": "x"}


def test_values_of_every_kind_are_set_removed_and_added(place: Place) -> None:
    place.put({**key("a"), "n": 1, "old": "x", "state": "s"}, {**key("b"), "n": -5, "gone": 1, "old": "y"})
    values: dict[str, Any] = {"text": "", "list": [{"a": 1, "b": None}], "set": {"x", "y"}, "yes": True, "map": {}}
    change = "SET #text = :text, #list = :list, #set = :set, #yes = :yes, #map = :map REMOVE #old, gone ADD #n :three"

    first, second = place.both(
        [Update(key(name), change, "attribute_exists(pk)", {**values, "three": 3}) for name in ("a", "b")]
    )

    assert first == {**key("a"), "n": 4, "state": "s", **values}
    assert second == {**key("b"), "n": -2, **values}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("#state = :s AND #n <= :n", "a"),
        ("#state = :s OR #n > :n", "abc"),
        ("#n > :n OR (#state = :s AND attribute_not_exists(late))", "bc"),
        ("attribute_exists(#late) AND (#state = :s OR #n = :n)", "ac"),
        ("attribute_not_exists(late) AND #state = :s AND #n < :n", ""),
    ],
)
def test_conditions_hold_for_the_same_items_and_refusals_return_the_row(
    place: Place, condition: str, holds: str
) -> None:
    items = [
        {**key("a"), "state": "s", "n": 1, "late": 1},
        {**key("b"), "state": "t", "n": 9},
        {**key("c"), "state": "s", "n": 9, "late": 2},
    ]
    place.put(*items)

    outcomes = place.both(
        [Update(key(name), "SET #done = :one", condition, {"s": "s", "n": 5, "one": 1}) for name in "abc"]
    )

    for item, outcome in zip(items, outcomes, strict=True):
        if item["pk"] in holds:
            assert outcome == {**item, "done": 1}
        else:
            assert isinstance(outcome, ConditionFailed)
            assert outcome.item == item


def test_an_update_makes_no_item(place: Place) -> None:
    place.put(key("a"))
    there, missing = place.both(
        [Update(key(name), "SET #n = :n", "attribute_exists(pk)", {"n": 1}, answer=False) for name in "ab"]
    )

    assert there == {}
    assert isinstance(missing, ConditionFailed)
    assert missing.item is None


def test_more_than_fit_into_a_call_are_carried_out_too(place: Place) -> None:
    names = [f"{number:03d}" for number in range(2 * BATCH + 1)]
    place.put(*({**key(name), "n": 0} for name in names))

    place.both([Update(key(name), "ADD #n :n", "#n = :zero", {"n": int(name), "zero": 0}) for name in names])

    assert [item["n"] for item in place.rows(place.batch)] == [*range(len(names))]


def job(name: str) -> Job:
    return Job(name, "note", "money", {"name": name}, NOW)


def test_jobs_are_claimed_and_finished_together_as_one_by_one(place: Place) -> None:
    jobs = [
        job("waits").waiting(NOW),
        job("due").delayed(NOW - 1, NOW - 5_000),
        job("early").delayed(NOW + 60_000, NOW),
        job("blocked").blocked(frozenset({"other"}), NOW),
        job("taken").waiting(NOW).changed(state=JobState.ACTIVE, lease="another's"),
        job("done").completed({"x": 1}, NOW),
    ]
    place.put(*map(item_of, jobs))
    ids = [*(one.id for one in jobs), "unknown"]

    def claimed(table: str) -> list[Job | Exception | None]:
        return Claims(place.client, table).claim_many(ids, "money", "w", "mine", NOW, NOW + 45_000, JobMode.ASYNC_QUEUE)

    found = claimed(place.batch)
    one_by_one = [
        outcome
        for name in ids
        for outcome in Claims(place.client, place.single).claim_many(
            [name], "money", "w", "mine", NOW, NOW + 45_000, JobMode.ASYNC_QUEUE
        )
    ]
    waits, due, early, *others = found
    assert isinstance(waits, Job)
    assert isinstance(due, Job)
    assert isinstance(early, claims.TooEarly)
    assert early.job == jobs[2]
    assert others == [None] * 4
    assert [waits.attempt, due.attempt, waits.version, waits.lease] == [1, 1, 2, "mine"]
    assert found[:2] == one_by_one[:2]
    assert place.rows(place.batch) == place.rows(place.single)
    assert claimed(place.batch)[:2] == [waits, due]  # asked again because the answer got lost

    failure = Failure("transient", "Oops", "HTTP 503")
    ends = [
        (waits, waits.completed({"sum": 1.5}, NOW + 1)),
        (due, due.apply_verdict(Verdict(JobState.DELAYED, 1, 5_000), failure, NOW + 2)),
        (jobs[4].changed(lease="not mine"), jobs[4].completed(None, NOW)),
    ]
    together = Claims(place.client, place.batch).release_many(ends)
    alone = [Claims(place.client, place.single).release(*end) for end in ends]
    assert together == alone
    assert [one.state.value if isinstance(one, Job) else one for one in together] == ["completed", "delayed", None]
    assert place.rows(place.batch) == place.rows(place.single)
    again = Claims(place.client, place.batch).release_many(ends)  # the answer got lost
    assert again == together
