"""An update as a PartiQL statement. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from adbot_queue.core import attribute_values
from adbot_queue.core.dynamodb import Item


def statement(
    table: str, key: Item, expression: str, condition: str, values: Mapping[str, Any], *, answer: bool
) -> Any:
    """Return the statement that says what `dynamodb.update_if` does with the same parts."""
    text, names = _partiql(table, tuple(key), expression, condition, answer=answer)
    values = attribute_values.encode({**values, **{f"key {name}": value for name, value in key.items()}})
    return {
        "Statement": text,
        "Parameters": [values[name] for name in names],
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


@lru_cache(maxsize=256)
def _partiql(
    table: str, key: tuple[str, ...], expression: str, condition: str, *, answer: bool
) -> tuple[str, tuple[str, ...]]:
    """The statement, and the names of the values that its places stand for."""
    names: list[str] = []
    clauses = re.split(r"\s*\b(SET|REMOVE|ADD)\s+", expression)[1:]
    changes = " ".join(
        _clause(verb, entry.strip(), names)
        for verb, entries in zip(clauses[::2], clauses[1::2], strict=True)
        for entry in entries.split(",")
    )
    found = " AND ".join(f'"{name}" = ?' for name in key)
    names += [f"key {name}" for name in key]
    text = f'UPDATE "{table}" {changes} WHERE {found} AND ({_expression(condition, names)})'
    return (f"{text} RETURNING ALL NEW *" if answer else text), tuple(names)


def _clause(verb: str, entry: str, names: list[str]) -> str:
    if verb == "ADD":
        name, value = entry.split()
        return _expression(f"SET {name} = {name} + {value}", names)
    return _expression(f"{verb} {entry}", names)


_TOKEN = re.compile(r"attribute_(not_)?exists\(#?(\w+)\)|:(\w+)|#?(\w+)")
_WORDS = {"SET", "REMOVE", "AND", "OR"}


def _expression(text: str, names: list[str]) -> str:
    """The same in PartiQL; the names of the values are added in the order in which they stand."""

    def said(token: re.Match[str]) -> str:
        absent, tested, value, name = token.groups()
        if tested:
            return f'"{tested}" IS {"" if absent else "NOT "}MISSING'
        if value:
            names.append(value)
            return "?"
        return name if name in _WORDS else f'"{name}"'

    return _TOKEN.sub(said, text)
