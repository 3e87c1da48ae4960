"""Secrets in the payloads of jobs, masked wherever a payload is shown. Pure.

A payload, or an object in it (a workflow's step), that has `headers` is an HTTP request: its credentials are the values
of `authorization`, `cookie` and the headers that it names in `secret_headers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

MASK = "********"

CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})


def masked(value: Any) -> Any:
    """Return a payload with every secret header's value replaced by `MASK`."""
    if isinstance(value, Mapping):
        shown = {name: masked(member) for name, member in value.items()}
        headers = value.get("headers")
        if isinstance(headers, Mapping):
            secret = _secret(value)
            shown["headers"] = {
                name: MASK if str(name).lower() in secret else member for name, member in headers.items()
            }
        return shown
    return [masked(member) for member in value] if isinstance(value, list) else value


def unmasked(payload: Any, stored: Any) -> Any:
    """Return a payload that a person has edited, with what it left masked taken from the stored one.

    What has no counterpart there stays `MASK`: the door refuses it.
    """
    if isinstance(payload, Mapping):
        before = stored if isinstance(stored, Mapping) else {}
        whole = {name: unmasked(member, before.get(name)) for name, member in payload.items()}
        headers, kept = payload.get("headers"), before.get("headers")
        if isinstance(headers, Mapping) and isinstance(kept, Mapping):
            whole["headers"] = {
                name: kept[name] if member == MASK and name in kept else member for name, member in headers.items()
            }
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


def _secret(request: Mapping[str, Any]) -> frozenset[str]:
    named = request.get("secret_headers")
    return CREDENTIALS | ({str(name).lower() for name in named} if isinstance(named, list) else set())
