"""Getting jobs to a worker: a message on the queue, or a call of the queue's worker function."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws, queue_batches, queues
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.job_queues import queue_urls
from adbot_queue.jobs.model import MAX_QUEUE_DELAY_MS, Job, JobState
from adbot_queue.jobs.worker.direct_calls import DirectCalls
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.platform import mode as modes

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient


class Dispatcher(DirectCalls):
    """Sender of messages to job queues, and caller of their workers."""

    def __init__(
        self,
        sqs: SQSClient,
        urls: Mapping[str, str],
        functions: Callable[[], LambdaClient],
        worker: str,
        now: Clock = system_clock,
        mode: Callable[[], modes.ProcessingMode] = lambda: modes.ProcessingMode.ASYNC_QUEUE,
    ) -> None:
        super().__init__(functions, worker)
        self._sqs = sqs
        self._urls = urls
        self._now = now
        self._mode = mode

    @property
    def is_direct(self) -> bool:
        """Whether the queues are switched off: nothing is sent to them."""
        return self._mode() is modes.ProcessingMode.SYNC_DIRECT

    def send(self, jobs: Iterable[Job]) -> list[Job]:
        """Send a message for each job that may run now or within SQS's longest delay.

        Returns:
            The jobs without a message: SQS refused, or the queues are off. Their rows are waiting, so the sweeper runs
                them.
        """
        if self.is_direct:
            return list(jobs)
        by_queue: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            if job.state is JobState.WAITING or job.rides_on_queue:
                by_queue[job.queue].append(job)
        return [job for queue, members in by_queue.items() for job in self._send(queue, members)]

    def _send(self, queue: str, jobs: Sequence[Job]) -> list[Job]:
        url = self._urls[queue]
        messages = [(JobMessage.for_job(job).to_message(), self._delay(job)) for job in jobs]
        if len(messages) > 1:
            return [jobs[position] for position in queue_batches.send_many(self._sqs, url, messages)]
        try:
            queues.send(self._sqs, url, messages[0][0], delay=messages[0][1])
        except queues.QueueRefused:
            return list(jobs)
        return []

    def send_again(self, queue: str, message: dict[str, Any], seconds: float) -> None:
        """Send a message again, for later.

        Raises:
            QueueRefused: SQS refused; the original message must be delivered again.
        """
        delay = min(math.ceil(seconds), MAX_QUEUE_DELAY_MS // 1000)
        queues.send(self._sqs, self._urls[queue], message, delay=delay)

    def _delay(self, job: Job) -> int:
        """Return the seconds, rounded up: a little late is better than too early."""
        if job.state is JobState.WAITING or job.run_at is None:
            return 0
        return -(-min(max(job.run_at - self._now(), 0), MAX_QUEUE_DELAY_MS) // 1000)

    def backlog(self, queue: str) -> int:
        """Return about how many messages wait unreceived; 0 if SQS does not say: a duplicate message is harmless."""
        try:
            answer = self._sqs.get_queue_attributes(
                QueueUrl=self._urls[queue], AttributeNames=["ApproximateNumberOfMessages"]
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("messages could not be counted", queue=queue, error=type(error).__name__)
            return 0
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])


@lru_cache(maxsize=1)
def from_env() -> Dispatcher:
    """The dispatcher of this process."""
    env = settings()
    urls = queue_urls(env.queue_url)
    return Dispatcher(aws.sqs(), urls, aws.functions, env.job_worker, mode=modes.from_env().current)
