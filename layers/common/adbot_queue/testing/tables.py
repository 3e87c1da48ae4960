"""The project's tables on any DynamoDB, from their definitions in `infra/template.yaml`: nothing is described twice."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TEMPLATE = Path(__file__).parents[4] / "infra" / "template.yaml"

_SHAPE = ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "BillingMode")


class _Loader(yaml.SafeLoader):
    """Reads a template without evaluating it: `!Ref X` becomes the plain value, which no key of a table uses."""


def _plain(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _plain)


@lru_cache(maxsize=1)
def template() -> dict[str, Any]:
    """The template as it is written, intrinsic functions reduced to their arguments."""
    loaded: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506  a SafeLoader
    return loaded


def table_shapes() -> dict[str, dict[str, Any]]:
    """Logical id of each table -> keys, indexes and billing, as CreateTable takes them."""
    tables = {
        name: resource["Properties"]
        for name, resource in template()["Resources"].items()
        if isinstance(resource, dict) and resource.get("Type") == "AWS::DynamoDB::Table"
    }
    return {name: {part: table[part] for part in _SHAPE if part in table} for name, table in tables.items()}


def create_tables(client: DynamoDBClient, *names: str, prefix: str = "") -> dict[str, str]:
    """Create these tables of the template, all when none is named.

    Returns:
        Logical id -> the name of the table, which is the prefix and the logical id.
    """
    shapes = table_shapes()
    created = {}
    for name in names or shapes:
        client.create_table(TableName=f"{prefix}{name}", **shapes[name])
        created[name] = f"{prefix}{name}"
    return created
