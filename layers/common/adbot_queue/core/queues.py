"""Sending to SQS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class QueueRefused(Exception):
    """SQS did not take the message; nothing is known to have been sent."""


def send(
    client: SQSClient,
    url: str,
    body: dict[str, Any],
    *,
    group: str | None = None,
    deduplication: str | None = None,
    delay: int = 0,
) -> None:
    """Send one message: JSON, with group and deduplication id on a FIFO queue, after `delay` seconds on others.

    Raises:
        QueueRefused: SQS answered with an error or could not be reached.
    """
    request: dict[str, Any] = {"QueueUrl": url, "MessageBody": json.dumps(body, separators=(",", ":"))}
    if group is not None:
        request |= {"MessageGroupId": group, "MessageDeduplicationId": deduplication}
    if delay:
        request["DelaySeconds"] = delay
    try:
        client.send_message(**request)
    except (ClientError, BotoCoreError) as error:
        raise QueueRefused(f"{type(error).__name__} on {url.rsplit('/', 1)[-1]}") from error
