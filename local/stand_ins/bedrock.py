"""Bedrock's Converse as far as the project uses it: a model that calls the tool it has to, with an input of its schema.

What it writes is made of the request's own words, the same for the same request. Requests are held against the service
description that botocore ships. `stop=max_tokensx1` in a request has its first answer end so; `fail=` and `hang=` as in
`faults`. The second door, /v1/chat/completions, is the same model as OpenAI's clients see it: the embedded AWS can put
its own Bedrock in front of that.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

from botocore.session import get_session
from botocore.validate import ParamValidator

from local.json_schema import jsonschema
from local.stand_ins.fault_injection import FaultInjection
from local.stand_ins.refusals import refusal
from local.stand_ins.stub_response import Effects, StubResponse

MAX_KEPT = 200
"""Requests that can be read; the oldest goes first."""

LONG = 40
"""Words of a text that may be long, unless the request says `max_words`."""

ERRORS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_CONVERSE = re.compile(r"/model/([^/]+)/converse")
_STOP = re.compile(r"\bstop=([a-z_]+?)(?:x(\d+))?\b(?!_)")


@cache
def _input_shape() -> Any:  # None for operations without input, which Converse is not
    return get_session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape


class Bedrock:
    """An account that may use any model."""

    def __init__(self) -> None:
        self.requests: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)
        self.effects = Effects()
        self._faults = FaultInjection()
        self._stops: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._shape = _input_shape()

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: str) -> StubResponse:
        """Answer a request; header names are in lower case."""
        if (method, path) == ("GET", "/requests"):
            return StubResponse(200, {"items": list(self.requests)})
        if (method, path) == ("POST", "/v1/chat/completions"):
            return self._chat(json.loads(body))
        asked = _CONVERSE.fullmatch(path)
        if method != "POST" or asked is None:
            return _error(404, "UnknownOperationException")
        if "/bedrock/aws4_request" not in headers.get("authorization", ""):
            return _error(403, "UnrecognizedClientException")
        return self._converse(unquote(asked[1]), body)

    def _converse(self, model: str, body: str) -> StubResponse:
        try:
            request = {"modelId": model, **json.loads(body)}
        except ValueError:
            return _error(400, "SerializationException")
        wrong = self._complaint(request)
        if wrong:
            return _error(400, "ValidationException", wrong)
        text = _text(request)
        key = request.get("requestMetadata", {}).get("key")
        self.effects.asked(key)
        mood = self._faults.of(key, text)
        if mood.refusal:
            return refusal("bedrock", mood.refusal)
        if mood.status:
            return _error(mood.status, ERRORS.get(mood.status, "InternalServerException"), headers=mood.headers)
        self.effects.happened(key)
        self.requests.append({"received_at": int(time.time()), "request": request})
        return StubResponse(
            200, self._answer(request, text, key or text), {"x-amzn-requestid": str(uuid.uuid4())}, mood.delay
        )

    def _complaint(self, request: dict[str, Any]) -> str:
        report = ParamValidator().validate(request, self._shape)
        if report.has_errors():
            return str(report.generate_report())
        if request["modelId"].startswith("arn:") and ":bedrock:" not in request["modelId"]:
            return "The provided model identifier is invalid."
        if [message["role"] for message in request["messages"]][:1] != ["user"]:
            return "A conversation must start with a user message."
        tools = {tool["toolSpec"]["name"] for tool in request.get("toolConfig", {}).get("tools", [])}
        wanted = request.get("toolConfig", {}).get("toolChoice", {}).get("tool", {}).get("name")
        return "" if wanted is None or wanted in tools else "toolChoice names no tool."

    def _answer(self, request: dict[str, Any], text: str, key: str) -> dict[str, Any]:
        stop = self._stop(key, text)
        tools = request.get("toolConfig", {}).get("tools", [])
        content: dict[str, Any] = {"text": " ".join(_words(text, LONG))}
        if tools and stop in (None, "tool_use", "max_tokens"):
            spec = tools[0]["toolSpec"]
            made = compose(spec["inputSchema"]["json"], text)
            if stop == "max_tokens":  # the form is begun and not finished
                made.popitem()
            content = {"toolUse": {"toolUseId": f"tooluse_{uuid.uuid4().hex}", "name": spec["name"], "input": made}}
        read, written = len(text) // 4, len(json.dumps(content)) // 4
        return {
            "output": {"message": {"role": "assistant", "content": [content]}},
            "stopReason": stop or ("tool_use" if tools else "end_turn"),
            "usage": {"inputTokens": read, "outputTokens": written, "totalTokens": read + written},
            "metrics": {"latencyMs": 1},
        }

    def _stop(self, key: str, text: str) -> str | None:
        wish = _STOP.search(text)
        if wish is None:
            return None
        with self._lock:
            self._stops[key, wish[0]] += 1
            return wish[1] if not wish[2] or self._stops[key, wish[0]] <= int(wish[2]) else None

    def _chat(self, request: dict[str, Any]) -> StubResponse:
        """As OpenAI's API has it: https://platform.openai.com/docs/api-reference/chat."""
        text = "\n".join(message["content"] for message in request["messages"] if message["role"] == "user")
        mood = self._faults.of(None, text)
        if mood.status:
            return StubResponse(mood.status, {"error": {"message": "a failure that was asked for"}}, mood.headers)
        message: dict[str, Any] = {"role": "assistant", "content": None}
        if request.get("tools"):
            tool = request["tools"][0]["function"]
            made = json.dumps(compose(tool["parameters"], text))
            call = {"id": "call_1", "type": "function", "function": {"name": tool["name"], "arguments": made}}
            message["tool_calls"] = [call]
        else:
            message["content"] = " ".join(_words(text, LONG))
        read, written = len(text) // 4, len(json.dumps(message)) // 4
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if request.get("tools") else "stop"}
        return StubResponse(200, {"object": "chat.completion", "choices": [choice], "usage": usage}, delay=mood.delay)


