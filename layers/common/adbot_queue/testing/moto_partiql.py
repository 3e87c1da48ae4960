"""moto, taught the PartiQL that `core.partiql` writes: each statement is carried out as the UpdateItem that it means.

moto's own PartiQL knows neither OR nor IS MISSING nor arithmetic. `tests/concurrency/test_partiql.py` has the same
contract kept by this and by Amazon's DynamoDB Local. What is not of the one form that this project sends is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

from moto.dynamodb.exceptions import ConditionalCheckFailed, MockValidationException
from moto.dynamodb.models import DynamoDBBackend

_FORM = re.compile(r'UPDATE "([^"]+)" (.+) WHERE "pk" = \? AND "sk" = \? AND \((.+)\)( RETURNING ALL NEW \*)?')
_CLAUSE = re.compile(r"(SET|REMOVE) (.+?)(?= SET | REMOVE |$)")
_KEY_WORDS = {"UPDATE", "SET", "REMOVE", "WHERE", "AND", "OR", "IS", "NOT", "MISSING", "RETURNING", "ALL", "NEW"}


@contextmanager
def partiql() -> Iterator[None]:
    """While the block runs, moto understands."""
    with patch.object(DynamoDBBackend, "batch_execute_statement", _batch):
        yield


def _batch(backend: DynamoDBBackend, statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not 1 <= len(statements) <= 25:
        raise MockValidationException("a batch has 1 to 25 statements")
    updates = [_Update(statement) for statement in statements]
    keys = [str((update.table, update.key)) for update in updates]
    if len(set(keys)) < len(keys):
        raise MockValidationException("Provided list of item keys contains duplicates")
    return [update.carry_out(backend) for update in updates]


class _Update:
    def __init__(self, statement: dict[str, Any]) -> None:
        text, parameters = statement["Statement"], statement["Parameters"]
        found = _FORM.fullmatch(text)
        assert found, f"not a statement of this project: {text}"
        bare = set(re.findall(r"\w+", re.sub(r'"[^"]*"', "", text)))
        assert bare <= _KEY_WORDS, f"not quoted: {bare - _KEY_WORDS}"
        self.table, changes, condition, self.answers = found.groups()
        before = changes.count("?")
        assert text.count("?") == len(parameters)
        self.key = {"pk": parameters[before], "sk": parameters[before + 1]}
        rest = [*parameters[:before], *parameters[before + 2 :]]
        self.values = {f":p{number}": value for number, value in enumerate(rest)}
        self.names = {f"#{name}": name for name in re.findall(r'"(\w+)"', f"{changes} {condition}")}
        places = count()
        clauses: dict[str, list[str]] = {}
        for verb, change in _CLAUSE.findall(changes):
            clauses.setdefault(verb, []).append(_classic(change, places))
        self.expression = " ".join(f"{verb} {', '.join(several)}" for verb, several in clauses.items())
        self.condition = _classic(condition, places)
        self.tells = statement.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"

    def carry_out(self, backend: DynamoDBBackend) -> dict[str, Any]:
        existing = backend.get_item(self.table, self.key)
        old_item = {"Item": existing.to_json()["Attributes"]} if existing and self.tells else {}
        refused = {"Error": {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", **old_item}}
        if existing is None:
            return {"TableName": self.table, **refused}  # an UPDATE makes no item
        try:
            item = backend.update_item(
                self.table, self.key, self.expression, self.names, self.values, condition_expression=self.condition
            )
        except ConditionalCheckFailed:
            return {"TableName": self.table, **refused}
        return {"TableName": self.table, **({"Item": item.to_json()["Attributes"]} if self.answers else {})}


def _classic(text: str, places: Iterator[int]) -> str:
    """The same for UpdateItem."""
    text = re.sub(r"\?", lambda _: f":p{next(places)}", text)
    text = re.sub(r'"(\w+)" IS NOT MISSING', r"attribute_exists(#\1)", text)
    text = re.sub(r'"(\w+)" IS MISSING', r"attribute_not_exists(#\1)", text)
    return re.sub(r'"(\w+)"', r"#\1", text)
