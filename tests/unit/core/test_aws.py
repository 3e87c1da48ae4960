"""AWS clients that must not repeat a call by themselves do not: the job is what is tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ClientError

from adbot_queue.core import aws
from tests.builders.calls import Answer, answer_calls

CALLS = {
    "functions": (aws.functions, (), "invoke", {"FunctionName": "f"}),
    "plugins": (aws.plugins, (5,), "invoke", {"FunctionName": "f"}),
    "cognito": (aws.cognito, (), "admin_get_user", {"UserPoolId": "eu_1", "Username": "cara"}),
    "bedrock": (
        aws.bedrock,
        ("", 5),
        "converse",
        {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "x"}]}]},
    ),
}


@pytest.fixture(autouse=True)
def _fresh_clients() -> Iterator[None]:
    for make, *_ in CALLS.values():
        make.cache_clear()
    yield
    for make, *_ in CALLS.values():
        make.cache_clear()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_fails_is_made_once(name: str) -> None:
    make, given, operation, arguments = CALLS[name]
    asked: list[str] = []

    def busy(request: AWSPreparedRequest) -> Answer:
        asked.append(request.url)
        return 503, {"content-type": "application/json"}, b"{}"

    client: Any = make(*given)
    answer_calls(client, busy)
    with pytest.raises(ClientError):
        getattr(client, operation)(**arguments)

    assert len(asked) == 1


def test_a_request_to_dynamodb_goes_out_as_it_was_given_and_a_transaction_sent_again_has_the_same_token() -> None:
    sent: list[dict[str, Any]] = []

    def busy_once(request: AWSPreparedRequest) -> Answer:
        assert request.headers["X-Amz-Target"] == b"DynamoDB_20120810.TransactWriteItems"
        sent.append(json.loads(request.body or b""))
        status, body = (503, b"{}") if len(sent) == 1 else (200, b'{"ConsumedCapacity": []}')
        return status, {"content-type": "application/x-amz-json-1.0"}, body

    aws.dynamodb.cache_clear()
    client = aws.dynamodb()
    answer_calls(client, busy_once)
    items: Any = [{"Put": {"TableName": "t", "Item": {"pk": {"S": "ü"}, "n": {"N": "1"}, "tags": {"SS": ["a"]}}}}]
    answer = client.transact_write_items(TransactItems=items)
    aws.dynamodb.cache_clear()

    assert answer["ConsumedCapacity"] == []
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert set(sent[0]) == {"TransactItems", "ClientRequestToken"}
    assert sent[0]["TransactItems"] == items
    assert len(sent[0]["ClientRequestToken"]) == 36


def test_a_token_that_is_given_is_the_one_that_goes_out() -> None:
    sent: list[dict[str, Any]] = []

    def answer(request: AWSPreparedRequest) -> Answer:
        sent.append(json.loads(request.body or b""))
        return 200, {"content-type": "application/x-amz-json-1.0"}, b"{}"

    aws.dynamodb.cache_clear()
    client = aws.dynamodb()
    answer_calls(client, answer)
    client.transact_write_items(TransactItems=[], ClientRequestToken="mine")
    aws.dynamodb.cache_clear()

    assert sent == [{"TransactItems": [], "ClientRequestToken": "mine"}]
