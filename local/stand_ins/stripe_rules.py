"""How Stripe reads a request, and how it refuses one: forms, keys, and the words of its errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from local.stand_ins.stub_response import Schema, StubResponse

THREE_DECIMAL = {"bhd", "jod", "kwd", "omr", "tnd"}
MAX_METADATA, MAX_NAME, MAX_VALUE = 50, 40, 500
_KEY = re.compile(r"(sk|rk)_test_\w+")


class StripeError(Exception):
    """A refusal in Stripe's words."""

    def __init__(self, message: str, status: int = 400, kind: str = "invalid_request_error", **members: str) -> None:
        super().__init__(message)
        self.reply = StubResponse(status, {"error": {"message": message, "type": kind, **members}})


def read(body: str, schema: Schema) -> dict[str, Any]:
    """A form's parameters, as the published schema has them.

    Raises:
        StripeError: they are not.
    """
    params: dict[str, Any] = _typed(nested(body), schema.schema)
    for error in schema.errors(params):
        raise _refusal(error)
    return params


def authenticate(authorization: str) -> None:
    """Accept a test key.

    Raises:
        StripeError: there is none, or it is not one.
    """
    key = authorization.removeprefix("Bearer ")
    if not key:
        raise StripeError("You did not provide an API key.", 401)
    if not _KEY.fullmatch(key):
        raise StripeError(f"Invalid API Key provided: {key[:8]}***", 401)


def nested(body: str) -> dict[str, Any]:
    """A form as it is meant: `a[0][b]=1` -> {"a": [{"b": "1"}]}."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(body, keep_blank_values=True):
        *outer, last = name.replace("]", "").split("[")
        place = tree
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    listed = _listed(tree)
    return listed if isinstance(listed, dict) else {}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(entry) for name, entry in value.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """Form values are text; those that the schema wants as numbers or truth values become such."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {name: _typed(entry, properties.get(name, {})) for name, entry in value.items()}
    if isinstance(value, list):
        return [_typed(entry, schema.get("items", {})) for entry in value]
    kind = schema.get("type")
    if kind == "integer" and re.fullmatch(r"-?\d+", value):
        return int(value)
    if kind == "number" and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value)
    if kind == "boolean" and value in {"true", "false"}:
        return value == "true"
    return value


def _refusal(error: Any) -> StripeError:
    path = [str(part) for part in error.absolute_path]
    if error.validator == "additionalProperties":
        unknown = next(name for name in error.instance if name not in error.schema["properties"])
        param = _param([*path, unknown])
        return StripeError(f"Received unknown parameter: {param}", code="parameter_unknown", param=param)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        param = _param([*path, missing])
        return StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)
    param = _param(path)
    if error.validator == "type" and error.validator_value == "integer":
        return StripeError(f"Invalid integer: {error.instance}", code="parameter_invalid_integer", param=param)
    if error.validator == "enum":
        return StripeError(f"Invalid {param}: must be one of {', '.join(error.validator_value)}", param=param)
    return StripeError(f"Invalid {param}: {error.message}", param=param)


def _param(path: list[str]) -> str:
    return path[0] + "".join(f"[{part}]" for part in path[1:])


def check_currency(currency: str) -> None:
    """A currency code.

    Raises:
        StripeError: it is none.
    """
    if not re.fullmatch(r"[a-z]{3}", currency):
        raise StripeError(f"Invalid currency: {currency}.", param="currency")


def check_amount(amount: int, currency: str) -> None:
    """An amount that can be moved.

    Raises:
        StripeError: it cannot.
    """
    if amount < 1:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if currency in THREE_DECIMAL and amount % 10:
        raise StripeError("The last digit of the amount must be 0.", code="invalid_charge_amount", param="amount")


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Limits that the schema does not tell.

    Raises:
        StripeError: they are broken.
    """
    if len(metadata) > MAX_METADATA:
        raise StripeError(f"Metadata can only have up to {MAX_METADATA} keys.", param="metadata")
    for name, value in metadata.items():
        if len(name) > MAX_NAME or len(value) > MAX_VALUE:
            raise StripeError("Metadata keys have up to 40 characters, values up to 500.", param="metadata")
