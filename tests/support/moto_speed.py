"""moto without its slowest habits: the same answers for a fraction of the work.

Unit tests spend nine tenths of their time in moto. `tests/unit/test_moto_speed.py` compares each replacement with the
original.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient
from botocore.endpoint import Endpoint
from moto import backend_index
from moto.core import models as core_models
from moto.core import responses
from moto.core.botocore_stubber import BotocoreStubber
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
from moto.dynamodb.parsing.validators import UpdateExpressionValidator
from moto.sqs import models as queues

from tests.support import moto_requests

MAX_ITEM_SIZE = 405_000
"""As in moto's `LimitedSizeDict`."""

_process, _send, _resolve = (
    BotocoreStubber.process_request,
    Endpoint._send_request,
    BaseClient._resolve_endpoint_ruleset,
)
_transact, _query = DynamoDBBackend.transact_write_items, Table.query
_parse_condition, _make_operand = ConditionExpressionParser.parse, ConditionExpressionParser._make_operand
_dynamo_to_dict, _to_regular_json = responses_of_items.dynamo_to_dict, DynamoType.to_regular_json


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


def _is_of_no_use(pattern: tuple[str, Any]) -> bool:
    """Sort the addresses of the services that this project uses before the 150 others."""
    return pattern[0] not in {"sqs", "secretsmanager", "events", "scheduler", "cognitoidp", "sns", "dynamodbstreams"}


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
    kinds = tuple(processors)
    has_hook = type(traverser).pre_processing_of_child is not DepthFirstTraverser.pre_processing_of_child

    def walk(node: Any, place: int) -> Any:
        if not _is_node(type(node)):
            return node
        parent = node.parent
        for number, child in enumerate(node.children or ()):
            if has_hook:
                traverser.pre_processing_of_child(node, number)
            walk(child, number)
        if processed_as := _processed_as(type(node), kinds):
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
    if not isinstance(value, Node):
        return copy.deepcopy(value)
    made = pickle.loads(_pickled(value))  # noqa: S301  our own
    made.source = value
    return made


def _validate(validator: UpdateExpressionValidator) -> Node:
    """Check once what values do not decide: how many clauses there are, overlapping paths, changes of keys."""
    node: Any = validator.node_to_validate
    names = frozenset((validator.expression_attribute_names or {}).items())
    checked = (node.source, names, frozenset(validator.table.table_key_attrs))
    for processor in validator.processors:
        if checked not in _checked or not isinstance(processor, _OF_THE_TEXT):
            node = processor.traverse(node)
    _checked.add(checked)
    return node


_OF_THE_TEXT = (
    validators.ActionCountValidator,
    validators.OverlappingPathsValidator,
    validators.UpdateHashRangeKeyValidator,
)
_checked: set[Any] = set()


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


def _copy_value(value: DynamoType, _memo: Any = None) -> DynamoType:
    """Copy a value without a note of each part: parts are never shared."""
    made = DynamoType.__new__(DynamoType)
    made.type, held = value.type, value.value
    kind = type(held)
    if kind is dict:
        held = {name: _copy_value(one) for name, one in held.items()}
    elif kind is list:
        held = [_copy_value(one) if type(one) is DynamoType else one for one in held]
    made.value = held
    return made


def _copy_item(item: Item, _memo: Any = None) -> Item:
    made = Item.__new__(Item)
    made.hash_key, made.range_key, made.attrs = item.hash_key, item.range_key, LimitedSizeDict()
    for name, value in item.attrs.items():
        dict.__setitem__(made.attrs, name, _copy_value(value))
    return made


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


_REPLACEMENTS: tuple[tuple[Any, str, Any], ...] = (
    *moto_requests.REPLACEMENTS,
    (backend_index, "backend_url_patterns", sorted(backend_index.backend_url_patterns, key=_is_of_no_use)),
    (responses, "method_names_from_class", cache(responses.method_names_from_class)),
    (UpdateExpressionParser, "make", cache(UpdateExpressionParser.make)),  # its validator works on a copy
    (DepthFirstTraverser, "traverse", _traverse),
    (validators, "deepcopy", _copy_expression),
    (UpdateExpressionValidator, "validate", _validate),
    (ConditionExpressionParser, "parse", _condition),
    (ConditionExpressionParser, "_make_operand", _operand),
    (responses_of_items, "dynamo_to_dict", _plain),
    (DynamoType, "to_regular_json", _regular_json),
    (DynamoType, "__deepcopy__", _copy_value),
    (Item, "__deepcopy__", _copy_item),
    (queues, "unix_time_millis", _milliseconds),
    (queues, "camelcase_to_underscores", moto_requests.underscores),
    (responses, "camelcase_to_underscores", moto_requests.underscores),
    (Item, "__init__", _make_item),
    (core_models, "RESPONSES_METHODS", ()),  # calls of `requests`, which no unit test makes to AWS
    (models, "copy", SimpleNamespace(deepcopy=_copy_unless_table)),
    (DynamoDBBackend, "transact_write_items", _transact_write_items),
    (Table, "query", _query_partition),
)
_ORIGINALS = [getattr(owner, name) for owner, name, _ in _REPLACEMENTS]
