"""Identifiers: those that sort by time, and those that are derived so that a repetition finds the first."""

from __future__ import annotations

import base64
import hashlib
import secrets


def time_ordered_id(millis: int) -> str:
    """26 hex digits: 12 of the time, 14 of chance. Later ids sort after earlier ones; two never collide.

    `uuid.uuid7` would do, but the standard library has it from Python 3.14 on only.
    """
    return f"{millis:012x}{secrets.token_hex(7)}"


def derived_time_ordered_id(millis: int, *parts: str) -> str:
    """12 hex digits of the time, 20 of a hash of the parts: the same on every machine, and sorted like the others."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
    return f"{millis:012x}{digest[:20]}"


def time_of(made: str) -> int:
    """The milliseconds that a time-ordered id was made at."""
    return int(made[:12], 16)


def derived_id(prefix: str, *parts: str) -> str:
    """The same parts give the same id on every machine: `ord_` and 26 letters and digits (130 bits of SHA-256)."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return prefix + base64.b32encode(digest).decode().lower()[:26]


def fingerprint(text: str) -> str:
    """Short SHA-256 of a request, to tell a repetition from another request under the same key."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
