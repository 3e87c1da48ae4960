"""Say what is wrong with a field and what is allowed, in words. Pure.

Pydantic speaks to programmers: of Python's quotes, of patterns, of inputs and types.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from adbot_queue.core.errors import FieldError

_NAMED = re.compile(r"(\w+): (.+)", re.DOTALL)

_MEMBER = re.compile(r"<\w+\.\w+: ('[^']*')>")
"""A member of an enum, as Python shows it."""

_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "unknown field",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "none_required": "must be null",
}


def field_errors(error: ValidationError, model: type[BaseModel], prefix: Sequence[str] = ()) -> tuple[FieldError, ...]:
    """Return what is wrong with the fields of a model.

    A ValueError of a whole model names its field itself: `run_at: not allowed together with delay_seconds`.

    Args:
        error: what validating as `model` raised.
        model: whose fields know the bounds and, for a pattern, the words for it (their description).
        prefix: names before each field's own.
    """
    found = []
    for entry in error.errors(include_url=False, include_input=False):
        place = [str(part) for part in entry["loc"] if "[" not in str(part)]  # of a union pydantic names the member
        message = _message(entry, _field(model, entry["loc"]))
        if not entry["loc"] and (named := _NAMED.fullmatch(message)):
            place, message = [named[1]], named[2]
        found.append(FieldError(".".join([*prefix, *place]) or "body", message))
    return tuple(found)


def _message(entry: Any, field: FieldInfo | None) -> str:
    kind, context = entry["type"], entry.get("ctx", {})
    template = _MESSAGES.get(kind)
    said = template.format(**context) if template else entry["msg"].replace("Input should", "must").replace("'", "")
    match kind:
        case "greater_than_equal" | "less_than_equal" if field:
            bounds = {name: value for rule in field.metadata for name, value in _bound(rule)}
            if len(bounds) > 1:
                said = f"must be between {bounds['ge']} and {bounds['le']}"
        case "enum" | "literal_error":
            said = "must be " + _MEMBER.sub(r"\1", context["expected"]).replace("'", "")
        case "string_pattern_mismatch":
            said = f"must be {field.description}" if field and field.description else "has an invalid format"
        case "value_error":
            return str(context["error"])
        case _ if context.get("min_length") == 1:
            said = "must not be empty"
    return str(said)


def _bound(rule: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(rule, name)) for name in ("ge", "le") if getattr(rule, name, None) is not None]


def _field(model: type[BaseModel], place: Sequence[Any]) -> FieldInfo | None:
    """Return the innermost declared field at a place, through models within lists and options."""
    found, models = None, [model]
    for part in place:
        for one in models:
            fields = {info.validation_alias or info.alias or name: info for name, info in one.model_fields.items()}
            if part in fields:
                found = fields[part]
                models = list(_models(found.annotation))
                break
    return found


def _models(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for part in get_args(annotation) for model in _models(part)}
