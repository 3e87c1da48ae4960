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
from urllib.parse import urlsplit

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
            secret = _secret(value)
            shown["headers"] = {
                name: MASK if str(name).lower() in secret else member for name, member in headers.items()
            }
        for path in _secret_inputs(value.get("steps")) if "input" in value else ():
            shown["input"] = _without(shown["input"], path)
        return shown
    return [masked(member) for member in value] if isinstance(value, list) else value


def unmasked(payload: Any, stored: Any) -> Any:
    """Return a payload that a person has edited, with what it left masked taken from the stored one.

    A value is taken only where it stays secret: it is masked in the edited payload too, and the request goes to the
    same receiver. A workflow's input is taken only if nothing of its input and steps was edited: another step, or an
    address in the input, would receive it. What is not taken stays `MASK`: the door refuses it.
    """
    if isinstance(payload, Mapping):
        before = stored if isinstance(stored, Mapping) else {}
        whole = {name: unmasked(member, before.get(name)) for name, member in payload.items()}
        if (
            payload.get(PATH) == MASK
            and PATH in before
            and _receiver(before)
            and _receiver(payload) == _receiver(before)
        ):
            whole[PATH] = before[PATH]
        headers, kept = payload.get("headers"), before.get("headers")
        if isinstance(headers, Mapping) and isinstance(kept, Mapping) and _receiver(payload) == _receiver(before):
            secret = _secret(payload) if _receiver(payload) else frozenset()
            whole["headers"] = {
                name: kept[name] if member == MASK and name in kept and name.lower() in secret else member
                for name, member in headers.items()
            }
        if "input" in payload and all(payload.get(part) == masked(before).get(part) for part in ("input", "steps")):
            whole["input"] = before["input"]
        return whole
    if isinstance(payload, list):
        before_list = stored if isinstance(stored, list) else []
        return [
            unmasked(member, before_list[index] if index < len(before_list) else None)
            for index, member in enumerate(payload)
        ]
    return payload


ShownPayload = Annotated[dict[str, Any], AfterValidator(masked)]
"""A payload in an answer."""

ShownResult = Annotated[Any, AfterValidator(masked)]
"""What a handler returned, in an answer: it may repeat what it was given."""


def _receiver(request: Mapping[str, Any]) -> str | None:
    """Return scheme, host and port of a request; None where they are not known, as in a workflow's reference."""
    url = request.get("url")
    if not isinstance(url, str) or "${" in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}".lower()


def _secret(request: Mapping[str, Any]) -> frozenset[str]:
    named = request.get("secret_headers")
    return CREDENTIALS | ({str(name).lower() for name in named} if isinstance(named, list) else set())


def _secret_inputs(value: Any) -> Iterator[tuple[str, ...]]:
    """Yield the places in the input that secret headers and secret paths reference."""
    if isinstance(value, Mapping):
        headers, secret = value.get("headers"), _secret(value)
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
