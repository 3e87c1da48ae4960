"""What a stand-in answers, and how it holds a request against the provider's published schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]

SCHEMAS = Path(__file__).with_name("schemas")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `body` is JSON unless it is text."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Schema:
    """A JSON schema as OpenAPI writes it."""

    def __init__(self, name: str) -> None:
        self.schema: dict[str, Any] = json.loads((SCHEMAS / name).read_text())
        self._validator = jsonschema.Draft4Validator(self.schema)

    def errors(self, value: Any) -> list[Any]:
        """What is wrong with a value, the outermost first."""
        return sorted(self._validator.iter_errors(value), key=lambda error: (len(error.path), error.message))
