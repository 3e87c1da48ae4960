"""A request that goes to moto without HTTP goes the long way where a test looks at it on that way."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.core.botocore_stubber import MockRawResponse

from tests.builders.world import AwsHarness


def test_hooks_on_the_way_of_a_request_are_asked(on_aws: AwsHarness) -> None:
    sqs = boto3.client("sqs", config=Config(retries={"total_max_attempts": 1}))
    url = on_aws.queues["payments"]
    unavailable = AWSResponse(url, 503, {}, MockRawResponse("{}"))
    asked: list[int] = []

    def again(attempts: int, **_: Any) -> float | None:
        asked.append(attempts)
        return 0 if attempts == 1 else None

    sqs.meta.events.register_first("needs-retry.sqs", again, unique_id="again")
    sqs.send_message(QueueUrl=url, MessageBody='"x"')
    assert (asked, len(on_aws.messages("payments"))) == ([1, 2], 2)
    sqs.meta.events.unregister("needs-retry.sqs", unique_id="again")

    sqs.meta.events.register_first("before-send.sqs", lambda **_: unavailable, unique_id="outage")
    with pytest.raises(ClientError, match="503"):
        sqs.send_message(QueueUrl=url, MessageBody='"x"')
    sqs.meta.events.unregister("before-send.sqs", unique_id="outage")
