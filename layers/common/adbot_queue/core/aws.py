"""AWS clients, made once a process and only when asked for.

They are botocore's own, which is what `boto3.client` answers too: importing boto3 adds its resources and S3's
transfer manager, a sixth of a cold start, for nothing that is used here (docs/explanation/decisions.md).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from botocore.config import Config
from botocore.session import Session, get_session

from adbot_queue.core import dynamodb_wire, patience

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

# Parameter validation of a 99-item transaction takes as long as the rest of the call; the service validates anyway.
# Timeouts: a call that hangs must end well before its function does, so that the retry happens inside it.
# Retries: botocore's are off in every client; those that repeat calls at all do it as `core/patience.py` says.
CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 1},
    parameter_validation=False,
    max_pool_connections=16,
    # botocore's own is put together anew for every call, from 16 parts: a sixth of the CPU of a small one.
    user_agent="adbot-queue",
)


@lru_cache(maxsize=1)
def _session() -> Session:
    return get_session()


def _patient(service: Any, config: Config = CONFIG) -> Any:
    """A client of a service whose outage of a second must reach no caller."""
    client = _session().create_client(service, config=config)
    patience.apply(client)
    return client


@lru_cache(maxsize=1)
def dynamodb() -> DynamoDBClient:
    """The DynamoDB client of this process."""
    client = cast("DynamoDBClient", _patient("dynamodb"))
    dynamodb_wire.send_as_given(client)
    return client


@lru_cache(maxsize=1)
def dynamodb_streams() -> Any:
    """The client of DynamoDB's streams of this process."""
    return _patient("dynamodbstreams")


@lru_cache(maxsize=1)
def sqs() -> SQSClient:
    """The SQS client of this process."""
    return cast("SQSClient", _patient("sqs"))


@lru_cache(maxsize=1)
def sns() -> SNSClient:
    """The SNS client of this process."""
    return cast("SNSClient", _patient("sns"))


@lru_cache(maxsize=1)
def events() -> EventBridgeClient:
    """The EventBridge client of this process."""
    return cast("EventBridgeClient", _patient("events"))


@lru_cache(maxsize=1)
def secrets_manager() -> SecretsManagerClient:
    """The Secrets Manager client of this process."""
    return cast("SecretsManagerClient", _patient("secretsmanager"))


@lru_cache(maxsize=1)
def s3() -> S3Client:
    """The S3 client of this process. Its links are signed as every region understands."""
    return cast("S3Client", _patient("s3", CONFIG.merge(Config(signature_version="s3v4"))))


@lru_cache(maxsize=1)
def functions() -> LambdaClient:
    """The Lambda client of this process. It waits as long as a job may run inside a request, and never calls twice."""
    return cast("LambdaClient", _session().create_client("lambda", config=_once(28)))


@lru_cache(maxsize=1)
def cognito() -> CognitoIdentityProviderClient:
    """The Cognito client of this process."""
    return cast("CognitoIdentityProviderClient", _session().create_client("cognito-idp", config=_once(5)))


@lru_cache(maxsize=1)
def cognito_for_strangers() -> CognitoIdentityProviderClient:
    """A Cognito client that signs nothing, for what anyone may ask: signing up. It needs no permission."""
    from botocore import UNSIGNED  # noqa: PLC0415

    config = _once(5).merge(Config(signature_version=UNSIGNED))
    return cast("CognitoIdentityProviderClient", _session().create_client("cognito-idp", config=config))


@lru_cache(maxsize=64)
def bedrock(endpoint: str, read_s: int) -> BedrockRuntimeClient:
    """A Bedrock client that waits so long for an answer; `endpoint` is another address than AWS's, or empty."""
    made = _session().create_client("bedrock-runtime", endpoint_url=endpoint or None, config=_once(read_s))
    return cast("BedrockRuntimeClient", made)


@lru_cache(maxsize=64)
def plugins(read_s: int) -> LambdaClient:
    """A Lambda client for functions that are not ours, which waits so long for an answer."""
    return cast("LambdaClient", _session().create_client("lambda", config=_once(read_s)))


def _once(read_s: int) -> Config:
    """For what a job asks of a provider: no call is repeated unseen, the job itself is."""
    return CONFIG.merge(Config(read_timeout=read_s))
