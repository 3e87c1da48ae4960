"""Values, transactions and cursors."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.core import aws, cursors, dynamodb
from adbot_queue.core.attribute_values import decode, encode
from adbot_queue.core.dynamodb import Transaction, TransactionConflict, TransactionRejected
from adbot_queue.core.errors import Invalid
from tests.builders.world import AwsHarness

scalars = st.text() | st.integers(-(10**18), 10**18) | st.booleans()
values = st.recursive(
    scalars | st.sets(st.integers(0, 99), min_size=1) | st.sets(st.text(min_size=1), min_size=1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), values))
def test_what_is_stored_comes_back_the_same(item: dict[str, Any]) -> None:
    assert decode(encode(item)) == item


def test_what_is_none_is_not_stored() -> None:
    assert encode({"a": None, "b": 1}) == {"b": {"N": "1"}}


@pytest.mark.parametrize("value", [1.5, b"x", object()])
def test_a_value_that_this_project_does_not_store_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode({"a": value})


def test_a_refused_transaction_names_the_tags_and_returns_the_rows(on_aws: AwsHarness) -> None:
    table = on_aws.env["ADBOTS_TABLE"]
    Transaction(aws.dynamodb()).create("first", table, {"pk": "a", "sk": "a", "n": 1}).commit()

    again = Transaction(aws.dynamodb())
    again.create("first", table, {"pk": "a", "sk": "a", "n": 2}).create("other", table, {"pk": "b", "sk": "b"})
    with pytest.raises(TransactionRejected) as refused:
        again.commit()

    assert refused.value.failed == {"first": {"pk": "a", "sk": "a", "n": 1}}
    assert dynamodb.get(aws.dynamodb(), table, {"pk": "b", "sk": "b"}) is None


@pytest.mark.parametrize(
    "response",
    [
        {"Error": {"Code": "ThrottlingException"}},
        {"Error": {"Code": "TransactionInProgressException"}},
        {
            "Error": {"Code": "TransactionCanceledException"},
            "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
        },
    ],
)
def test_contention_says_that_nothing_was_written_and_to_try_again(
    on_aws: AwsHarness, monkeypatch: pytest.MonkeyPatch, response: Any
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError(response, "TransactWriteItems")

    monkeypatch.setattr(aws.dynamodb(), "transact_write_items", refuse)
    with pytest.raises(TransactionConflict):
        Transaction(aws.dynamodb()).create("x", on_aws.env["ADBOTS_TABLE"], {"pk": "a", "sk": "a"}).commit()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "bm90IGpzb24",
        cursors.make_cursor({"pk": "x"})[:-3],
        "W10",
        "e30",
        pytest.param("W1tb" * 466, id="deep"),
    ],
)
def test_a_cursor_that_we_did_not_give_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor"):
        cursors.open_cursor(cursor)


def test_a_cursor_leads_back_to_its_position() -> None:
    position = {"pk": "a", "sk": "b#1"}
    assert cursors.open_cursor(cursors.make_cursor(position)) == position


def test_numbers_are_added_to_an_item_whether_it_is_there_or_not(on_aws: AwsHarness) -> None:
    table, key = on_aws.env["SYSTEM_TABLE"], {"pk": "a", "sk": "a"}
    for _ in range(2):
        Transaction(aws.dynamodb()).add("sum", table, key, {"count": 2, "level": -1}, expires_at=7).commit()
    Transaction(aws.dynamodb()).add("sum", table, key, {"count": 1}).commit()
    assert dynamodb.get(aws.dynamodb(), table, key) == {**key, "count": 5, "level": -2, "expires_at": 7}


class Conflicting:
    """A client whose first writes meet transactions."""

    def __init__(self, times: int) -> None:
        self.left = times

    def update_item(self, **_: Any) -> dict[str, Any]:
        if self.left:
            self.left -= 1
            raise ClientError({"Error": {"Code": "TransactionConflictException"}}, "UpdateItem")
        return {"Attributes": {"n": {"N": "1"}}}


def test_a_write_that_meets_transactions_is_tried_again() -> None:
    client: Any = Conflicting(times=5)
    assert dynamodb.update_if(client, "t", {"pk": "a"}, "SET n = :n", condition="x = :x", n=1, x=1) == {"n": 1}


def test_a_write_that_meets_transactions_all_the_time_says_so() -> None:
    client: Any = Conflicting(times=99)
    with pytest.raises(ClientError, match="TransactionConflictException"):
        dynamodb.update_if(client, "t", {"pk": "a"}, "SET n = :n", condition="x = :x", n=1, x=1)
    assert client.left == 99 - dynamodb.CONFLICT_TRIES


@pytest.mark.parametrize(
    ("code", "reasons", "invalid"),
    [
        ("ValidationException", [], True),  # of DynamoDB Local, and of a single write
        ("TransactionCanceledException", ["None", "ValidationError"], True),  # of DynamoDB itself
        ("TransactionCanceledException", ["None", "ConditionalCheckFailed"], False),
        ("TransactionCanceledException", [], False),
        ("ThrottlingException", [], False),
    ],
)
def test_an_update_that_does_not_fit_its_item_differs_from_other_refusals(
    code: str, reasons: list[str], invalid: bool
) -> None:
    answer: Any = {"Error": {"Code": code}, "CancellationReasons": [{"Code": reason} for reason in reasons]}

    assert dynamodb.is_invalid(ClientError(answer, "TransactWriteItems")) is invalid
