"""Secrets in the payloads of jobs, masked wherever a payload is shown. Pure.

A payload, or an object in it (a workflow's step), that has `headers` is an HTTP request: its credentials are the values
of `authorization`, `cookie` and the headers that it names in `secret_headers`. `secret_path`, the secret end of a URL,
is masked wherever it is. Where such a value is a reference to the input of a workflow (`${input.token}`), that input is
a credential too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

MASK = "********"
PATH = "secret_path"

CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})

_INPUT = re.compile(r"\$\{input((?:\.[\w-]+)*)\}")


def masked(value: Any) -> Any:
    """Return a payload with every secret header's value, every secret path, and what they reference, masked."""
    if isinstance(value, Mapping):
        shown = {name: masked(member) for name, member in value.items()}
        if value.get(PATH):
            shown[PATH] = MASK
        headers = value.get("headers")
        if isinstance(headers, Mapping):
            secret = secret_headers(value)
            shown["headers"] = {
                name: MASK if str(name).lower() in secret else member for name, member in headers.items()
            }
        for path in _secret_inputs(value.get("steps")) if "input" in value else ():
            shown["input"] = _without(shown["input"], path)
        return shown
    return [masked(member) for member in value] if isinstance(value, list) else value


ShownPayload = Annotated[dict[str, Any], AfterValidator(masked)]
"""A payload in an answer."""

ShownResult = Annotated[Any, AfterValidator(masked)]
"""What a handler returned, in an answer: it may repeat what it was given."""


def secret_headers(request: Mapping[str, Any]) -> frozenset[str]:
    """Return the names, in lower case, of the headers whose values are masked."""
    named = request.get("secret_headers")
    return CREDENTIALS | ({str(name).lower() for name in named} if isinstance(named, list) else set())


def _secret_inputs(value: Any) -> Iterator[tuple[str, ...]]:
    """Yield the places in the input that secret headers and secret paths reference."""
    if isinstance(value, Mapping):
        headers, secret = value.get("headers"), secret_headers(value)
        named = headers.items() if isinstance(headers, Mapping) else ()
        for text in [value.get(PATH), *(member for name, member in named if str(name).lower() in secret)]:
            yield from (tuple(path.split(".")[1:]) for path in _INPUT.findall(str(text)))
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for member in members:
        yield from _secret_inputs(member)


def _without(value: Any, path: tuple[str, ...]) -> Any:
    """Return a value with `MASK` at a place in it."""
    if not path or not isinstance(value, Mapping):
        return MASK
    return {**value, path[0]: _without(value[path[0]], path[1:])} if path[0] in value else value
