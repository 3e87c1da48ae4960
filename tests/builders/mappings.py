"""Event source mappings of the job queues, as the template would make them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest

from adbot_queue.core import aws
from adbot_queue.jobs import job_queues
from adbot_queue.queues import mappings as queue_mappings
from adbot_queue.queues import pause as queues_control
from adbot_queue.testing.in_process_aws import REGION
from tests.builders.world import AwsHarness


def create(world: AwsHarness) -> dict[str, str]:
    """Create a mapping for each queue, all of one function that is never called: queue -> UUID."""
    role = boto3.client("iam", REGION).create_role(RoleName="worker", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    archive = io.BytesIO()
    zipfile.ZipFile(archive, "w").close()
    functions = boto3.client("lambda", REGION)
    code: Any = {"ZipFile": archive.getvalue()}
    functions.create_function(FunctionName="worker", Runtime="python3.11", Role=role, Handler="app.handler", Code=code)
    return {
        name: functions.create_event_source_mapping(FunctionName="worker", EventSourceArn=_arn(url))["UUID"]
        for name, url in job_queues.queue_urls(world.env["QUEUE_URL"]).items()
    }


def _arn(url: str) -> str:
    return aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


@contextmanager
def known(mappings: dict[str, str]) -> Iterator[None]:
    """Give the functions of this process these mappings, all of them enabled."""
    for uuid in mappings.values():
        aws.functions().update_event_source_mapping(UUID=uuid, Enabled=True)
    with pytest.MonkeyPatch.context() as patch:
        written = ",".join(f"{queue}={uuid}" for queue, uuid in mappings.items())
        patch.setenv("EVENT_SOURCE_MAPPINGS", written)
        _forget()
        yield
    _forget()


def _forget() -> None:
    for made in (queues_control.from_env, queue_mappings.from_env):
        made.cache_clear()


def state(mappings: dict[str, str], queue: str) -> str:
    """What Lambda says of a queue's mapping."""
    return aws.functions().get_event_source_mapping(UUID=mappings[queue])["State"]
