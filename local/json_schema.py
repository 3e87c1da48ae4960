"""jsonschema without its check of IRIs, whose grammar takes a second to compile at import; no schema here needs it."""

from __future__ import annotations

import sys
from typing import Any

_NOT_IMPORTED: Any = None
sys.modules.setdefault("rfc3987_syntax", _NOT_IMPORTED)  # its import fails now, which jsonschema expects

import jsonschema  # type: ignore[import-untyped]  # noqa: E402

__all__ = ["jsonschema"]
