"""Edited payloads get back what their view left masked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from adbot_queue.jobs.masking import MASK, PATH, masked, secret_headers


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
            secret = secret_headers(payload) if _receiver(payload) else frozenset()
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
