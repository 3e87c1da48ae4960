"""boto3 clients, made once a process and only when asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient

# Parameter validation of a 99-item transaction takes as long as the rest of the call; the service validates anyway.
# Timeouts: a call that hangs must end well before its function does, so that the retry happens inside it.
CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "max_attempts": 4},
    parameter_validation=False,
    max_pool_connections=16,
)


@lru_cache(maxsize=1)
def _session() -> boto3.Session:
    return boto3.Session()


@lru_cache(maxsize=1)
def dynamodb() -> DynamoDBClient:
    """The DynamoDB client of this process."""
    return _session().client("dynamodb", config=CONFIG)


@lru_cache(maxsize=1)
def sqs() -> SQSClient:
    """The SQS client of this process."""
    return _session().client("sqs", config=CONFIG)


@lru_cache(maxsize=1)
def events() -> EventBridgeClient:
    """The EventBridge client of this process."""
    return _session().client("events", config=CONFIG)
