"""The job platform as its functions make it, on an AWS in the process and on a clock that a test owns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from adbot_queue.core import aws
from adbot_queue.core import clock as clocks
from adbot_queue.jobs import job_types, service, sweeper
from adbot_queue.jobs.model import JobMode
from adbot_queue.jobs.worker import worker
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.testing.harness import INVOCATION_MS, Clock, Jobs
from adbot_queue.testing.in_process_aws import in_process_aws


@contextmanager
def job_platform() -> Iterator[Jobs]:
    """The platform with no job in it. Whatever asks the project's clock is answered by the test's."""
    clock = Clock()
    machine = SimpleNamespace(time_ns=lambda: clock() * 1_000_000)
    with (
        in_process_aws(),
        patch.object(clocks, "time", machine),
        patch.object(aws, "functions", WorkerFunctions),
        patch.dict(job_types.LOADED),
    ):
        yield Jobs(service.from_env(), worker.from_env(), sweeper.from_env(), clock)


class WorkerFunctions:
    """Lambda's client, as far as jobs use it: calls the worker here."""

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: ARG002, N803
        """Run the job that the payload names."""
        event = json.loads(Payload)
        message = JobMessage(event["job"], event["queue"])
        worker.from_env().work([message], lambda: INVOCATION_MS, mode=JobMode(event["mode"]))
        return {"StatusCode": 200}
