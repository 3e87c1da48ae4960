"""Reading an upload: lines in, sessions and verdicts out. Pure."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from adbot_queue.core.errors import Invalid, Malformed
from adbot_queue.core.text import decode

MOST_LINES = 10_000
"""Sessions in one upload: their positions and verdicts fit one answer of Lambda (6 MB) with room to spare."""

SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}")
MOST_SECRET = 4_096
"""Bytes of secret material of one session, as JSON: keeps 100 sessions well below a transaction's 4 MB."""


class Verdict(StrEnum):
    """What became of a line."""

    ACCEPTED = "accepted"
    DUPLICATE_IN_UPLOAD = "duplicate_in_upload"
    DUPLICATE = "duplicate"  # uploaded before
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be stored: its id and whatever the bot engine needs to use it."""

    id: str
    secret: dict[str, Any]


@dataclass(slots=True)
class Line:
    """A line of an upload, counted from 1, with what became of it."""

    number: int
    session: NewSession | None
    verdict: Verdict
    detail: str = ""
    offset: int | None = None  # its position in the upload, if it got one


def parse(raw: bytes, content_type: str) -> list[Line]:
    """An upload as it came: CSV where the content type says so, JSON lines otherwise.

    Raises:
        Malformed: as `decode`, or as the two forms tell. Invalid: as they tell.
    """
    text = decode(raw, content_type)
    return parse_csv(text) if "csv" in content_type.lower() else parse_json_lines(text)


def parse_json_lines(text: str) -> list[Line]:
    """One JSON object a line: `{"session_id": "...", ...}`; all other members are its secret material.

    Raises:
        Invalid: no line at all, or more than 10,000.
    """
    return _judge(_read_json(line) for line in _lines(text))


def parse_csv(text: str) -> list[Line]:
    """A header line with a column `session_id`; all other columns are its secret material.

    Raises:
        Malformed: no such column. Invalid: no line at all, or more than 10,000.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""), restkey="")
    if "session_id" not in (rows.fieldnames or ()):
        raise Malformed("the first CSV line must name the columns, session_id among them")
    return _judge(_read_row(row) for row in rows)


def parse_objects(objects: list[Any]) -> list[Line]:
    """The same for objects that came as a JSON list."""
    return _judge(_read_object(entry) for entry in objects)


def _lines(text: str) -> Iterator[str]:
    # Not splitlines(): it also splits at U+2028 and the like, which JSON allows inside a string.
    return (line for line in re.split(r"\r?\n", text) if line.strip())


def _read_json(line: str) -> NewSession | str:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:  # the latter: nested too deep
        return f"not JSON: {error}"
    return _read_object(entry)


def _read_row(row: dict[str, Any]) -> NewSession | str:
    if "" in row:
        return "more fields than the header line names"
    if None in row.values():
        return "fewer fields than the header line names"
    return _read_object(row)


def _read_object(entry: Any) -> NewSession | str:
    if not isinstance(entry, dict):
        return "not an object"
    session_id = entry.get("session_id")
    if not isinstance(session_id, str) or not SESSION_ID.fullmatch(session_id):
        return "session_id: 1 to 64 of A-Z, a-z, 0-9 and . _ : @ + -, a letter or digit first"
    secret = {name: value for name, value in entry.items() if name != "session_id"}
    if len(json.dumps(secret).encode()) > MOST_SECRET:
        return f"over {MOST_SECRET} bytes of data beside session_id"
    return NewSession(session_id, secret)


def _judge(read: Iterator[NewSession | str]) -> list[Line]:
    """Number the lines, give positions to those that can be stored, refuse repetitions."""
    lines: list[Line] = []
    first_at: dict[str, int] = {}
    offset = 0
    try:
        for number, found in enumerate(read, start=1):
            if number > MOST_LINES:
                raise Invalid.field("body", f"at most {MOST_LINES} lines in one upload")
            if isinstance(found, str):
                lines.append(Line(number, None, Verdict.INVALID, found))
            elif found.id in first_at:
                lines.append(Line(number, found, Verdict.DUPLICATE_IN_UPLOAD, f"first on line {first_at[found.id]}"))
            else:
                first_at[found.id] = number
                lines.append(Line(number, found, Verdict.ACCEPTED, offset=offset))
                offset += 1
    except csv.Error as error:
        raise Malformed(f"not CSV: {error}") from error
    if not lines:
        raise Invalid.field("body", "holds no session")
    return lines
