"""Secrets in the payloads of jobs, masked wherever a payload is shown. Pure.

A payload, or an object in it (a workflow's step), that has `headers` is an HTTP request: its credentials are the values
of `authorization`, `cookie` and the headers that it names in `secret_headers`. `secret_path`, the secret end of a URL,
is masked wherever it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator

MASK = "********"
PATH = "secret_path"

CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})


def masked(value: Any) -> Any:
    """Return a payload with every secret header's value, and every secret path, replaced by `MASK`."""
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
        return shown
    return [masked(member) for member in value] if isinstance(value, list) else value


def unmasked(payload: Any, stored: Any) -> Any:
    """Return a payload that a person has edited, with what it left masked taken from the stored one.

    A value is taken only where it stays secret: it is masked in the edited payload too, and the request goes to the
    same receiver. What is not taken stays `MASK`: the door refuses it.
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
