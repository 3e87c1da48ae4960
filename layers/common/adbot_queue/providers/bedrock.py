"""Bedrock's Converse, asked for an answer of a given form: the model has to call one tool, whose input is the answer.

Bedrock has no idempotency keys: a repeated call is paid for again. The job's id and key go along as `requestMetadata`,
which Bedrock's invocation log shows, so that such a duplicate can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws
from adbot_queue.core.error_codes import THROTTLED
from adbot_queue.core.errors import AccountRefused, ProviderFailed
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import registry
from adbot_queue.providers.aws_codes import CALLER_REFUSED
from adbot_queue.providers.waiting import retry_after, throttled

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime.type_defs import ConverseResponseTypeDef

CONNECT_S = 2
"""As in `core.aws`."""

TIMEOUT_S = 60
"""For a whole call: a thousand words take a small model 20 s."""

TOO_MANY, SERVER_ERROR = 429, 500
_THROTTLES = THROTTLED | {
    "ServiceQuotaExceededException",
    "ModelNotReadyException",  # 429: it is being loaded
}
_COME_AGAIN = {
    "ModelTimeoutException",
    "ModelErrorException",
    "ServiceUnavailableException",
    "InternalServerException",
}
_CLOSED = CALLER_REFUSED | {"ResourceNotFoundException"}
_SETUP = {
    "operation not allowed": "the account may not call Bedrock yet; AWS Support lifts it",
    "model identifier is invalid": "there is no such model in this region",
    "on-demand throughput": "this model is called by an inference profile; name the profile",
    "end of its life": "AWS has withdrawn the model",
}
"""What a ValidationException says that no request of the account's passes, and what to do."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Question:
    """What is asked.

    Attributes:
        system: our instructions.
        text: the user's turn.
        tool: name of the tool that the model has to call.
        schema: JSON schema of its input: `type`, `properties` and `required`, which every model understands.
        max_tokens: the longest answer.
        metadata: further fields of Bedrock's invocation log.
    """

    system: str
    text: str
    tool: str
    schema: Mapping[str, Any]
    max_tokens: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Answer:
    """What came back; `input` is None where the model did not call the tool."""

    input: dict[str, Any] | None
    stop_reason: str
    input_tokens: int
    output_tokens: int
    request_id: str


def model() -> str:
    """The model that is asked.

    Raises:
        NotConfigured: none is set.
    """
    return registry.setting("bedrock", "model")


def cost(input_tokens: int, output_tokens: int) -> int | None:
    """What a call cost, in millionths of a dollar, rounded up; None where no price is set."""
    price = registry.option("bedrock", "price")
    if not price:
        return None
    per_input, per_output = map(int, price.split("/"))
    return -(-(input_tokens * per_input + output_tokens * per_output) // 1000)


def converse(question: Question, timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask the model, once.

    Args:
        question: what to ask.
        timeout_s: for connecting and waiting together.

    Raises:
        NotConfigured: no model is set. AccountRefused: the account may not use it.
        ProviderFailed: refused or not reached; `extra` says whether it is `retryable`, `retry_after` seconds and
        its `code`.
    """
    read_s = max(1, int(timeout_s) - CONNECT_S)
    client = aws.bedrock(registry.base("bedrock"), read_s)
    try:
        answer = client.converse(
            modelId=model(),
            system=[{"text": question.system}],
            messages=[{"role": "user", "content": [{"text": question.text}]}],
            inferenceConfig={"maxTokens": question.max_tokens},
            toolConfig={
                "tools": [{"toolSpec": {"name": question.tool, "inputSchema": {"json": question.schema}}}],
                "toolChoice": {"tool": {"name": question.tool}},
            },
            requestMetadata=question.metadata,
        )
    except ClientError as error:
        raise _refusal(error) from error
    except BotoCoreError as error:
        name = type(error).__name__
        raise ProviderFailed(f"Bedrock could not be reached ({name})", retryable=True, code=name) from error
    return _read(answer, question.tool)


def _read(answer: ConverseResponseTypeDef, tool: str) -> Answer:
    content = answer["output"].get("message", {}).get("content", [])
    called = [block["toolUse"]["input"] for block in content if block.get("toolUse", {}).get("name") == tool]
    return Answer(
        called[0] if called else None,
        answer["stopReason"],
        answer["usage"]["inputTokens"],
        answer["usage"]["outputTokens"],
        answer["ResponseMetadata"].get("RequestId", ""),
    )


def _refusal(error: ClientError) -> Exception:
    """What a refusal means. Codes only: Bedrock's sentences may quote the request."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    answered = error.response.get("ResponseMetadata", {})
    status = int(answered.get("HTTPStatusCode", 0))
    logger.warning("Bedrock refused", code=code, status=status, request=answered.get("RequestId"))
    text = str(error.response.get("Error", {}).get("Message", "")).lower()
    setup = next((why for words, why in _SETUP.items() if words in text), None)
    if code in _CLOSED or (code == "ValidationException" and setup):
        why = f"{code}: {setup}" if setup else code
        return AccountRefused(f"Bedrock does not let us use the model that BedrockModelId names ({why})")
    sentence = f"Bedrock refused the request ({code})"
    if code in _THROTTLES or status == TOO_MANY:
        return throttled(sentence, answered.get("HTTPHeaders"), code=code)
    return ProviderFailed(
        sentence,
        retryable=code in _COME_AGAIN or status >= SERVER_ERROR,
        retry_after=retry_after(answered.get("HTTPHeaders")),
        code=code,
    )
