"""moto without its slowest habits: the same answers for a fraction of the work.

Unit tests spend nine tenths of their time in moto. `tests/unit/test_moto_speed.py` compares each replacement with the
original.
"""

from __future__ import annotations

import base64
import copy
import inspect
import json
import pickle
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from botocore.awsrequest import AWSPreparedRequest
from moto import backend_index
from moto.core import DEFAULT_ACCOUNT_ID, responses
from moto.core import models as core_models
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.exceptions import ServiceException
from moto.core.utils import camelcase_to_underscores as underscores
from moto.dynamodb import models
from moto.dynamodb import responses as responses_of_items
from moto.dynamodb.comparisons import AttributeValue, ConditionExpressionParser
from moto.dynamodb.exceptions import ItemSizeTooLarge, ResourceNotFoundException
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing import validators
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.responses import DynamoHandler
from moto.sqs import models as queues
from moto.sqs.responses import SQSResponse
from werkzeug.exceptions import HTTPException

_DIRECT = re.compile(r"https://(?P<service>dynamodb|sqs)\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/")

MAX_ITEM_SIZE = 405_000
"""As in moto's `LimitedSizeDict`."""

_process = BotocoreStubber.process_request
_transact, _query = DynamoDBBackend.transact_write_items, Table.query
_parse_condition, _make_operand = ConditionExpressionParser.parse, ConditionExpressionParser._make_operand
_dynamo_to_dict, _to_regular_json = responses_of_items.dynamo_to_dict, DynamoType.to_regular_json

_HANDLERS = {"dynamodb": DynamoHandler, "sqs": SQSResponse}
_PLAIN_ACTIONS = {
    *("batch_get_item", "batch_write_item", "delete_item", "get_item", "put_item", "query", "scan", "update_item"),
    *("transact_get_items", "transact_write_items"),
    *("send_message", "send_message_batch", "receive_message", "delete_message", "delete_message_batch"),
    *("change_message_visibility", "change_message_visibility_batch", "get_queue_attributes", "set_queue_attributes"),
}
_underscores = cache(underscores)
_HAS_BINARY = re.compile(rb'"BS?"|"BinaryValue"')

_INDEX_NAME = list(inspect.signature(_query).parameters).index("index_name") - len(("self", "hash_key"))


def install() -> None:
    """Put the replacements in place for the rest of the process."""
    for owner, name, replacement in _REPLACEMENTS:
        setattr(owner, name, replacement)


@contextmanager
def originals() -> Iterator[None]:
    """Inside, moto is as it comes."""
    with ExitStack() as stack:
        for (owner, name, _), original in zip(_REPLACEMENTS, _ORIGINALS, strict=True):
            stack.enter_context(patch.object(owner, name, original))
        yield


def _process_request(stubber: BotocoreStubber, request: AWSPreparedRequest) -> Any:
    """Hand requests of DynamoDB and SQS to their handlers: moto goes through all services' addresses first."""
    found = _DIRECT.fullmatch(request.url)
    handler: Any = _HANDLERS[found["service"]]() if found else None
    if found is None or (found["service"] == "sqs" and not _is_plain(request)):
        return _process(stubber, request)
    handler.region, handler.current_account = found["region"], DEFAULT_ACCOUNT_ID
    handler.headers = {
        name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
    }
    handler.response_headers = {"server": "amazon.com"}
    handler.querystring, handler.uri_match = {}, {}
    if _is_plain(request):
        return _answer_plainly(handler, _action(request), request.body)
    content_type = handler.headers["Content-Type"]
    handler.parse_parameters(
        SimpleNamespace(
            method="POST", path="/", headers=handler.headers, content_type=content_type, values={}, data=request.body
        )
    )
    return handler.call_action()


def _is_plain(request: AWSPreparedRequest) -> bool:
    return _action(request) in _PLAIN_ACTIONS and not _HAS_BINARY.search(request.body)


