"""Calls of the worker functions of queues, without a message."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs.job_queues import logical_id
from adbot_queue.jobs.model import Job, JobMode

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


class DirectCalls:
    """Caller of the worker functions."""

    def __init__(self, functions: Callable[[], LambdaClient], worker: str) -> None:
        self._functions = functions
        self._worker = worker

    def run(self, job: Job, mode: JobMode) -> bool:
        """Call the queue's worker and wait for it; False if the call failed.

        The function and permissions are the same as for a message.
        """
        return self._invoke(job, mode, "RequestResponse")

    def start(self, job: Job, mode: JobMode) -> bool:
        """Start the queue's worker asynchronously; False if Lambda refused."""
        return self._invoke(job, mode, "Event")

    def _invoke(self, job: Job, mode: JobMode, kind: Any) -> bool:
        try:
            answer = self._functions().invoke(
                FunctionName=self._worker % logical_id(job.queue),
                InvocationType=kind,
                Payload=json.dumps({"job": job.id, "queue": job.queue, "mode": mode.value}).encode(),
            )
        except (ClientError, BotoCoreError) as error:
            logger.warning("worker could not be called", job_id=job.id, queue=job.queue, error=type(error).__name__)
            return False
        if answer.get("FunctionError"):
            count("DirectRunsFailed")
            logger.warning("worker failed", job_id=job.id, queue=job.queue, error=answer["FunctionError"])
            return False
        return True
