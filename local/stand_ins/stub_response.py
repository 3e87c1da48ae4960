"""What a stand-in answers, and how it holds a request against the provider's published schema."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from local.json_schema import jsonschema

SCHEMAS = Path(__file__).with_name("schemas")


@dataclass(frozen=True, slots=True)
class StubResponse:
    """An answer. `body` is JSON unless it is text; it goes out `delay` seconds late."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0


class Effects:
    """What happened under each key: the requests, and how many had an effect."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._effects: Counter[str] = Counter()
        self._lock = threading.Lock()

    def asked(self, key: str | None) -> None:
        """A request came."""
        with self._lock:
            self._requests[key or ""] += 1

    def happened(self, key: str | None) -> None:
        """Money moved, a mail went out, an event was counted."""
        with self._lock:
            self._effects[key or ""] += 1

    def shown(self) -> dict[str, dict[str, int]]:
        """By key; requests without one are under the empty key."""
        with self._lock:
            return {
                key: {"requests": requests, "effects": self._effects[key]} for key, requests in self._requests.items()
            }


class Schema:
    """A JSON schema as OpenAPI writes it."""

    def __init__(self, name: str) -> None:
        self.schema: dict[str, Any] = json.loads((SCHEMAS / name).read_text())
        self._validator = jsonschema.Draft4Validator(self.schema)

    def errors(self, value: Any) -> list[Any]:
        """What is wrong with a value, the outermost first."""
        return sorted(self._validator.iter_errors(value), key=lambda error: (len(error.path), error.message))


class Peer(Protocol):
    """A provider's stand-in."""

    @property
    def effects(self) -> Effects:
        """What happened there, by idempotency key."""

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: str) -> StubResponse:
        """Answer a request; header names are in lower case, and the body of a GET is its query."""
