"""What an HTTP API event holds: ids of the path, parameters, body. What would be ignored or misread is refused."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from adbot_queue.core import strict_json, text
from adbot_queue.core.errors import Invalid, Malformed, NotFound, TooLarge, UnknownEvent
from adbot_queue.core.field_errors import field_errors

MAX_ID = 512
"""Bytes of an id in a path: more than any has, and less than DynamoDB refuses as a key."""

MAX_ERRORS = 20
"""Fields that one answer names."""


def path_of(event: dict[str, Any], pattern: str) -> Mapping[str, str]:
    """Return what the `{names}` of a route's path stand for.

    Raises:
        UnknownEvent: one is missing. NotFound: one is longer than any id. Malformed: the path is not UTF-8.
    """
    given: dict[str, str] = event.get("pathParameters") or {}
    path = {name: given.get(name, "") for name in re.findall(r"\{(\w+)\}", pattern)}
    text.check_address("path", event.get("rawPath") or "", path.values())
    if missing := [name for name, value in path.items() if not value]:
        raise UnknownEvent(f"pathParameters: {missing[0]} is missing")
    if any(len(value.encode()) > MAX_ID for value in path.values()):
        raise NotFound(f"nothing has an id of more than {MAX_ID} bytes")
    return path


def check_query(event: dict[str, Any]) -> None:
    """Check that the parameters are UTF-8.

    Raises:
        Malformed: they are not.
    """
    values: dict[str, str] = event.get("queryStringParameters") or {}
    text.check_address("query", event.get("rawQueryString") or "", [*values, *values.values()])


def check_once(event: dict[str, Any], *, but: str = "") -> None:
    """Check that no parameter is given twice: API Gateway joins their values to one, `money,email`, that is neither.

    Args:
        event: of the HTTP API.
        but: a parameter that may have several values.

    Raises:
        Invalid: one is.
    """
    given = [name for name, _ in parse_qsl(event.get("rawQueryString") or "", keep_blank_values=True)]
    if twice := sorted({name for name in given if name != but and given.count(name) > 1}):
        raise Invalid.field(twice[0], "given more than once; it takes one value")


def query_of(event: dict[str, Any], model: type[BaseModel]) -> BaseModel:
    """Return the parameters as a model.

    Raises:
        Invalid: one is given twice, or breaks a rule of the model.
    """
    check_once(event)
    try:
        return model.model_validate(dict(event.get("queryStringParameters") or {}))
    except ValidationError as error:
        raise _invalid(error, model) from error


def body_of(event: Mapping[str, Any], limit: int) -> bytes:
    """Return the bytes of a body.

    Raises:
        Malformed: it is not what its encoding says. TooLarge: it is longer than `limit`.
    """
    body = event.get("body") or ""
    try:
        raw = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
    except ValueError as error:  # binascii.Error and UnicodeEncodeError among them
        raise Malformed("the body is not what its encoding says") from error
    if len(raw) > limit:
        raise TooLarge(f"the body has {len(raw)} bytes, the limit is {limit}", limit=limit)
    return raw


def json_of(raw: bytes, content_type: str, model: type[BaseModel]) -> BaseModel:
    """Return a body of JSON as a model; an empty one is `{}`.

    Raises:
        Malformed: it is not JSON. Invalid: it breaks a rule of the model.
    """
    document = text.decode(raw, content_type) or "{}"
    try:
        strict_json.loads(document)
    except strict_json.NotJson as error:
        raise Malformed(f"body: {error.place(document)}") from error
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        raise _invalid(error, model) from error


def _invalid(error: ValidationError, model: type[BaseModel]) -> Invalid:
    found = field_errors(error, model)[:MAX_ERRORS]
    return Invalid("; ".join(f"{entry.field}: {entry.message}" for entry in found), errors=found)
