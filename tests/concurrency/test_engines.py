"""Ten questions about what AWS does that the product relies on, asked of every engine that is used instead of it.

The expected answers are AWS's. `DIFFERS` says where an engine is known to differ; a test fails when it does so no
longer. Sources: the DynamoDB API reference (TransactWriteItems, BatchWriteItem, PutItem), the DynamoDB developer guide
("Service, account, and table quotas"), the SQS developer guide (FIFO delivery logic), the SQS API reference
(SendMessageBatch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws

from local.embedded import PYTHON, embedded_aws
from local.settings import Settings, free_port
from tests.support.dynamodb_local import dynamodb_local, lacking
from tests.support.engines import roto

pytestmark = [pytest.mark.concurrency, pytest.mark.xdist_group("dynamodb-local"), pytest.mark.timeout(120)]

DIFFERS = {
    ("moto", "a token twice with one body"): "applied twice",
    ("moto", "a token twice with two bodies"): "applied both",
    ("roto", "a token twice with one body"): "applied twice",
    ("roto", "a token twice with two bodies"): "applied both",
    ("roto", "the item of a refused write"): "none",
    ("dynamodb-local", "one item twice in a transaction"): "refused by its condition",
}
"""What an engine answers instead."""

NO_QUEUES = {"dynamodb-local"}


class Engine:
    """One engine, and clients of it."""

    def __init__(self, name: str, endpoint: str | None) -> None:
        self.name = name
        self._endpoint = endpoint

    def client(self, service: str) -> Any:
        """A client without retries."""
        known = {"region_name": "eu-central-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(
            service, endpoint_url=self._endpoint, config=Config(retries={"total_max_attempts": 1}), **known
        )  # type: ignore[call-overload]


@pytest.fixture(
    scope="module",
    params=[
        "moto",
        "roto",
        pytest.param("ministack", marks=pytest.mark.skipif(not PYTHON.exists(), reason="`make setup` installs it")),
        pytest.param("dynamodb-local", marks=pytest.mark.skipif(lacking() is not None, reason=str(lacking()))),
    ],
)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    match request.param:
        case "moto":
            with mock_aws():
                yield Engine("moto", None)
        case "roto":
            with roto() as endpoint:
                yield Engine("roto", endpoint)
        case "dynamodb-local":
            with dynamodb_local(brief=True) as endpoint:
                yield Engine("dynamodb-local", endpoint)
        case _:
            port = free_port()
            settings = Settings(tmp_path_factory.mktemp("engines"), free_port(), port, free_port())
            with embedded_aws(settings):
                yield Engine("ministack", f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def table(engine: Engine) -> Any:
    made = engine.client("dynamodb")
    made.create_table(
        TableName="asked",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return made


def item(pk: str, **more: int) -> dict[str, Any]:
    return {"pk": {"S": pk}, **{name: {"N": str(value)} for name, value in more.items()}}


def put(pk: str, condition: str | None = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"TableName": "asked", "Item": item(pk)}
    if condition:
        found |= {"ConditionExpression": condition}
    return {"Put": found | more}


def count_up(pk: str) -> dict[str, Any]:
    return {"Update": {"TableName": "asked", "Key": item(pk), "UpdateExpression": "ADD n :one",
                       "ExpressionAttributeValues": {":one": {"N": "1"}}}}  # fmt: skip


def refusal(call: Callable[..., Any], **given: Any) -> str:
    """The code of an error; `none`."""
    try:
        call(**given)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "none"


def number(table: Any, pk: str) -> int:
    return int(table.get_item(TableName="asked", Key=item(pk), ConsistentRead=True)["Item"]["n"]["N"])


# Each question: the answer, in a word.


def a_token_twice_with_one_body(engine: Engine, table: Any) -> str:
    for _ in range(2):
        table.transact_write_items(TransactItems=[count_up("token-1")], ClientRequestToken="a" * 36)
    return {1: "applied once", 2: "applied twice"}[number(table, "token-1")]


def a_token_twice_with_two_bodies(engine: Engine, table: Any) -> str:
    table.transact_write_items(TransactItems=[count_up("token-2")], ClientRequestToken="b" * 36)
    body = {"TransactItems": [count_up("token-3")], "ClientRequestToken": "b" * 36}
    return refusal(table.transact_write_items, **body).replace("none", "applied both")


def a_condition_in_a_transaction(engine: Engine, table: Any) -> str:
    table.put_item(TableName="asked", Item=item("taken", n=7))
    taken = put("taken", "attribute_not_exists(pk)", ReturnValuesOnConditionCheckFailure="ALL_OLD")
    try:
        table.transact_write_items(TransactItems=[put("beside"), taken])
    except ClientError as error:
        first, second = error.response["CancellationReasons"]  # type: ignore[typeddict-item]
        written = "Item" in table.get_item(TableName="asked", Key=item("beside"))
        return f"{first['Code']}, {second['Code']} with n={second['Item']['n']['N']}, written: {written}"
    return "none"


def one_item_twice_in_a_transaction(engine: Engine, table: Any) -> str:
    again = put("twice", "attribute_not_exists(pk)")
    code = refusal(table.transact_write_items, TransactItems=[again, again])
    return code.replace("TransactionCanceledException", "refused by its condition")


def items_of_a_transaction(engine: Engine, table: Any) -> str:
    most = refusal(table.transact_write_items, TransactItems=[put(f"m{number}") for number in range(100)])
    return f"100: {most}, 101: " + refusal(
        table.transact_write_items, TransactItems=[put(f"n{number}") for number in range(101)]
    )


def the_size_of_an_item(engine: Engine, table: Any) -> str:
    large = {"pk": {"S": "large"}, "text": {"S": "x" * (400 * 1024)}}
    return refusal(table.put_item, TableName="asked", Item=large)


def the_item_of_a_refused_write(engine: Engine, table: Any) -> str:
    table.put_item(TableName="asked", Item=item("old", n=5))
    try:
        table.put_item(
            TableName="asked",
            Item=item("old", n=6),
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        return str(error.response.get("Item", {}).get("n", {}).get("N", "none"))
    return "written"


def one_item_twice_in_a_batch(engine: Engine, table: Any) -> str:
    puts = [{"PutRequest": {"Item": item("same")}}] * 2
    return refusal(table.batch_write_item, RequestItems={"asked": puts})


def the_order_of_a_group(engine: Engine, table: Any) -> str:
    sqs = engine.client("sqs")
    url = sqs.create_queue(QueueName="order.fifo", Attributes={"FifoQueue": "true", "VisibilityTimeout": "30"})[
        "QueueUrl"
    ]
    for name in ("1", "2", "3"):
        sqs.send_message(QueueUrl=url, MessageBody=name, MessageGroupId="g", MessageDeduplicationId=name)
    first = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1)["Messages"]
    while_it_is_out = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first[0]["ReceiptHandle"])
    rest = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    return (
        " ".join(one["Body"] for one in first + while_it_is_out + rest) + f", {len(while_it_is_out)} while one is out"
    )


def one_id_twice_in_a_batch(engine: Engine, table: Any) -> str:
    sqs = engine.client("sqs")
    url = sqs.create_queue(QueueName="batch")["QueueUrl"]
    entries = [{"Id": "a", "MessageBody": body} for body in ("1", "2")]
    return refusal(sqs.send_message_batch, QueueUrl=url, Entries=entries).rpartition(".")[2]


QUESTIONS: dict[str, tuple[Callable[[Engine, Any], str], str]] = {
    "a token twice with one body": (a_token_twice_with_one_body, "applied once"),
    "a token twice with two bodies": (a_token_twice_with_two_bodies, "IdempotentParameterMismatchException"),
    "a condition in a transaction": (
        a_condition_in_a_transaction,
        "None, ConditionalCheckFailed with n=7, written: False",
    ),
    "one item twice in a transaction": (one_item_twice_in_a_transaction, "ValidationException"),
    "items of a transaction": (items_of_a_transaction, "100: none, 101: ValidationException"),
    "the size of an item": (the_size_of_an_item, "ValidationException"),
    "the item of a refused write": (the_item_of_a_refused_write, "5"),
    "one item twice in a batch": (one_item_twice_in_a_batch, "ValidationException"),
    "the order of a group": (the_order_of_a_group, "1 2 3, 0 while one is out"),
    "one id twice in a batch": (one_id_twice_in_a_batch, "BatchEntryIdsNotDistinct"),
}
OF_QUEUES = {"the order of a group", "one id twice in a batch"}


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_engine_answers_as_aws_does_or_as_is_known(engine: Engine, table: Any, question: str) -> None:
    if engine.name in NO_QUEUES and question in OF_QUEUES:
        pytest.skip("it has no queues")
    ask, expected = QUESTIONS[question]
    assert ask(engine, table) == DIFFERS.get((engine.name, question), expected)
