"""moto without its slowest habits: the same answers for a fraction of the work.

Unit tests spend nine tenths of their time in moto. `tests/unit/test_moto_speed.py` compares each replacement with the
original.
"""

from __future__ import annotations

import base64
import copy
import inspect
import pickle
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from botocore.awsrequest import AWSPreparedRequest
from moto import backend_index
from moto.core import DEFAULT_ACCOUNT_ID, responses, serialize
from moto.core import models as core_models
from moto.core.botocore_stubber import BotocoreStubber
from moto.dynamodb import models
from moto.dynamodb.exceptions import ItemSizeTooLarge, ResourceNotFoundException
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing import validators
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.responses import DynamoHandler

_DYNAMODB = re.compile(r"https://dynamodb\.([a-z0-9-]+)\.amazonaws\.com/")

MAX_ITEM_SIZE = 405_000
"""As in moto's `LimitedSizeDict`."""

_process = BotocoreStubber.process_request
_transact, _query = DynamoDBBackend.transact_write_items, Table.query

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
    """Hand DynamoDB's requests to its handler: moto goes through all services' addresses first."""
    found = _DYNAMODB.fullmatch(request.url)
    if not found:
        return _process(stubber, request)
    handler = DynamoHandler()
    handler.region, handler.current_account = found[1], DEFAULT_ACCOUNT_ID
    handler.headers = {
        name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
    }
    handler.response_headers = {"server": "amazon.com"}
    handler.querystring, handler.uri_match = {}, {}
    content_type = handler.headers["Content-Type"]
    handler.parse_parameters(
        SimpleNamespace(
            method="POST", path="/", headers=handler.headers, content_type=content_type, values={}, data=request.body
        )
    )
    return handler.call_action()


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
        for partition, key, item in filter(None, undo):
            if item is None:
                partition.pop(key, None)
            else:
                partition[key] = item
        raise


def _undo(backend: DynamoDBBackend, operation: dict[str, Any]) -> tuple[dict[Any, Any], DynamoType, Any] | None:
    """Return a partition, a key in it and a copy of what it holds; None if the operation cannot write anything."""
    attributes = operation.get("Key") or operation.get("Item") or {}
    try:
        table = backend.get_table(operation["TableName"])
        partition = DynamoType(attributes[table.hash_key_attr])
        key = DynamoType(attributes[table.range_key_attr]) if table.range_key_attr else None
    except (KeyError, ResourceNotFoundException):
        return None
    assert table.stream_shard is None, "moto's streams would keep what is rolled back"
    if key is None:  # the partition is the item
        return table.items, partition, copy.deepcopy(table.items.get(partition))  # type: ignore[return-value]
    items: Any = table.items[partition]
    return items, key, copy.deepcopy(items.get(key))


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

    @cache
    def processor_of(kind: type) -> Any:
        return next((process for known, process in processors.items() if issubclass(kind, known)), None)

    @cache
    def is_node(kind: type) -> bool:
        return issubclass(kind, Node)

    def walk(node: Any, place: int) -> Any:
        if not is_node(type(node)):
            return node
        parent = node.parent
        for number, child in enumerate(node.children or ()):
            traverser.pre_processing_of_child(node, number)
            walk(child, number)
        if process := processor_of(type(node)):
            node = process(node)
            node.parent = parent
            if parent:
                parent.children[place] = node
        return node

    return walk(root, -1)


def _copy_expression(value: Any) -> Any:
    return pickle.loads(_pickled(value)) if isinstance(value, Node) else copy.deepcopy(value)  # noqa: S301  our own


@cache
def _pickled(expression: Node) -> bytes:
    return pickle.dumps(expression)


def _make_item(item: Item, hash_key: DynamoType, range_key: DynamoType | None, attrs: dict[str, Any]) -> None:
    """Measure an item once it is whole: moto measures all of it for each attribute."""
    item.hash_key, item.range_key, item.attrs = hash_key, range_key, LimitedSizeDict()
    for name, value in attrs.items():
        dict.__setitem__(item.attrs, name, DynamoType(value))
    if item.size() > MAX_ITEM_SIZE:
        raise ItemSizeTooLarge


class _DynamoDBSerializer(serialize.JSONSerializer):
    """Writes an attribute's value as it is: moto asks it for each of ten types under five names."""

    def _serialize_type_structure(self, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue" and isinstance(value, dict):
            serialized[key] = _wire(value)
        else:
            super()._serialize_type_structure(serialized, value, shape, key)


def _wire(value: dict[str, Any]) -> dict[str, Any]:
    [(kind, content)] = value.items()
    match kind:
        case "M":
            return {kind: {name: _wire(one) for name, one in content.items()}}
        case "L":
            return {kind: [_wire(one) for one in content]}
        case "B":
            return {kind: _base64(content)}
        case "BS":
            return {kind: [_base64(one) for one in content]}
    return {kind: content}


def _base64(content: str | bytes) -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


_REPLACEMENTS: tuple[tuple[Any, str, Any], ...] = (
    (BotocoreStubber, "process_request", _process_request),
    (backend_index, "backend_url_patterns", sorted(backend_index.backend_url_patterns, key=_is_of_no_use)),
    (responses, "method_names_from_class", cache(responses.method_names_from_class)),
    (UpdateExpressionParser, "make", cache(UpdateExpressionParser.make)),  # its validator works on a copy
    (DepthFirstTraverser, "traverse", _traverse),
    (validators, "deepcopy", _copy_expression),
    (Item, "__init__", _make_item),
    (core_models, "RESPONSES_METHODS", ()),  # calls of `requests`, which no unit test makes to AWS
    (models, "copy", SimpleNamespace(deepcopy=_copy_unless_table)),
    (DynamoDBBackend, "transact_write_items", _transact_write_items),
    (Table, "query", _query_partition),
    (
        serialize,
        "SERVICE_SPECIFIC_SERIALIZERS",
        serialize.SERVICE_SPECIFIC_SERIALIZERS | {"dynamodb": {"json": _DynamoDBSerializer}},
    ),
)
_ORIGINALS = [getattr(owner, name) for owner, name, _ in _REPLACEMENTS]
