"""Several messages of a queue in one call."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import patience
from adbot_queue.core.settings import settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


BATCH = 10
"""Messages of one SendMessageBatch or ChangeMessageVisibilityBatch, SQS's limit."""


def url_of(arn: str) -> str:
    """Return the URL of a queue of this installation."""
    return f"{settings().queue_url.rpartition('/')[0]}/{arn.rpartition(':')[2]}"


def come_back(client: SQSClient, url: str, messages: Sequence[tuple[str, int]]) -> int:
    """Set the visibility timeout of received messages: seconds by receipt handle.

    Returns:
        How many SQS refused: these return after the timeout with which they were received.
    """
    refused = 0
    for start in range(0, len(messages), BATCH):
        entries: list[Any] = [
            {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
            for number, (handle, seconds) in enumerate(messages[start : start + BATCH])
        ]
        try:
            refused += len(client.change_message_visibility_batch(QueueUrl=url, Entries=entries).get("Failed", []))
        except (ClientError, BotoCoreError):
            refused += len(entries)
    return refused


def send_many(client: SQSClient, url: str, messages: Sequence[tuple[dict[str, Any], int]]) -> list[int]:
    """Send messages, ten a call, each a JSON body and its delay in seconds.

    A call that fails has been tried again by the client, for seconds: no more are made, the others would fail as well.

    Returns:
        Positions of those that SQS did not take.
    """
    refused: list[int] = []
    for start in range(0, len(messages), BATCH):
        chunk = messages[start : start + BATCH]
        entries: list[Any] = [
            {"Id": str(start + n), "MessageBody": json.dumps(body, separators=(",", ":")), "DelaySeconds": delay}
            for n, (body, delay) in enumerate(chunk)
        ]
        try:
            refused.extend(_send_chunk(client, url, entries))
        except (ClientError, BotoCoreError):
            return [*refused, *range(start, len(messages))]
    return refused


def _send_chunk(client: SQSClient, url: str, entries: list[Any]) -> list[int]:
    """Send a batch; entries that SQS itself failed on are sent again. Return the ids of those not taken."""
    refused: list[int] = []
    for attempt in range(1, patience.ATTEMPTS + 1):
        if attempt > 1:
            time.sleep(patience.pause_before(attempt))
        failed = client.send_message_batch(QueueUrl=url, Entries=entries).get("Failed", [])
        refused += [int(entry["Id"]) for entry in failed if entry.get("SenderFault")]
        again = {entry["Id"] for entry in failed if not entry.get("SenderFault")}
        entries = [entry for entry in entries if entry["Id"] in again]
        if not entries:
            break
    return sorted([*refused, *(int(entry["Id"]) for entry in entries)])
