"""`execute-plugin`: calls a function of the operator's, and stores its answer.

A plugin answers any JSON up to 24 KB; it reports a failure as `{"error": {"code": "…", "retryable": true}}`. The job's
id and the idempotency key that it gets are the same at every attempt. Executions are events: `GET /plugins/executions`.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from adbot_queue.core import telemetry
from adbot_queue.core.errors import AppError, ProviderFailed
from adbot_queue.core.schema import Input
from adbot_queue.core.settings import MissingSetting
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, TransientError
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType
from adbot_queue.jobs.provider_call import calling, verdict
from adbot_queue.platform import call_log as event_log
from adbot_queue.platform.call_log import CallKind
from adbot_queue.providers import plugins

MAX_INPUT = 32 * 1024
"""Bytes of JSON."""

MAX_S = 60

# What Lambda's runtimes call a deployment that cannot work; what else they raise may go well the next time.
_BROKEN = re.compile(
    r"Runtime\.(ImportModuleError|HandlerNotFound|UserCodeSyntaxError|MalformedHandlerName|MarshalError"
    r"|InvalidEntrypoint|InvalidWorkingDir)"
)
_CODE = re.compile(r"[\w.:-]{1,60}")


def _listed(name: str) -> str:
    """Refuse a plugin that is not listed, in a function that knows the list; the worker always does."""
    with suppress(MissingSetting):
        if name not in plugins.allowed():
            raise ValueError("is not on the list of PluginFunctionArns")
    return name


def _short(value: Any) -> Any:
    if _size(value) > MAX_INPUT:
        raise ValueError(f"may have {MAX_INPUT} bytes as JSON")
    return value


def _size(value: Any) -> int:
    return len(json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode())


class ExecutePlugin(Input):
    """Which plugin (its function's name, `:` and the alias if the list has one) is to do what."""

    plugin: Annotated[
        str, Field(max_length=140, pattern=r"^[\w:$-]+$", description="the name of a function"), AfterValidator(_listed)
    ]
    input: Annotated[Any, AfterValidator(_short)] = None
    timeout_seconds: int = Field(default=15, ge=1, le=MAX_S)


def execute(payload: ExecutePlugin, context: Context) -> dict[str, Any]:
    """Call the plugin and wait for its answer.

    Returns:
        output: what it answered; request_id: by which its log knows the call.

    Raises:
        PermanentError: it is gone, cannot run, said that it will not go well, or answered too much.
        TransientError: it failed otherwise, took too long, or is busy. NotConfigured: it may not be called.
    """
    event = {"input": payload.input, "job_id": context.job_id, "idempotency_key": context.idempotency_key}
    arn, began = plugins.allowed()[payload.plugin], context.now()

    def note(outcome: str, output: plugins.Output | None = None) -> None:
        event_log.from_env().record(
            CallKind.PLUGIN,
            job=context.job_id,
            attempt=context.attempt,
            type="execute-plugin",
            tenant=context.tenant,
            plugin=payload.plugin,
            outcome=outcome,
            duration_ms=context.now() - began,
            input_bytes=_size(payload.input),
            output_bytes=output.size if output else None,
            request_id=output.request_id or None if output else None,
        )

    # What Lambda fails by is raised in here, what a plugin fails by is not: others must not wait because of it.
    with calling("plugins", payload.timeout_seconds, context, payload.plugin) as seconds:
        try:
            output = plugins.invoke(arn, event, seconds)
        except ProviderFailed as error:
            note(str(error.extra["code"]))
            raise verdict(error) from error.__cause__ or error
        except AppError as error:
            note(error.slug)
            raise
    try:
        answered = _answer(output)
    except (PermanentError, TransientError) as error:
        note(str(error), output)
        raise
    note("answered", output)
    telemetry.count("PluginsExecuted")
    return {"output": answered, "request_id": output.request_id}


def _answer(output: plugins.Output) -> Any:
    """What the plugin answered.

    Raises:
        PermanentError, TransientError: it did not, or says that it failed. The code alone: its sentences may quote the
            input.
    """
    if output.late:
        raise TransientError("the plugin took too long")
    if len(output.body) > plugins.MAX_OUTPUT:
        raise PermanentError(f"the plugin answered more than {plugins.MAX_OUTPUT} bytes")
    try:
        answer = json.loads(output.body or b"null")
    except ValueError:
        raise PermanentError("the plugin's answer is not JSON") from None
    if output.failed:
        kind = _code(answer.get("errorType") if isinstance(answer, dict) else None)
        raise (PermanentError if _BROKEN.fullmatch(kind) else TransientError)(f"the plugin failed: {kind}")
    failure = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(failure, dict):
        refusal = TransientError if failure.get("retryable") is True else PermanentError
        raise refusal(f"the plugin refused: {_code(failure.get('code'))}")
    return answer


def _code(value: Any) -> str:
    """What a plugin calls its error, if that can be nothing but a name."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else "unknown"


JOB = JobType(
    queue="plugin",
    payload=ExecutePlugin,
    handler=execute,
    timeout_s=75,
    horizon_s=6 * HOUR_S,
    cap_s=15 * MINUTE_S,
    needs=("plugins",),
    example={"plugin": "resize", "input": {"width": 640}},
)
