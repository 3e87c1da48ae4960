"""Opaque cursors: where the next page of a list begins."""

from __future__ import annotations

import base64
import json
from typing import Any

from adbot_queue.core.errors import Invalid


def make_cursor(position: dict[str, Any]) -> str:
    """An opaque text for a position in a list."""
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode().rstrip("=")


def open_cursor(cursor: str) -> dict[str, Any]:
    """The position behind a cursor.

    Raises:
        Invalid: the service gave no such cursor.
    """
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError) as error:  # the latter: nested too deep
        raise Invalid.field("cursor", "is not a cursor of this list") from error
    plain = isinstance(position, dict) and all(isinstance(value, str | int) for value in position.values())
    if not plain or not position:
        raise Invalid.field("cursor", "is not a cursor of this list")
    return dict(position)
