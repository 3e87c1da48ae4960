"""The message that starts a resolver run for a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbot_queue.core import queues
from adbot_queue.core.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class AllocationTrigger:
    """Sender of messages to `allocation.fifo`.

    The message group is the pool: its runs follow each other. The deduplication id is the cause: a burst of one cause
    is one run, and no other cause is dropped.
    """

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._url = queue_url

    def send(self, pool: str, cause: str) -> bool:
        """Request a run; False when SQS refused, which only delays it: the schedule runs every 5 minutes."""
        try:
            queues.send(self._client, self._url, {"pool": pool}, group=pool, deduplication=f"{pool}-{cause}"[:128])
        except queues.QueueRefused as refused:
            logger.warning(
                "allocation not triggered; the schedule retries within 5 minutes", pool=pool, error=str(refused)
            )
            return False
        return True
