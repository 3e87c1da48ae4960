"""Plugins: Lambda functions of the operator's, called by name; only those that the template's parameter lists.

A plugin runs under its own role and receives its input, the job's id and the idempotency key, which is the same at
every attempt: a plugin with an effect stores it, because a call whose answer was lost is repeated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from adbot_queue.core import aws
from adbot_queue.core.error_codes import THROTTLED
from adbot_queue.core.errors import AccountRefused, ProviderFailed, Reach
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import registry
from adbot_queue.providers.aws_codes import CALLER_REFUSED
from adbot_queue.providers.waiting import retry_after, throttled

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import InvocationResponseTypeDef

MAX_OUTPUT = 24 * 1024
"""Bytes of an answer that are read: what a job's result has room for."""

CONFLICT, TOO_MANY, SERVER_ERROR = 409, 429, 500
_OF_THE_ACCOUNT = {"CallerRateLimitExceeded", "ConcurrentInvocationLimitExceeded"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Output:
    """A plugin's answer.

    Attributes:
        body: the answer, at most MAX_OUTPUT bytes and one more.
        failed: the plugin raised or died; the body says by which type of error.
        request_id: the id of the call in the plugin's log.
        late: there is no answer: it took longer than it may.
    """

    body: bytes = b""
    failed: bool = False
    request_id: str = ""
    late: bool = False

    @property
    def size(self) -> int | None:
        """Bytes of the answer; None where none came."""
        return None if self.late else len(self.body)


def allowed() -> dict[str, str]:
    """Plugins that may be called: name, and alias where there is one -> ARN.

    Raises:
        NotConfigured: there are none.
    """
    arns = registry.setting("plugins", "functions").split(",")
    return {arn.strip().partition(":function:")[2]: arn.strip() for arn in arns}


def invoke(arn: str, event: dict[str, Any], timeout_s: float) -> Output:
    """Call a plugin once and wait for its answer.

    Args:
        arn: which.
        event: its input.
        timeout_s: how long to wait; the plugin itself may go on.

    Raises:
        AccountRefused: it is listed and may not be called. ProviderFailed: Lambda refused or was not reached; `extra`
            has its `code` as well.
    """
    client = aws.plugins(max(1, int(timeout_s)))
    try:
        answer = client.invoke(
            FunctionName=arn,
            InvocationType="RequestResponse",
            Payload=_body(event),
        )
        return _read(answer)
    except ReadTimeoutError:
        return Output(late=True)
    except ClientError as error:
        raise _refusal(error) from error
    except BotoCoreError as error:
        name = type(error).__name__
        raise ProviderFailed(f"Lambda could not be reached ({name})", retryable=True, code=name) from error


def _body(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _read(answer: InvocationResponseTypeDef) -> Output:
    with answer["Payload"] as stream:
        body = stream.read(MAX_OUTPUT + 1)
    return Output(body, "FunctionError" in answer, answer["ResponseMetadata"].get("RequestId", ""))


def _refusal(error: ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    answered = error.response.get("ResponseMetadata", {})
    status = int(answered.get("HTTPStatusCode", 0))
    logger.warning("Lambda refused", code=code, status=status, request=answered.get("RequestId"))
    if code.startswith("AccessDenied"):
        sentence = "a plugin that PluginFunctionArns lists may not be called: it must allow this account"
        return AccountRefused(sentence, Reach.PART)
    if code in CALLER_REFUSED:
        return AccountRefused(f"Lambda does not accept the credentials of the worker's role ({code})")
    sentence = f"Lambda refused the call ({code})"
    if status == TOO_MANY or code in THROTTLED:
        # The function's own concurrency, unless the whole account's is used up.
        reason = str(error.response.get("Reason") or "")
        reach = Reach.PROVIDER if reason in _OF_THE_ACCOUNT else Reach.PART
        return throttled(sentence, answered.get("HTTPHeaders"), reach, code=code)
    return ProviderFailed(
        sentence,
        # 409: it is being deployed.
        retryable=status == CONFLICT or status >= SERVER_ERROR,
        retry_after=retry_after(answered.get("HTTPHeaders")),
        code=code,
    )
