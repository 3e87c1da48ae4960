"""Tells the allocator that a pool may have work: one message, one run, per pool one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adbot_queue.core import queues
from adbot_queue.core.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Nudge:
    """Sends to `allocation.fifo`.

    The group is the pool, so that runs of one pool do not fight each other; the deduplication id is what changed, so
    that a burst of the same news is one run and no news is swallowed.
    """

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._url = queue_url

    def pool(self, pool: str, news: str) -> bool:
        """Send it; False when SQS refused. That is no error: the schedule comes by every 5 minutes."""
        try:
            queues.send(self._client, self._url, {"pool": pool}, group=pool, deduplication=f"{pool}-{news}"[:128])
        except queues.QueueRefused as refused:
            logger.warning("nudge not sent, the schedule will come by", pool=pool, error=str(refused))
            return False
        return True
