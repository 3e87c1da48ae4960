"""What an upload means: records in, sessions and verdicts out. Pure; `core.record_files` reads the formats."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from adbot_queue.core.errors import Invalid
from adbot_queue.core.ids import derived_id
from adbot_queue.core.record_files import KeyColumn, Record, read
from adbot_queue.core.strict_json import shown

MAX_LINES = 10_000
"""Sessions in one upload: their positions and verdicts fit one answer of Lambda (6 MB) with room to spare."""

SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}")
MAX_SECRET = 4_096
"""Bytes of secret material of one session, as JSON: keeps 100 sessions well below a transaction's 4 MB."""

_KEY = KeyColumn("session_id", "session_id".__eq__, lambda text: SESSION_ID.fullmatch(text) is not None)
_REWRITTEN = re.compile(r"[+-]?(?:\d+[.,]\d*[eE][+-]?\d+|\d+[eE][+-]\d+|\d{6,}\.0+)")
"""What spreadsheets and data frames make of long numbers: `4.9E+12`, `4915112345678.0`. `1e5` may be an id: they always
write a sign."""


class LineVerdict(StrEnum):
    """What became of a line."""

    ACCEPTED = "accepted"
    DUPLICATE_IN_UPLOAD = "duplicate_in_upload"
    DUPLICATE = "duplicate"  # uploaded before
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be stored: its id, whatever the bot engine needs to use it, its pool where the line names one."""

    id: str
    secret: dict[str, Any]
    pool: str | None = None


@dataclass(slots=True)
class UploadLine:
    """A record of an upload, with what became of it.

    Attributes:
        number: the line of the file on which it begins, from 1.
        session: None where it cannot be read.
        detail: why it was not accepted.
        offset: its position in the upload, if it has one.
        pool: where the session is, if it is stored.
        state: of a duplicate: `free`, `assigned`, `lost` or `unavailable`.
    """

    number: int
    session: NewSession | None
    verdict: LineVerdict
    detail: str = ""
    offset: int | None = None
    state: str | None = field(default=None, kw_only=True)
    pool: str | None = field(default=None, kw_only=True)

    def refuse(self, detail: str) -> None:
        """Make it an invalid line."""
        self.verdict, self.detail, self.offset = LineVerdict.INVALID, detail, None


def parse(raw: bytes, content_type: str) -> list[UploadLine]:
    """Read an upload: CSV, JSON lines, a JSON array, one id a line, or a form with one of these.

    `session_id` and `pool` are the session's id and pool, everything else is its secret material.

    Raises:
        Malformed, UnreadableFile: as `record_files.read`. Invalid: no session at all, or more than 10,000.
    """
    return _judge(read(raw, content_type, _KEY))


def parse_objects(objects: list[Any]) -> list[UploadLine]:
    """The same for objects that came as a JSON list."""
    return _judge(Record(number, entry) for number, entry in enumerate(objects, start=1))


def _session(entry: Any) -> NewSession | str:
    """The session that a record describes, or what is wrong with it."""
    if not isinstance(entry, dict):
        return "not an object"
    session_id = entry.get("session_id")
    if isinstance(session_id, str):
        session_id = session_id.strip()
    if isinstance(session_id, str) and _REWRITTEN.fullmatch(session_id[:64]):
        return f"session_id: {session_id[:64]} is a number that a spreadsheet rounded; format the column as text"
    if not isinstance(session_id, str) or not SESSION_ID.fullmatch(session_id):
        return "session_id: must be text of 1 to 64 of A-Z, a-z, 0-9 and . _ : @ + -, a letter or digit first"
    pool = entry.get("pool")
    if pool is not None and not isinstance(pool, str):
        return "pool: must be the name of a pool"
    secret = {name: value for name, value in entry.items() if name not in ("session_id", "pool")}
    if len(json.dumps(secret).encode()) > MAX_SECRET:
        return f"over {MAX_SECRET} bytes of data in addition to session_id"
    return NewSession(session_id, secret, (pool or "").strip() or None)


def _judge(records: Iterable[Record]) -> list[UploadLine]:
    """Refuse what is no session, and repetitions of one."""
    lines: list[UploadLine] = []
    for record in records:
        if len(lines) == MAX_LINES:
            raise Invalid.field("body", f"at most {MAX_LINES} lines in one upload")
        found = record.problem or _session(record.value)
        if isinstance(found, str):
            span = f" (lines {record.line} to {record.last_line}: is a quote not closed?)" if record.last_line else ""
            lines.append(UploadLine(record.line, None, LineVerdict.INVALID, found + span))
        else:
            lines.append(UploadLine(record.line, found, LineVerdict.ACCEPTED))
    if not lines:
        raise Invalid.field("body", "holds no session")
    _number(lines)
    return lines


def _number(lines: list[UploadLine]) -> None:
    """Give positions to the lines that can be stored; of several with one id to the first."""
    first_at: dict[str, int] = {}
    for line in lines:
        if line.session is None or line.verdict is LineVerdict.INVALID:
            continue
        if line.session.id in first_at:
            line.verdict, line.detail = LineVerdict.DUPLICATE_IN_UPLOAD, f"first on line {first_at[line.session.id]}"
            line.offset = None
        else:
            line.verdict, line.detail, line.offset = LineVerdict.ACCEPTED, "", len(first_at)
            first_at[line.session.id] = line.number


def by_pool(lines: list[UploadLine], default: str, known: Container[str]) -> dict[str, list[UploadLine]]:
    """Return the lines that can be stored by the pool they go to, numbered within it.

    A line that names a pool which does not exist is refused; a later line with its session takes its place.
    """
    parts: dict[str, list[UploadLine]] = {}
    for line in lines:
        if line.session and (line.session.pool or default) not in known:
            line.refuse(f"pool: {shown(line.session.pool or default)} does not exist")
    _number(lines)
    for line in lines:
        if line.session and line.offset is not None:
            part = parts.setdefault(line.session.pool or default, [])
            line.offset = len(part)
            part.append(line)
    return parts


def content_of(parts: Mapping[str, list[UploadLine]]) -> str:
    """Tell the sessions of an upload, secrets and pools included, from those of another one."""
    sessions = ((pool, line.session) for pool, lines in parts.items() for line in lines)
    text = (json.dumps([pool, one.id, one.secret], sort_keys=True) for pool, one in sessions if one)
    return derived_id("", *text)
