"""execute-plugin: the operator's own functions, those on the list, with nothing of ours in their hands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from pydantic import ValidationError

from adbot_queue.core import aws, telemetry
from adbot_queue.core.errors import NotConfigured
from adbot_queue.integrations.jobs.execute_plugin import ExecutePlugin
from adbot_queue.platform import call_log as event_log
from adbot_queue.platform.call_log import CallKind
from adbot_queue.providers import registry
from tests.builders.calls import Answer, answer_calls, providers
from tests.builders.payments import empty
from tests.builders.processors import failure, run

SHOUT = "arn:aws:lambda:eu-central-1:123456789012:function:shout"
COUNT = "arn:aws:lambda:eu-central-1:123456789012:function:count:live"


@dataclass
class Plugin:
    """What answers instead of Lambda."""

    answer: Any = None
    function_error: bool = False
    refusal: tuple[int, str] | None = None
    breaks: Exception | None = None
    calls: list[AWSPreparedRequest] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)

    def __call__(self, request: AWSPreparedRequest) -> Answer:
        self.calls.append(request)
        if self.breaks:
            raise self.breaks
        headers = {"content-type": "application/json", "x-amzn-requestid": "req-9"}
        if self.refusal:
            status, code = self.refusal
            return status, headers | {"x-amzn-errortype": code, "retry-after": "7"}, b'{"Message": "no"}'
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return 200, headers | ({"x-amz-function-error": "Unhandled"} if self.function_error else {}), body


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    made, plugin = aws.plugins, Plugin()
    empty()

    def client(read_s: int) -> Any:
        plugin.waits.append(read_s)
        made.cache_clear()
        client = made(read_s)
        answer_calls(client, plugin)
        return client

    monkeypatch.setattr(aws, "plugins", client)
    with providers(plugins={"functions": f"{SHOUT}, {COUNT}"}):
        yield plugin


def execute(name: str = "shout", given: Any = None, **options: Any) -> Any:
    return run("execute-plugin", {"plugin": name, "input": given}, **options)


def refused(**payload: Any) -> tuple[str, str, float | None]:
    found, retry_after = failure("execute-plugin", {"plugin": "shout"} | payload)
    return found.kind, found.message, retry_after


def executions() -> list[dict[str, Any]]:
    return event_log.from_env().read(CallKind.PLUGIN, None, None, 100, None)[0]


def test_a_plugin_is_given_its_input_the_job_and_the_key_and_nothing_else(plugin: Plugin) -> None:
    plugin.answer = {"text": "HELLO"}

    result = execute(given={"text": "hello", "none": None}, key="job-3")

    (call,) = plugin.calls
    assert json.loads(call.body) == {
        "input": {"text": "hello", "none": None},
        "job_id": "job-3",
        "idempotency_key": "job-3",
    }
    assert "x-amz-client-context" not in {name.lower() for name in call.headers}
    assert call.headers["X-Amz-Invocation-Type"] == b"RequestResponse"
    assert result == {"output": {"text": "HELLO"}, "request_id": "req-9"}
    assert "PluginsExecuted" in telemetry.metrics.metric_set


def test_a_plugin_with_an_alias_is_called_by_it(plugin: Plugin) -> None:
    execute("count:live")

    assert plugin.calls[0].url.split("/functions/")[1].startswith("arn%3Aaws%3Alambda")
    assert "count%3Alive" in plugin.calls[0].url


@pytest.mark.parametrize("name", ["other", "count", "shout:live", SHOUT, "", "a/b"])
def test_what_is_not_on_the_list_is_not_enqueued(plugin: Plugin, name: str) -> None:
    with pytest.raises(ValidationError) as error:
        ExecutePlugin.model_validate({"plugin": name})

    assert [entry["loc"] for entry in error.value.errors()] == [("plugin",)]
    assert plugin.calls == []


def test_without_a_list_of_plugins_the_worker_checks_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROVIDERS")
    registry._places.cache_clear()
    assert ExecutePlugin.model_validate({"plugin": "other"}).plugin == "other"


def test_without_a_list_such_jobs_are_refused_and_the_parameter_is_named(plugin: Plugin) -> None:
    with providers(plugins={"functions": ""}):
        with pytest.raises(NotConfigured, match="PluginFunctionArns"):
            ExecutePlugin.model_validate({"plugin": "shout"})
        with pytest.raises(NotConfigured, match="PluginFunctionArns"):
            registry.check("plugins")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ValueError", "transient"),
        ("Sandbox.Timedout", "transient"),
        ("Runtime.ExitError", "transient"),
        ("Runtime.OutOfMemory", "transient"),
        ("Runtime.ImportModuleError", "permanent"),
        ("Runtime.HandlerNotFound", "permanent"),
        ("Runtime.UserCodeSyntaxError", "permanent"),
    ],
)
def test_a_plugin_that_fails_may_do_better_next_time_unless_it_cannot_run_at_all(
    plugin: Plugin, error: str, kind: str
) -> None:
    plugin.function_error = True
    plugin.answer = {"errorType": error, "errorMessage": "cara@example.com"}

    assert refused() == (kind, f"the plugin failed: {error}", None)


@pytest.mark.parametrize("answer", [{"errorMessage": "timed out"}, "dead", {"errorType": "cara@example.com is wrong"}])
def test_a_failure_without_a_type_names_nothing_that_it_says(plugin: Plugin, answer: Any) -> None:
    plugin.function_error, plugin.answer = True, answer

    assert refused() == ("transient", "the plugin failed: unknown", None)


@pytest.mark.parametrize(
    ("reported", "kind", "message"),
    [
        ({"retryable": True, "code": "busy"}, "transient", "the plugin refused: busy"),
        ({"retryable": False, "code": "no_such_ad"}, "permanent", "the plugin refused: no_such_ad"),
        ({"code": "no_such_ad"}, "permanent", "the plugin refused: no_such_ad"),
        ({"retryable": "yes", "code": "cara@example.com"}, "permanent", "the plugin refused: unknown"),
    ],
)
def test_a_plugin_can_say_itself_whether_to_come_again(
    plugin: Plugin, reported: dict[str, Any], kind: str, message: str
) -> None:
    plugin.answer = {"error": reported}

    assert refused() == (kind, message, None)


@pytest.mark.parametrize(
    ("refusal", "kind", "message", "seconds"),
    [
        ((429, "TooManyRequestsException"), "throttled", "Lambda refused the call (TooManyRequestsException)", 7.0),
        ((500, "ServiceException"), "transient", "Lambda refused the call (ServiceException)", 7.0),
        ((502, "EC2ThrottledException"), "throttled", "Lambda refused the call (EC2ThrottledException)", 7.0),
        ((409, "ResourceConflictException"), "transient", "Lambda refused the call (ResourceConflictException)", 7.0),
        ((404, "ResourceNotFoundException"), "permanent", "Lambda refused the call (ResourceNotFoundException)", None),
        ((413, "RequestTooLargeException"), "permanent", "Lambda refused the call (RequestTooLargeException)", None),
        (
            (403, "AccessDeniedException"),
            "provider_closed",
            "provider closed: a plugin that PluginFunctionArns lists may not be called: it must allow this account",
            30.0,
        ),
    ],
)
def test_lambdas_own_refusals_are_classified(
    plugin: Plugin, refusal: tuple[int, str], kind: str, message: str, seconds: float | None
) -> None:
    plugin.refusal = refusal

    assert refused() == (kind, message, seconds)
    assert len(plugin.calls) == 1


def test_a_plugin_that_takes_too_long_and_a_lambda_that_is_not_reached_are_tried_again(plugin: Plugin) -> None:
    plugin.breaks = ReadTimeoutError(endpoint_url="https://lambda")
    assert refused() == ("transient", "the plugin took too long", None)
    plugin.breaks = ConnectTimeoutError(endpoint_url="https://lambda")
    assert refused() == ("transient", "Lambda could not be reached (ConnectTimeoutError)", None)


@pytest.mark.parametrize(("asked", "left", "waited"), [(15, 75, 15), (60, 75, 60), (60, 20, 20)])
def test_a_plugin_is_waited_for_as_long_as_asked_and_never_beyond_the_job(
    plugin: Plugin, asked: int, left: float, waited: int
) -> None:
    run("execute-plugin", {"plugin": "shout", "timeout_seconds": asked}, seconds=left)

    assert plugin.waits == [waited]


def test_an_answer_may_have_24_kilobytes(plugin: Plugin) -> None:
    plugin.answer = b'"' + b"x" * (24 * 1024 - 2) + b'"'
    assert len(execute()["output"]) == 24 * 1024 - 2
    plugin.answer = b'"' + b"x" * (24 * 1024 - 1) + b'"'
    assert refused() == ("permanent", "the plugin answered more than 24576 bytes", None)


def test_an_answer_that_is_no_json_fails_the_job_and_none_at_all_is_null(plugin: Plugin) -> None:
    plugin.answer = b"<html>"
    assert refused() == ("permanent", "the plugin's answer is not JSON", None)
    plugin.answer = b""
    assert execute()["output"] is None


def test_executions_tell_who_had_what_done_how_long_it_took_and_how_it_went(plugin: Plugin) -> None:
    plugin.answer = {"text": "HELLO"}
    execute(given={"text": "hello"})
    plugin.answer = {"error": {"code": "quota"}}
    refused()
    plugin.refusal = (429, "TooManyRequestsException")
    refused()

    by_outcome = {event["outcome"]: event for event in executions()}
    assert by_outcome.keys() == {"answered", "the plugin refused: quota", "TooManyRequestsException"}
    event = by_outcome["answered"]
    assert (event["plugin"], event["tenant"], event["job"], event["duration_ms"]) == ("shout", "system", "job-1", 0)
    assert (event["input_bytes"], event["output_bytes"], event["request_id"]) == (16, 17, "req-9")
    assert "output_bytes" not in by_outcome["TooManyRequestsException"]


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"input": "x" * (32 * 1024 - 1)}, "input"),
        ({"timeout_seconds": 61}, "timeout_seconds"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"credentials": "x"}, "credentials"),
    ],
)
def test_a_call_that_breaks_a_rule_is_not_enqueued(plugin: Plugin, payload: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as error:
        ExecutePlugin.model_validate({"plugin": "shout"} | payload)

    assert [entry["loc"] for entry in error.value.errors()] == [(field,)]


def test_an_input_of_32_kilobytes_goes_through(plugin: Plugin) -> None:
    assert execute(given="x" * (32 * 1024 - 2))["output"] is None