def compose(schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Values for a schema out of a text's words.

    Raises:
        ValidationError: of jsonschema: the schema wants what is not made here.
    """
    made: dict[str, Any] = _value(schema, text)
    jsonschema.validate(made, schema)
    return made


def _value(schema: Mapping[str, Any], text: str) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _value(part, text) for name, part in schema["properties"].items()}
        case "array":
            first = _value(schema["items"], text)
            words = [first, *(word for word in _words(text, 3) if isinstance(first, str))]
            return words[: schema.get("maxItems", 3)]
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
    return _line(schema, text)


def _line(schema: Mapping[str, Any], text: str) -> str:
    """A text no longer than it may be; one with a pattern is taken for a part of an address."""
    longest = int(schema.get("maxLength", 10_000))
    if "pattern" in schema:
        return "-".join(re.findall(r"[a-z0-9]+", text.lower())[:6])[:longest].strip("-")
    ordered = re.search(r'"max_words": (\d+)', text)
    words = _words(text, min(LONG, int(ordered[1])) if ordered else LONG)
    lengths = itertools.accumulate(len(word) + 1 for word in words)
    return " ".join(word for word, length in zip(words, lengths, strict=True) if length <= longest)


def _words(text: str, number: int) -> list[str]:
    """Return that many words, none too long for any field."""
    found = [word[:40] for word in re.findall(r"[^\W_]+", text)] or ["nothing"]
    return list(itertools.islice(itertools.cycle(found), number))


def _text(request: Mapping[str, Any]) -> str:
    parts = [block.get("text", "") for message in request["messages"] for block in message["content"]]
    return "\n".join(parts)


def _error(
    status: int, code: str, message: str = "a failure that was asked for", headers: Mapping[str, str] | None = None
) -> StubResponse:
    return StubResponse(status, {"message": message}, {"x-amzn-errortype": code, **(headers or {})})
