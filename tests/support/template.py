"""`infra/template.yaml` as tests read it: loops unrolled, rights by role wherever they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from local.settings import ROOT
from local.translate import load, unroll

TEMPLATE = unroll(load((ROOT / "infra" / "template.yaml").read_text()))
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


def of(kind: str) -> dict[str, Any]:
    """Properties of all resources of a type, by logical id."""
    return {name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == kind}


def conditional_statements() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(role, condition or "", statement) for every statement, in the role itself or in a policy of its own."""
    documents = [
        (role, "", policy["PolicyDocument"])
        for role, properties in of("AWS::IAM::Role").items()
        for policy in properties["Policies"]
    ]
    documents += [
        (role["Ref"], RESOURCES[name].get("Condition", ""), policy["PolicyDocument"])
        for name, policy in of("AWS::IAM::Policy").items()
        for role in policy["Roles"]
    ]
    for role, condition, document in documents:
        for statement in document["Statement"]:
            if "Fn::If" in statement:
                held, then, other = statement["Fn::If"]
                assert other == {"Ref": "AWS::NoValue"}
                yield role, held, then
            else:
                yield role, condition, statement


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """(role, statement) for every statement, whatever its condition."""
    yield from ((role, statement) for role, _, statement in conditional_statements())


def rights(*roles: str) -> set[tuple[str, str]]:
    """(action, resource as JSON) that one of these roles has."""
    return {
        (action, json.dumps(resource))
        for role, statement in statements()
        if role in roles
        for action in statement["Action"]
        for resource in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
    }
