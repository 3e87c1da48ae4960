"""What `tests.support.moto_speed` replaces answers as moto does."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.builders.world import AwsHarness, empty
from tests.support import moto_speed

KINDS: dict[str, Any] = {
    "s": {"S": "é"},
    "n": {"N": "1.50"},
    "b": {"B": b"\x00\xff"},
    "bool": {"BOOL": False},
    "null": {"NULL": True},
    "ss": {"SS": ["x", "y"]},
    "ns": {"NS": ["1", "2"]},
    "bs": {"BS": [b"x", b"\xfe"]},
    "l": {"L": [{"S": "x"}, {"M": {"n": {"N": "1"}, "e": {"L": []}}}, {"B": b"\x01"}]},
    "m": {"M": {"n": {"N": "1"}, "m": {"M": {}}, "s": {"S": ""}, "b": {"B": b"\x02"}}},
}


@cache
def client() -> Any:
    """Return a client of boto3's own: the layer's sends no binary values."""
    return boto3.client("dynamodb")


def key(pk: str, sk: str = "0") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


@pytest.fixture(params=["moto", "replaced"])
def table(on_aws: AwsHarness, request: pytest.FixtureRequest) -> Any:
    name = on_aws.env["SYSTEM_TABLE"]
    for pk in ("a", "b", "c"):
        for sk in ("2", "1", "3"):
            client().put_item(TableName=name, Item=key(pk, sk) | KINDS)
    with moto_speed.originals() if request.param == "moto" else nullcontext():
        yield name


def rows(table: str) -> list[dict[str, Any]]:
    return client().scan(TableName=table, ConsistentRead=True)["Items"]


def put(table: str, pk: str, sk: str, **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": key(pk, sk) | more}}


def update(table: str, pk: str, sk: str, **more: Any) -> dict[str, Any]:
    values = {":v": {"S": "new"}, ":l": {"L": [{"S": "more"}]}}
    expression = "SET s = :v, m.s = :v, l = list_append(if_not_exists(l, :l), :l) REMOVE n"
    operation = {"UpdateExpression": expression, "ExpressionAttributeValues": values}
    return {"Update": {"TableName": table, "Key": key(pk, sk)} | operation | more}


def delete(table: str, pk: str, sk: str) -> dict[str, Any]:
    return {"Delete": {"TableName": table, "Key": key(pk, sk)}}


def check(table: str, pk: str, sk: str, condition: str, **more: Any) -> dict[str, Any]:
    return {"ConditionCheck": {"TableName": table, "Key": key(pk, sk), "ConditionExpression": condition} | more}


def test_a_transaction_that_succeeds_writes_all(table: str) -> None:
    before = {(row["pk"]["S"], row["sk"]["S"]): row for row in rows(table)}

    client().transact_write_items(
        TransactItems=[
            put(table, "a", "1", s={"S": "other"}),
            put(table, "d", "1"),
            update(table, "b", "1"),
            delete(table, "c", "1"),
            check(table, "c", "2", "attribute_exists(pk)"),
        ]
    )

    after = {(row["pk"]["S"], row["sk"]["S"]): row for row in rows(table)}
    assert {at for at in before | after if before.get(at) != after.get(at)} == {
        ("a", "1"),
        ("d", "1"),
        ("b", "1"),
        ("c", "1"),
    }
    assert after["a", "1"] == key("a", "1") | {"s": {"S": "other"}}
    changed = {"s": {"S": "new"}, "l": {"L": [*KINDS["l"]["L"], {"S": "more"}]}}
    changed["m"] = {"M": KINDS["m"]["M"] | {"s": {"S": "new"}}}
    expected = key("b", "1") | KINDS | changed
    del expected["n"]
    assert after["b", "1"] == expected


def test_a_refused_transaction_writes_nothing_and_says_which_item_refused_it(table: str) -> None:
    before = rows(table)

    with pytest.raises(ClientError) as refused:
        client().transact_write_items(
            TransactItems=[
                put(table, "a", "1"),
                put(table, "d", "1"),
                update(table, "b", "1"),
                delete(table, "c", "1"),
                check(table, "c", "2", "attribute_not_exists(pk)", ReturnValuesOnConditionCheckFailure="ALL_OLD"),
                check(table, "c", "9", "attribute_exists(pk)", ReturnValuesOnConditionCheckFailure="ALL_OLD"),
            ]
        )

    assert refused.value.response["Error"]["Code"] == "TransactionCanceledException"
    reasons = refused.value.response["CancellationReasons"]  # type: ignore[typeddict-item]
    assert [reason["Code"] for reason in reasons] == ["None"] * 4 + ["ConditionalCheckFailed"] * 2
    assert [reason.get("Item") for reason in reasons] == [None] * 4 + [key("c", "2") | KINDS, None]
    assert rows(table) == before
    client().transact_write_items(TransactItems=[put(table, "d", "1"), delete(table, "c", "1")])
    assert len(rows(table)) == len(before)


@pytest.mark.parametrize("fault", ["same item twice", "no such attribute", "no such table", "no key"])
def test_a_faulty_transaction_writes_nothing(table: str, fault: str) -> None:
    before = rows(table)
    last = {
        "same item twice": put(table, "d", "1", s={"S": "again"}),
        "no such attribute": update(table, "a", "1", UpdateExpression="SET #x = :v"),
        "no such table": put("nowhere", "a", "1"),
        "no key": {"Put": {"TableName": table, "Item": {"sk": {"S": "1"}}}},
    }[fault]

    with pytest.raises(ClientError):
        client().transact_write_items(
            TransactItems=[put(table, "d", "1"), update(table, "b", "1"), delete(table, "c", "1"), last]
        )

    assert rows(table) == before


def test_a_query_answers_its_partition_in_order_page_by_page(table: str) -> None:
    asked = {
        "TableName": table,
        "KeyConditionExpression": "pk = :p AND sk >= :s",
        "ExpressionAttributeValues": {":p": {"S": "b"}, ":s": {"S": "2"}},
    }
    assert client().query(**asked)["Items"] == [key("b", sk) | KINDS for sk in ("2", "3")]
    first = client().query(**asked, Limit=1, ScanIndexForward=False)
    assert (first["Items"], first["LastEvaluatedKey"]) == ([key("b", "3") | KINDS], key("b", "3"))
    rest = client().query(**asked, ScanIndexForward=False, ExclusiveStartKey=first["LastEvaluatedKey"])
    assert (rest["Items"], rest.get("LastEvaluatedKey")) == ([key("b", "2") | KINDS], None)
    nothing = asked["ExpressionAttributeValues"] | {":p": {"S": "nowhere"}}
    assert client().query(**asked | {"ExpressionAttributeValues": nothing})["Items"] == []


def test_every_kind_of_value_comes_back_as_it_was_written(table: str) -> None:
    written = key("b", "1") | KINDS
    assert client().get_item(TableName=table, Key=key("b", "1"))["Item"] == written
    batch = client().batch_get_item(RequestItems={table: {"Keys": [key("b", "1")]}})
    assert batch["Responses"][table] == [written]
    together = client().transact_get_items(TransactItems=[{"Get": {"TableName": table, "Key": key("b", "1")}}])
    assert together["Responses"] == [{"Item": written}]
    old = client().put_item(TableName=table, Item=key("b", "1"), ReturnValues="ALL_OLD")
    assert old["Attributes"] == written
    deleted = client().delete_item(TableName=table, Key=key("c", "1"), ReturnValues="ALL_OLD")
    assert deleted["Attributes"] == key("c", "1") | KINDS


def test_a_refused_write_hands_the_old_item_back(table: str) -> None:
    with pytest.raises(ClientError) as refused:
        client().put_item(
            TableName=table,
            Item=key("b", "1"),
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )

    assert refused.value.response["Item"] == key("b", "1") | KINDS  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        (
            "SET n = n + :one, l[0] = :s, m.s = if_not_exists(m.none, :s) REMOVE b, l[2], l[1] ADD c :one DELETE ss :x",
            {},
        ),
        ("SET #a = :s, m.#b = m.n, q = size - :one", {"#a": "s", "#b": "new"}),
        ("SET pk = :s", {}),
        ("SET s = :s SET n = :one", {}),
        ("SET s = :s, s = :s", {}),
        ("SET m.s = :s REMOVE m", {}),
        ("SET nothing.s = :s", {}),
        ("SET n = :missing", {}),
        ("SET n = n + :s", {}),
        ("ADD s :one", {}),
        ("SET", {}),
    ],
)
def test_an_update_changes_or_refuses_as_moto_does(on_aws: AwsHarness, expression: str, names: dict[str, str]) -> None:
    values = {":one": {"N": "1"}, ":s": {"S": "text"}, ":x": {"SS": ["x"]}}
    table = on_aws.env["SYSTEM_TABLE"]
    asked: dict[str, Any] = {"TableName": table, "Key": key("a"), "UpdateExpression": expression}
    if used := {name: value for name, value in values.items() if name in expression}:
        asked["ExpressionAttributeValues"] = used
    if names:
        asked["ExpressionAttributeNames"] = names

    def outcome() -> Any:
        client().put_item(TableName=table, Item=key("a") | KINDS | {"size": {"N": "7"}})
        try:
            client().update_item(**asked)
        except ClientError as refused:
            return refused.response["Error"]
        return rows(table)

    with moto_speed.originals():
        original = outcome()
    assert [outcome(), outcome()] == [original, original]


CONDITIONS = [
    "s = :s",
    "#n = :n",
    "n < :n AND (s = :s OR NOT contains(ss, :s))",
    "n BETWEEN :n AND :n",
    "n IN (:n, :s)",
    "begins_with(s, :s)",
    "attribute_exists(m.#n)",
    "attribute_type(s, :s)",
    "size(l) > :n",
    "m.n = :n",
    "s = :missing",
    "#missing = :s",
    "s = = :s",
    "((s = :s))",
    "size = :n",
    "nothing(s)",
]
VALUES: list[dict[str, Any]] = [
    {":s": {"S": "é"}, ":n": {"N": "1.5"}},
    {":s": {"S": "S"}, ":n": {"N": "1"}},
    {":s": {"SS": ["y", "x"]}, ":n": {"S": "1.5"}},
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_is_met_refused_or_faulty_as_in_moto(on_aws: AwsHarness, condition: str) -> None:
    """Whatever values and names the same text was sent with before."""
    table = on_aws.env["SYSTEM_TABLE"]
    client().put_item(TableName=table, Item=key("a") | KINDS)

    def outcome(values: dict[str, Any], name: str) -> Any:
        asked: dict[str, Any] = {"TableName": table, "Item": key("a") | KINDS, "ConditionExpression": condition}
        if used := {one: value for one, value in values.items() if one in condition}:
            asked["ExpressionAttributeValues"] = used
        if "#n" in condition:
            asked["ExpressionAttributeNames"] = {"#n": name}
        try:
            client().put_item(**asked)
        except ClientError as refused:
            return refused.response["Error"]
        except (KeyError, TypeError, ValueError) as faulty:  # which AWS answers in words
            return type(faulty)
        return "met"

    asked = [(values, name) for values in VALUES for name in ("n", "s")]
    with moto_speed.originals():
        originals = [outcome(*one) for one in asked]
    assert [outcome(*one) for one in asked * 2] == originals * 2


@pytest.mark.parametrize("original", [True, False])
def test_a_refused_transaction_leaves_nothing_in_the_stream(on_aws: AwsHarness, original: bool) -> None:
    table = on_aws.env["SYSTEM_TABLE"]
    with moto_speed.originals() if original else nullcontext():
        arn = client().update_table(
            TableName=table, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        )["TableDescription"]["LatestStreamArn"]
        client().transact_write_items(TransactItems=[put(table, "a", "1"), put(table, "b", "1")])
        with pytest.raises(ClientError):
            client().transact_write_items(
                TransactItems=[
                    put(table, "c", "1"),
                    delete(table, "a", "1"),
                    check(table, "d", "1", "attribute_exists(pk)"),
                ]
            )
        client().transact_write_items(TransactItems=[delete(table, "b", "1")])
        streams = boto3.client("dynamodbstreams")
        shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        begin = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        records = streams.get_records(ShardIterator=begin["ShardIterator"])["Records"]

    found = [(record["eventName"], record["dynamodb"]["Keys"]["pk"]["S"]) for record in records]
    assert found == [("INSERT", "a"), ("INSERT", "b"), ("REMOVE", "b")]


def test_queues_answer_as_in_moto(on_aws: AwsHarness) -> None:
    sqs = boto3.client("sqs")
    payments, fifo = on_aws.queues["payments"], on_aws.queues["allocation"]

    def answer(call: Any, **asked: Any) -> Any:
        try:
            found = call(**asked)
        except ClientError as refused:
            found = refused.response
            return found["Error"]
        own = {"ResponseMetadata", "MessageId", "ReceiptHandle", "SequenceNumber"}
        return {name: _without(value, own) for name, value in found.items() if name not in own}

    def story() -> list[Any]:
        attributes = {"a": {"DataType": "String", "StringValue": "x"}, "b": {"DataType": "Binary", "BinaryValue": b"x"}}
        entries = [{"Id": "1", "MessageBody": "one"}, {"Id": "2", "MessageBody": "two", "DelaySeconds": 60}]
        counts: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
        said = [
            answer(sqs.send_message, QueueUrl=payments, MessageBody="first"),
            answer(sqs.send_message, QueueUrl=payments, MessageBody="é", MessageAttributes=attributes),
            answer(sqs.send_message_batch, QueueUrl=payments, Entries=entries),
            answer(sqs.send_message, QueueUrl=fifo, MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d"),
            answer(sqs.send_message, QueueUrl=fifo, MessageBody="x"),
            answer(sqs.send_message, QueueUrl=f"{payments}-none", MessageBody="x"),
            answer(sqs.get_queue_attributes, QueueUrl=payments, AttributeNames=counts),
            answer(sqs.receive_message, QueueUrl=payments, MaxNumberOfMessages=11),
        ]
        asked: Any = {"QueueUrl": payments, "MessageAttributeNames": ["All"], "AttributeNames": ["SenderId"]}
        taken = sqs.receive_message(**asked, MaxNumberOfMessages=10)["Messages"]
        again = {"QueueUrl": payments, "ReceiptHandle": taken[0]["ReceiptHandle"]}
        said += [_without(taken, {"MessageId", "ReceiptHandle"})]
        said += [answer(sqs.change_message_visibility, **again, VisibilityTimeout=0)]
        said += [answer(sqs.receive_message, **asked), answer(sqs.receive_message, **asked)]
        said += [answer(sqs.delete_message, **again), answer(sqs.delete_message, **(again | {"ReceiptHandle": "?"}))]
        said += [answer(sqs.get_queue_attributes, QueueUrl=payments, AttributeNames=counts)]
        empty()
        return said

    with moto_speed.originals():
        original = story()
    assert story() == original


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(one, names) for name, one in value.items() if name not in names}
    return [_without(one, names) for one in value] if isinstance(value, list) else value


def test_an_item_may_be_as_large_as_in_moto(table: str) -> None:
    def put(size: int) -> None:
        half = {"S": "x" * (size // 2)}
        client().put_item(TableName=table, Item=key("large") | {"a": half, "b": half})

    put(404_900)
    with pytest.raises(ClientError, match="Item size has exceeded the maximum allowed size"):
        put(405_100)


@pytest.mark.parametrize("original", [True, False])
def test_a_refused_transaction_changes_no_item_of_a_table_without_a_sort_key(
    on_aws: AwsHarness, original: bool
) -> None:
    payments, system = on_aws.env["PAYMENTS_TABLE"], on_aws.env["SYSTEM_TABLE"]
    client().put_item(TableName=payments, Item={"pk": {"S": "a"}, "s": {"S": "old"}})
    change = {"TableName": payments, "UpdateExpression": "REMOVE s"}
    refused = {"TableName": system, "Key": key("a"), "ConditionExpression": "attribute_exists(pk)"}
    with moto_speed.originals() if original else nullcontext(), pytest.raises(ClientError):
        client().transact_write_items(
            TransactItems=[
                {"Update": change | {"Key": {"pk": {"S": "a"}}}},
                {"Put": {"TableName": payments, "Item": {"pk": {"S": "b"}}}},
                {"ConditionCheck": refused},
            ]
        )

    assert rows(payments) == [{"pk": {"S": "a"}, "s": {"S": "old"}}]


@pytest.mark.parametrize("original", [True, False])
def test_a_query_of_a_table_without_a_sort_key_answers_its_item_or_nothing(on_aws: AwsHarness, original: bool) -> None:
    payments = on_aws.env["PAYMENTS_TABLE"]
    for name in ("a", "b"):
        client().put_item(TableName=payments, Item={"pk": {"S": name}})
    asked = {"TableName": payments, "KeyConditionExpression": "pk = :p"}
    with moto_speed.originals() if original else nullcontext():
        found = [
            client().query(**asked, ExpressionAttributeValues={":p": {"S": name}})["Items"] for name in ("a", "nowhere")
        ]

    assert found == [[{"pk": {"S": "a"}}], []]
