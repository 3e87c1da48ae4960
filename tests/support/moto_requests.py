"""Calls about items and messages without HTTP: botocore makes, signs and parses it, and moto takes it apart."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Mapping
from functools import cache, partial
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from botocore.awsrequest import AWSPreparedRequest
from botocore.client import BaseClient
from botocore.endpoint import Endpoint
from botocore.model import OperationModel, StructureShape
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.exceptions import ServiceException
from moto.core.utils import camelcase_to_underscores
from moto.dynamodb.responses import DynamoHandler
from moto.sqs.responses import SQSResponse
from werkzeug.exceptions import HTTPException

from adbot_queue.core import patience
from adbot_queue.testing.moto_threads import LOCK

_ADDRESS = re.compile(r"https://(?P<service>dynamodb|sqs)\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/")
_HANDLERS = {"dynamodb": DynamoHandler, "sqs": SQSResponse}
_PLAIN_ACTIONS = {
    *("batch_get_item", "batch_write_item", "delete_item", "get_item", "put_item", "query", "scan", "update_item"),
    *("transact_get_items", "transact_write_items", "batch_execute_statement"),
    *("send_message", "send_message_batch", "receive_message", "delete_message", "delete_message_batch"),
    *("change_message_visibility", "change_message_visibility_batch", "get_queue_attributes", "set_queue_attributes"),
}
_HAS_BINARY = re.compile(rb'"BS?"|"BinaryValue"')
_RETRIES = {"botocore.retries.standard", "botocore.retryhandler", patience.__name__}
_OK = SimpleNamespace(status_code=200, headers={})
_answered = threading.local()
"""`answer`: what the request that this thread sends next was answered already."""
_addresses: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

underscores = cache(camelcase_to_underscores)
_process = BotocoreStubber.process_request
_send, _resolve = Endpoint._send_request, BaseClient._resolve_endpoint_ruleset


def _send_request(endpoint: Endpoint, request: dict[str, Any], operation: OperationModel) -> Any:
    """Hand a request about items or messages to moto's handler without HTTP.

    botocore makes a request, signs it, and parses the response: half of the time of a call. An answer that it would
    not take as it is (an error, a binary value) goes that way after all, with what hooks of a test look at.
    """
    found = _ADDRESS.fullmatch(request["url"])
    if found is None or not _is_plain(request) or not _is_unwatched(endpoint, operation):
        return _send(endpoint, request, operation)
    with LOCK:
        handler = _handler(found, request["headers"])
        answer = _answer_plainly(handler, _action(request), request["body"])
    status, _, body = answer
    if status != HTTPStatus.OK or _HAS_BINARY.search(body.encode()):
        _answered.answer = answer
        return _send(endpoint, request, operation)
    shape = operation.output_shape
    known = shape.members if isinstance(shape, StructureShape) else {}
    parsed = {name: value for name, value in json.loads(body).items() if name in known and value is not None}
    return _OK, parsed | {"ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}}


def _is_unwatched(endpoint: Endpoint, operation: OperationModel) -> bool:
    """Return whether moto answers, and nothing else looks at the request or decides about another attempt."""
    emitter: Any = endpoint._event_emitter
    name = f"{operation.service_model.service_id.hyphenize()}.{operation.name}"
    before_send, needs_retry = (
        _handlers(emitter._emitter, f"{event}.{name}") for event in ("before-send", "needs-retry")
    )
    return all(isinstance(one, BotocoreStubber) and one.enabled for one in before_send) and all(
        one.__module__ in _RETRIES for one in needs_retry
    )


def _handlers(emitter: Any, event: str) -> Any:
    found = emitter._lookup_cache.get(event)
    if found is None:
        found = emitter._lookup_cache[event] = emitter._handlers.prefix_search(event)
    return found


def _resolve_endpoint(client: Any, operation: Any, params: Any, context: Any, **options: Any) -> Any:
    """Resolve the address of a client of DynamoDB or SQS once: here it depends on nothing in a request."""
    if client.meta.service_model.service_name not in _HANDLERS:
        return _resolve(client, operation, params, context, **options)
    if client not in _addresses:
        _addresses[client] = _resolve(client, operation, params, context, **options)
    url, headers, properties = _addresses[client]
    return url, dict(headers), dict(properties)


def _process_request(stubber: BotocoreStubber, request: AWSPreparedRequest) -> Any:
    """Hand requests of DynamoDB and SQS to their handlers: moto goes through all services' addresses first."""
    if answer := _answered.__dict__.pop("answer", None):
        return answer
    found = _ADDRESS.fullmatch(request.url)
    asked = {"headers": request.headers, "body": request.body}
    if found is None or (found["service"] == "sqs" and not _is_plain(asked)):
        return _process(stubber, request)
    handler = _handler(found, request.headers)
    if _is_plain(asked):
        return _answer_plainly(handler, _action(asked), request.body)
    content_type = handler.headers["Content-Type"]
    handler.parse_parameters(
        SimpleNamespace(
            method="POST", path="/", headers=handler.headers, content_type=content_type, values={}, data=request.body
        )
    )
    return handler.call_action()


def _handler(address: re.Match[str], headers: Mapping[str, Any]) -> Any:
    handler: Any = _HANDLERS[address["service"]]()
    handler.region, handler.current_account = address["region"], DEFAULT_ACCOUNT_ID
    handler.headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in headers.items()}
    handler.response_headers = {"server": "amazon.com"}
    handler.querystring, handler.uri_match = {}, {}
    return handler


def _is_plain(request: Mapping[str, Any]) -> bool:
    return _action(request) in _PLAIN_ACTIONS and not _HAS_BINARY.search(request["body"])


def _action(request: Mapping[str, Any]) -> str:
    target = request["headers"]["X-Amz-Target"]
    return underscores((target.decode() if isinstance(target, bytes) else target).partition(".")[2])


def _answer_plainly(handler: Any, action: str, body: bytes) -> Any:
    """Answer a request about items or messages, whose JSON is what moto reads and writes anyway.

    moto walks every value by the service's model, on the way in and on the way out.
    """
    handler.body = handler.params = json.loads(body)
    try:
        result = getattr(handler, action)().result
    except (ServiceException, HTTPException) as error:
        setattr(handler, action, partial(_fail, error))
        return handler.call_action()
    return 200, handler.response_headers, json.dumps(result or {}, default=_base64)


def _fail(error: Exception) -> None:
    raise error


def _base64(content: str | bytes) -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


REPLACEMENTS: tuple[tuple[Any, str, Any], ...] = (
    (Endpoint, "_send_request", _send_request),
    (BaseClient, "_resolve_endpoint_ruleset", _resolve_endpoint),
    (BotocoreStubber, "process_request", _process_request),
)