def _action(request: AWSPreparedRequest) -> str:
    target = request.headers["X-Amz-Target"]
    return _underscores((target.decode() if isinstance(target, bytes) else target).partition(".")[2])


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


def _is_of_no_use(pattern: tuple[str, Any]) -> bool:
    """Sort the addresses of the services that this project uses before the 150 others."""
    return pattern[0] not in {"sqs", "secretsmanager", "events", "scheduler", "cognitoidp", "sns"}


def _copy_unless_table(value: Any) -> Any:
    return value if isinstance(value, Table) else copy.deepcopy(value)


def _transact_write_items(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """Roll back a refused transaction from copies of the items that it names.

    moto copies whole tables before every transaction. Here its copy of a table is the table itself, so that its own
    rollback changes nothing.
    """
    undo = [_undo(backend, operation) for item in transact_items for operation in item.values()]
    try:
        _transact(backend, transact_items)
    except BaseException:
        for one in filter(None, reversed(undo)):
            one()
        raise


def _undo(backend: DynamoDBBackend, operation: dict[str, Any]) -> Callable[[], None] | None:
    """Return what takes an operation back; None if it cannot write anything."""
    attributes = operation.get("Key") or operation.get("Item") or {}
    try:
        table = backend.get_table(operation["TableName"])
        partition = DynamoType(attributes[table.hash_key_attr])
        key = DynamoType(attributes[table.range_key_attr]) if table.range_key_attr else None
    except (KeyError, ResourceNotFoundException):
        return None
    # Without a sort key the partition is the item.
    items: Any = table.items if key is None else table.items[partition]
    name = partition if key is None else key
    item, changes = copy.deepcopy(items.get(name)), _changes(table)
    before = len(changes)

    def take_back() -> None:
        items.pop(name, None) if item is None else items.update({name: item})
        del changes[before:]

    return take_back


def _changes(table: Table) -> list[Any]:
    return table.stream_shard.items if table.stream_shard else []


def _query_partition(table: Table, hash_key: DynamoType | None, *args: Any, **kwargs: Any) -> Any:
    """Query one partition: moto sorts the whole table first."""
    index_name = kwargs.get("index_name", args[_INDEX_NAME] if len(args) > _INDEX_NAME else None)
    if index_name is None and hash_key is not None:
        partition = copy.copy(table)
        partition.items = {key: table.items[key] for key in [hash_key] if key in table.items}  # type: ignore[assignment]
        table = partition
    return _query(table, hash_key, *args, **kwargs)


def _traverse(traverser: DepthFirstTraverser, root: Node) -> Node:
    """Look up once for each kind of node what is done with it: moto goes through a new table for every node."""
    processors = traverser._processing_map()

    def walk(node: Any, place: int) -> Any:
        if not _is_node(type(node)):
            return node
        parent = node.parent
        for number, child in enumerate(node.children or ()):
            traverser.pre_processing_of_child(node, number)
            walk(child, number)
        if processed_as := _processed_as(type(node), tuple(processors)):
            node = processors[processed_as](node)
            node.parent = parent
            if parent:
                parent.children[place] = node
        return node

    return walk(root, -1)


@cache
def _is_node(kind: type) -> bool:
    return issubclass(kind, Node)


@cache
def _processed_as(kind: type, known: tuple[type, ...]) -> type | None:
    return next((one for one in known if issubclass(kind, one)), None)


def _copy_expression(value: Any) -> Any:
    return pickle.loads(_pickled(value)) if isinstance(value, Node) else copy.deepcopy(value)  # noqa: S301  our own


@cache
def _pickled(expression: Node) -> bytes:
    return pickle.dumps(expression)


class _ConditionTree(ConditionExpressionParser):
    """Parses a condition whose values are not known yet."""

    def _lookup_expression_attribute_value(self, _name: str) -> dict[str, str]:
        return {}

    def _make_op_condition(self, node: Any) -> Any:
        return node


@cache
def _condition_tree(expression: str, names: frozenset[tuple[str, str]]) -> tuple[Any, list[str], list[str]]:
    parser = _ConditionTree(expression, dict(names), {})
    return _parse_condition(parser), parser.expr_attr_names_found, parser.expr_attr_values_found


def _condition(parser: ConditionExpressionParser) -> Any:
    """Parse a condition once, whatever its values: moto does it two or three times a call, with regular expressions."""
    if not parser.condition_expression or isinstance(parser, _ConditionTree):
        return _parse_condition(parser)
    names = frozenset((parser.expression_attribute_names or {}).items())
    node, names_found, values_found = _condition_tree(parser.condition_expression, names)
    parser.expr_attr_names_found.extend(names_found)
    parser.expr_attr_values_found.extend(values_found)
    return parser._make_op_condition(node)


def _operand(parser: ConditionExpressionParser, node: Any) -> Any:
    if node.kind == parser.Kind.EXPRESSION_ATTRIBUTE_VALUE:
        return AttributeValue(parser._lookup_expression_attribute_value(node.text))
    return _make_operand(parser, node)


def _make_item(item: Item, hash_key: DynamoType, range_key: DynamoType | None, attrs: dict[str, Any]) -> None:
    """Measure an item once it is whole: moto measures all of it for each attribute."""
    item.hash_key, item.range_key, item.attrs = hash_key, range_key, LimitedSizeDict()
    for name, value in attrs.items():
        dict.__setitem__(item.attrs, name, DynamoType(value))
    if item.size() > MAX_ITEM_SIZE:
        raise ItemSizeTooLarge


def _plain(value: Any) -> Any:
    """Write items as JSON has them: moto asks each value for its kind by three names."""
    kind = type(value)
    if kind is DynamoType:
        if value.type in {"B", "BS"}:
            return _dynamo_to_dict(value)
        return {value.type: _plain(value.value)}
    if kind is dict:
        return {name: _plain(one) for name, one in value.items()}
    if kind is list:
        return [_plain(one) for one in value]
    return value if kind in {str, bool, float, int} else _dynamo_to_dict(value)


def _regular_json(value: DynamoType) -> dict[str, Any]:
    """Write a value without a copy of all that is in it for each level."""
    if value.type == "M":
        return {"M": {name: _regular_json(one) for name, one in value.value.items()}}
    if value.type == "L":
        return {"L": [_regular_json(one) for one in value.value]}
    return _to_regular_json(value)


def _milliseconds() -> float:
    """Read the clock: moto makes three dates of it, for each message of a queue whenever one is sent."""
    return time.time_ns() / 1e6


def _base64(content: str | bytes) -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


_REPLACEMENTS: tuple[tuple[Any, str, Any], ...] = (
    (BotocoreStubber, "process_request", _process_request),
    (backend_index, "backend_url_patterns", sorted(backend_index.backend_url_patterns, key=_is_of_no_use)),
    (responses, "method_names_from_class", cache(responses.method_names_from_class)),
    (UpdateExpressionParser, "make", cache(UpdateExpressionParser.make)),  # its validator works on a copy
    (DepthFirstTraverser, "traverse", _traverse),
    (validators, "deepcopy", _copy_expression),
    (ConditionExpressionParser, "parse", _condition),
    (ConditionExpressionParser, "_make_operand", _operand),
    (responses_of_items, "dynamo_to_dict", _plain),
    (DynamoType, "to_regular_json", _regular_json),
    (queues, "unix_time_millis", _milliseconds),
    (queues, "camelcase_to_underscores", _underscores),
    (responses, "camelcase_to_underscores", _underscores),
    (Item, "__init__", _make_item),
    (core_models, "RESPONSES_METHODS", ()),  # calls of `requests`, which no unit test makes to AWS
    (models, "copy", SimpleNamespace(deepcopy=_copy_unless_table)),
    (DynamoDBBackend, "transact_write_items", _transact_write_items),
    (Table, "query", _query_partition),
)
_ORIGINALS = [getattr(owner, name) for owner, name, _ in _REPLACEMENTS]
