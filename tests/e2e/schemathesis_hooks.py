"""How Schemathesis sends the one body that is not JSON: lines of JSON."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from schemathesis.transport import SerializationContext


@schemathesis.serializer("application/x-ndjson")
def lines(_context: SerializationContext, value: Any) -> dict[str, Any]:
    """A text as it is, anything else as one line."""
    return {"data": (value if isinstance(value, str) else json.dumps(value)).encode()}
