"""The benchmark counts write units by AWS's published rules. Examples are worked out by hand."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from bench.units import Index, Meter, size, started, write_units
from tests.builders.world import AwsHarness

BY_OWNER = {
    "IndexName": "by_owner",
    "KeySchema": [{"AttributeName": "owner"}, {"AttributeName": "at"}],
    "Projection": {"ProjectionType": "KEYS_ONLY"},
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"S": "abc"}, 3),
        ({"S": "é"}, 2),  # bytes of UTF-8, not characters
        ({"N": "0"}, 1),
        ({"N": "7"}, 2),  # one started pair of digits, and 1
        ({"N": "12"}, 2),
        ({"N": "123"}, 3),
        ({"N": "1000"}, 2),  # zeros at the end are no significant digits
        ({"N": "0.05"}, 2),
        ({"N": "-12"}, 3),
        ({"N": "1763769600123"}, 8),  # 13 digits: 7 pairs, and 1
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"N": "5"}]}, 3 + (1 + 2) + (1 + 2)),
        ({"M": {"k": {"S": "v"}}}, 3 + 1 + 1 + 1),
        ({"SS": ["a", "bc"]}, 3),
        ({"NS": ["1", "22"]}, 4),
        ({"B": "AAAA"}, 3),
    ],
)
def test_a_value_has_the_size_that_aws_documents(value: dict[str, Any], expected: int) -> None:
    assert size({"n": value}) == 1 + expected


def of(number_of_bytes: int, **more: str) -> dict[str, Any]:
    """An item of exactly that size."""
    item = {"pk": {"S": "p"}, "sk": {"S": "s"}, **{name: {"S": value} for name, value in more.items()}}
    return {**item, "x": {"S": "-" * (number_of_bytes - size(item) - 1)}}


@pytest.mark.parametrize(("length", "kilobytes"), [(1, 1), (1024, 1), (1025, 2), (2048, 2), (2049, 3)])
def test_a_started_kilobyte_counts_whole(length: int, kilobytes: int) -> None:
    assert started(length) == kilobytes


@pytest.mark.parametrize(
    ("before", "after", "transactional", "units"),
    [
        (None, of(500), False, 1),
        (None, of(500), True, 2),
        (of(500), of(1500), True, 4),  # the larger of the two decides
        (of(3000), of(500), True, 6),
        (of(3000), None, False, 3),  # a delete costs as what goes
        (of(500), of(500), True, 2),  # a refused condition costs as well
        (None, None, True, 2),
    ],
)
def test_a_write_costs_by_the_larger_size_and_twice_in_a_transaction(
    before: dict[str, Any] | None, after: dict[str, Any] | None, transactional: bool, units: int
) -> None:
    assert write_units(before, after, [], transactional=transactional) == units


@pytest.mark.parametrize(
    ("before", "after", "units"),
    [
        (None, of(500, owner="ada", at="1"), 1),  # an entry appears
        (of(500, owner="ada", at="1"), None, 1),  # and disappears
        (of(500, owner="ada", at="1"), of(900, owner="ada", at="1"), 0),  # keys only: what changed is not in it
        (of(500, owner="ada", at="1"), of(500, owner="ada", at="2"), 2),  # it moves: one goes, one comes
        (of(500), of(900), 0),  # not in a sparse index at all
    ],
)
def test_an_index_costs_for_what_it_shows(before: Any, after: Any, units: int) -> None:
    assert Index(BY_OWNER, ["pk", "sk"]).units(before, after) == units


def test_an_index_that_shows_everything_costs_for_every_change_and_by_its_size() -> None:
    everything = Index({**BY_OWNER, "Projection": {"ProjectionType": "ALL"}}, ["pk", "sk"])
    assert everything.units(of(500, owner="ada", at="1"), of(1500, owner="ada", at="1")) == 2
    assert everything.units(of(1500, owner="ada", at="1"), of(1500, owner="ada", at="1")) == 0


def test_the_meter_counts_what_a_purchase_costs(on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unit for each item in each index, two for each item: order (no index), bot (2), inbox, ledger (3)."""
    on_aws.pool()
    metered = boto3.client("dynamodb")
    monkeypatch.setattr(on_aws.adbots.store, "client", metered)
    meter = Meter(metered, boto3.client("dynamodb"))
    bot = on_aws.create(2)
    assert bot.missing == 2
    purchase = (2 + 0) + (2 + 2) + 2 + (2 + 3)
    placement = 2 + 2 + 2 + 2  # header, inbox entry gone, place, bot
    assert meter.taken() == purchase + placement
    assert meter.taken() == 0
    assert len(meter.keys) == 2
