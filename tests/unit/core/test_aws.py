"""AWS clients that must not repeat a call by themselves do not: the job is what is tried again."""

from __future__ import annotations

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
