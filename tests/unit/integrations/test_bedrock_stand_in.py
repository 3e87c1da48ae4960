"""The stand-in of Bedrock keeps to the service's description, whichever door it is asked at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adbot_queue.integrations.ai import schema_of
from adbot_queue.integrations.jobs.generate_content import Content
from adbot_queue.integrations.jobs.optimize_seo import Seo
from local.json_schema import jsonschema
from local.stand_ins.bedrock import Bedrock
from local.stand_ins.stub_response import StubResponse

SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=x/20251122/us-east-1/bedrock/aws4_request, SignedHeaders=host"}
ASKED = "<request>Bots that buy tickets, and a word that is longer than forty letters: " + "x" * 200 + "</request>"


def request(**changes: Any) -> dict[str, Any]:
    tool = {"toolSpec": {"name": "write", "inputSchema": {"json": schema_of(Content)}}}
    return {
        "messages": [{"role": "user", "content": [{"text": ASKED}]}],
        "toolConfig": {"tools": [tool], "toolChoice": {"tool": {"name": "write"}}},
        **changes,
    }


def converse(body: dict[str, Any], headers: dict[str, str] = SIGNED) -> StubResponse:
    return Bedrock().respond("POST", "/model/some.model-v1:0/converse", headers, json.dumps(body))


@pytest.mark.parametrize("form", [Content, Seo])
def test_what_it_makes_fits_the_schema_and_our_own_form(form: Any) -> None:
    spec = {"name": "write", "inputSchema": {"json": schema_of(form)}}
    reply = converse(request(toolConfig={"tools": [{"toolSpec": spec}]}))

    made = reply.body["output"]["message"]["content"][0]["toolUse"]["input"]
    form.model_validate(made)
    jsonschema.validate(made, schema_of(form))
    assert reply.body["stopReason"] == "tool_use"


def test_the_same_request_is_answered_the_same() -> None:
    first, second = converse(request()).body, converse(request()).body

    assert first["usage"] == second["usage"]
    assert (
        first["output"]["message"]["content"][0]["toolUse"]["input"]
        == (second["output"]["message"]["content"][0]["toolUse"]["input"])
    )


@pytest.mark.parametrize(
    ("body", "headers", "status", "error"),
    [
        (request(), {}, 403, "UnrecognizedClientException"),
        (request(messages=[{"role": "system", "content": []}]), SIGNED, 400, "ValidationException"),
        (request(messages=[{"role": "assistant", "content": [{"text": "x"}]}]), SIGNED, 400, "ValidationException"),
        (request(toolConfig={"tools": []}), SIGNED, 400, "ValidationException"),
        (request(inferenceConfig={"maxTokens": "many"}), SIGNED, 400, "ValidationException"),
        (request(unheard="x"), SIGNED, 400, "ValidationException"),
    ],
)
def test_what_the_service_would_refuse_is_refused(
    body: dict[str, Any], headers: dict[str, str], status: int, error: str
) -> None:
    reply = converse(body, headers)

    assert (reply.status, reply.headers["x-amzn-errortype"]) == (status, error)


def test_a_tool_that_is_not_there_cannot_be_chosen() -> None:
    wrong = request()
    wrong["toolConfig"]["toolChoice"] = {"tool": {"name": "other"}}

    assert converse(wrong).status == 400


def test_at_its_other_door_it_answers_as_openai_does() -> None:
    tool = {"type": "function", "function": {"name": "write", "parameters": schema_of(Content)}}
    body = {"model": "m", "messages": [{"role": "user", "content": ASKED}], "tools": [tool]}

    reply = Bedrock().respond("POST", "/v1/chat/completions", {}, json.dumps(body))

    call = reply.body["choices"][0]["message"]["tool_calls"][0]["function"]
    Content.model_validate_json(call["arguments"])
    assert reply.body["usage"]["total_tokens"] > 0
