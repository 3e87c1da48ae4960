"""A message that no run can do, on the deployed FIFO queue: it dies in about a minute, its neighbours are served."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from local.stack import Stack
from tests.e2e.conftest import Api

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


def test_a_poison_message_becomes_a_dead_letter_and_holds_up_nobody(
    api: Api, aws: Callable[[str], Any], stack: Stack, eventually: Callable[..., Any]
) -> None:
    mark = uuid.uuid4().hex[:8]
    url = stack["outputs"]["AllocationQueueUrl"]
    bodies = [f'{{"poison": "{mark}"}}', json.dumps({"pool": f"none-{mark}"}), json.dumps({"pool": f"other-{mark}"})]
    for number, (body, group) in enumerate(zip(bodies, [mark, mark, f"other-{mark}"], strict=True)):
        aws("sqs").send_message(
            QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=f"{mark}-{number}"
        )

    def letters() -> list[str]:
        found = api("owner", "GET", "/dead-letters?queue=allocation&limit=100").json()["items"]
        return [
            str(letter) for letter in found if mark in str(api("owner", "GET", f"/dead-letters/{letter['id']}").json())
        ]

    def waiting() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    assert len(eventually(letters, seconds=110, every=2)) == 1
    assert eventually(lambda: waiting() == 0, seconds=20)
    assert len(letters()) == 1
