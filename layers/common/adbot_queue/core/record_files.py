"""Files of records: CSV, JSON lines, a JSON array, one value a line, or one of these in a form. Pure.

The text decides which of them it is, not the content type: browsers, curl and Excel name CSV
application/vnd.ms-excel, application/x-www-form-urlencoded, application/octet-stream or not at all.

No record vanishes: each is in the result, read or with what is wrong with it, under the line of the file on which it
begins. Where a file cannot be cut into records, an error names the line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from adbot_queue.core import multipart, strict_json
from adbot_queue.core.errors import Malformed
from adbot_queue.core.strict_json import NotJson, shown
from adbot_queue.core.text import decode

MAX_JSON_DEPTH = 32
"""Levels of nesting in one JSON record."""

_LINE_END = re.compile(r"\r\n?|\n")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_AROUND = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\xa0\u2003\u2007\u2009\u202f\u3000"
"""What is not part of a column's name: spaces, and marks that programs leave there unseen."""
_SEP = re.compile(r'"?sep=([^\r\n]?)"?[,;\t]*\s*', re.IGNORECASE)
_SPACED_QUOTE = re.compile(r' +"')
_DELIMITERS = ",;\t"
_HEADER_WORDS = {
    "account",
    "cookie",
    "email",
    "id",
    "ids",
    "key",
    "name",
    "note",
    "password",
    "phone",
    "pool",
    "secret",
}
_HEADER_WORDS |= {"session", "token", "user"}


class UnreadableFile(Malformed):
    """A file that cannot be cut into records; the error names the line."""

    slug = "unreadable-file"
    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"body: line {line}: {problem}")
        self.line = line
        self.problem = problem


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """What every record has: a header must name it, and a file of bare values is read as this column.

    Attributes:
        name: as errors say it.
        is_named: whether a cell of a header names it.
        may_be: whether a text may be a value of it.
    """

    name: str
    is_named: Callable[[str], bool]
    may_be: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        line: where it begins, from 1; blank lines, a header and line breaks in quotes count.
        value: columns with their texts, or the JSON value; None with a `problem`.
        problem: why it cannot be read.
        last_line: where it ends, if that is another line.
    """

    line: int
    value: Any = None
    problem: str = ""
    last_line: int | None = None


def read(raw: bytes, content_type: str, key: KeyColumn) -> Iterator[Record]:
    """Yield the records of a file, in its order.

    Args:
        raw: the body as it came.
        content_type: as the caller named it.
        key: what every record has.

    Raises:
        Malformed: as `text.decode`, or a form that is not one whole file.
        UnreadableFile: unclosed quote, doubled or missing column, a JSON array that is not closed.
    """
    if boundary := multipart.boundary_of(raw, content_type):
        raw, content_type = multipart.only_file(raw, boundary)
    text = decode(raw, content_type)
    declared = content_type.partition(";")[0].strip().lower()
    found = text[strict_json.skip_space(text, 0) :][:1]
    if found == "[" and (array := _array(text, lines_declared="ndjson" in declared or "jsonl" in declared)):
        return array
    if found in ("{", "["):
        return _json(text)
    if not text.strip():
        if "csv" in declared:
            raise UnreadableFile(1, f"must name the columns, {key.name} among them")
        return iter(())
    return _lines_or_table(text, key)


def _lines_or_table(text: str, key: KeyColumn) -> Iterator[Record]:
    table = _Table(text, key)
    if table.has_header:
        return table.records()
    if re.search(r"(?:^|[\r\n])[ \t]*\{", text):
        return _json_lines(text)  # the first line is none, which its record says
    number, first = next(_numbered(text))
    if first.lstrip().startswith("<"):
        raise UnreadableFile(number, "HTML or XML; send CSV, JSON or one value a line")
    if table.sep or any(delimiter in first for delimiter in _DELIMITERS) or _looks_like_header(first, key.name):
        raise UnreadableFile(table.line, table.problem or f"must name the columns, {key.name} among them")
    return (_bare(number, line.strip(), key) for number, line in _numbered(text))


def _bare(number: int, value: str, key: KeyColumn) -> Record:
    if key.is_named(value):
        return Record(number, problem=f"names the column {key.name}; a header must be the first line")
    return Record(number, {key.name: value})


def _looks_like_header(first: str, column: str) -> bool:
    """Whether a bare first line names a column rather than being a value, such as `sessionid` for `session_id`."""
    name, wanted = (re.sub(r"[\W_]", "", part).lower() for part in (first, column))
    return name in {wanted, f"{wanted}s", *column.lower().split("_")} | _HEADER_WORDS


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank. Not `splitlines`: it also splits at U+2028, which JSON allows in a string."""
    return ((number, line) for number, line in enumerate(_LINE_END.split(text), start=1) if line.strip())


# JSON


def _json(text: str) -> Iterator[Record]:
    """JSON lines, or one object over several lines."""
    first = next(line for line in _LINE_END.split(text) if line.strip())
    reader = strict_json.Reader(max_depth=MAX_JSON_DEPTH, exact=True)
    try:
        reader.value_at(first, strict_json.skip_space(first, 0))
    except NotJson:
        start = strict_json.skip_space(text, 0)
        try:
            value, end = reader.value_at(text, start)
        except NotJson:
            return _json_lines(text)
        if strict_json.skip_space(text, end) == len(text):
            return iter([_record(_line_at(text, start), value, reader.problem)])
    return _json_lines(text)


def _json_lines(text: str) -> Iterator[Record]:
    for number, line in _numbered(text):
        try:
            yield Record(number, strict_json.loads(line, max_depth=MAX_JSON_DEPTH, exact=True))
        except NotJson as error:
            column = "" if error.position is None else f" at column {error.position + 1}"
            yield Record(number, problem=f"{error.reason}{column}")


def _array(text: str, *, lines_declared: bool) -> Iterator[Record] | None:
    """The entries of a JSON array; None if the text is JSON lines of which the first is an array."""
    first = next(line for line in _LINE_END.split(text) if line.strip())
    try:
        value = strict_json.loads(first, max_depth=MAX_JSON_DEPTH)
    except NotJson:
        return _entries(text)
    alone = first.strip() == text.strip(" \t\r\n")
    return _entries(text) if alone and (value or not lines_declared) else None


def _entries(text: str) -> Iterator[Record]:
    reader = strict_json.Reader(max_depth=MAX_JSON_DEPTH, exact=True)
    position = strict_json.skip_space(text, text.index("[") + 1)
    line, counted = _line_at(text, position), position
    mark = text[position : position + 1]
    while mark != "]":
        line, counted = line + len(_LINE_END.findall(text, counted, position)), position
        try:
            value, position = reader.value_at(text, position)
        except NotJson as error:
            at = line if error.position is None else _line_at(text, error.position)
            raise UnreadableFile(at, f"{error.reason}, in the entry that begins on line {line}") from error
        yield _record(line, value, reader.problem)
        position = strict_json.skip_space(text, position)
        mark = text[position : position + 1]
        if mark == ",":
            position = strict_json.skip_space(text, position + 1)
        elif mark != "]":
            raise UnreadableFile(_line_at(text, position), f"a comma or ] must follow the entry of line {line}")
    if (end := strict_json.skip_space(text, position + 1)) != len(text):
        raise UnreadableFile(_line_at(text, end), "text after the end of the JSON array")


def _record(line: int, value: Any, problem: str) -> Record:
    return Record(line, problem=problem) if problem else Record(line, value)


def _line_at(text: str, position: int) -> int:
    return len(_LINE_END.findall(text, 0, position)) + 1


# CSV


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    last_line: int
    cells: list[str]


class _Table:
    """A text as a table: its delimiter, its header, its rows."""

    def __init__(self, text: str, key: KeyColumn) -> None:
        self._text = text
        self._lines = _LINE_END.split(text)
        self._key = key
        self.sep = _SEP.fullmatch(self._lines[0])
        if self.sep and (not self.sep[1] or self.sep[1].isalnum() or self.sep[1] in "\"' "):
            raise UnreadableFile(1, "sep= must name one character that delimits columns")
        firsts: list[_Row] = []
        errors: list[UnreadableFile] = []
        self.has_header = False
        for delimiter in self.sep[1] if self.sep else _DELIMITERS:
            try:
                skip_space, first = self._header_under(delimiter)
            except UnreadableFile as error:
                errors.append(error)
                continue
            if first is None:
                continue
            firsts.append(first)
            names = [cell.strip(_AROUND) for cell in first.cells]
            # Under the wrong delimiter the column is part of a longer cell; one column alone is found under any.
            if not self.has_header and any(map(key.is_named, names)):
                self.has_header, self._delimiter, self._skip_space, self._names = True, delimiter, skip_space, names
        self.problem = errors[0].problem if errors and not firsts else ""
        self.line = firsts[0].line if firsts else errors[0].line if errors else 1

    def _header_under(self, delimiter: str) -> tuple[bool, _Row | None]:
        """The first row, and whether a space follows each delimiter, which is then no part of the cells."""
        first = next(self._rows(delimiter, skip_space=False), None)
        if first is None or not (later := first.cells[1:]) or not all(cell.startswith(" ") for cell in later):
            return False, first
        return True, next(self._rows(delimiter, skip_space=True), None)

    def _rows(self, delimiter: str, *, skip_space: bool) -> Iterator[_Row]:
        """Rows that are not empty."""
        rows = _reader(self._text, delimiter, skip_space=skip_space)
        while True:
            line = rows.line_num + 1
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                raise UnreadableFile(line, _csv_problem(str(error), line, rows.line_num)) from error
            if any(cell.strip() for cell in cells) and not (self.sep and line == 1):
                yield _Row(line, rows.line_num, cells)

    def records(self) -> Iterator[Record]:
        """The rows below the header.

        Raises:
            UnreadableFile: a column is named twice; a quote is not closed.
        """
        names = self._names
        for place, name in enumerate(names):
            if name and name in names[:place]:
                raise UnreadableFile(self.line, f"the column {shown(name)} is named twice")
            if re.search(r"[\x00-\x1f\x7f]", name):
                raise UnreadableFile(self.line, f"the column {shown(name)} has a control character in its name")
        for row in self._rows(self._delimiter, skip_space=self._skip_space):
            if row.line > self.line:
                value, problem = self._read(row)
                yield Record(row.line, value, problem, row.last_line if row.last_line > row.line else None)

    def _read(self, row: _Row) -> tuple[dict[str, str] | None, str]:
        if sorted(cell.strip(_AROUND) for cell in row.cells) == sorted(self._names):
            return None, "repeats the header line"  # files put one behind the other
        lines = self._lines[row.line - 1 : row.last_line]
        if any(map(_SPACED_QUOTE.match, row.cells)) and self._is_spaced(row, "\n".join(lines)):
            return None, "a space before a quote: the quote must begin its value"
        if self._swallows_rows(lines):
            return None, "a quoted value holds what looks like rows"
        return _cells(self._names, row.cells)

    def _is_spaced(self, row: _Row, text: str) -> bool:
        """Whether the row would be read otherwise if spaces before quotes were skipped."""
        try:
            (cells,) = _reader(text, self._delimiter, skip_space=True)
        except (csv.Error, ValueError):
            return True
        pairs = zip(cells, row.cells, strict=False)
        return len(cells) != len(row.cells) or any(one not in (two, two.lstrip(" ")) for one, two in pairs)

    def _swallows_rows(self, lines: list[str]) -> bool:
        """Whether a line that is part of a quoted value would be a row, as behind a quote that is closed too late."""
        if any(map(self._is_row, lines[1:-1])):
            return True
        *_, last = lines[1:] or [""]
        quoted = re.match(r'(?:[^"]|"")*', last)
        return quoted is not None and self._delimiter in quoted[0] and self._is_row(last)

    def _is_row(self, line: str) -> bool:
        cells = line.split(self._delimiter)
        value, _ = _cells(self._names, cells) if len(cells) > 1 else (None, "")
        return value is not None and any(
            self._key.is_named(name) and self._key.may_be(text.strip('" ')) for name, text in value.items()
        )


def _reader(text: str, delimiter: str, *, skip_space: bool) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=skip_space)


def _cells(names: list[str], cells: list[str]) -> tuple[dict[str, str] | None, str]:
    """A row by its columns, or what is wrong with it. Cells without a column must be empty: Excel pads with them."""
    named = max(place for place, name in enumerate(names) if name) + 1
    if len(cells) < named:
        return None, "fewer fields than the header line names"
    for place, cell in enumerate(cells):
        if place >= named and cell.strip():
            return None, "more fields than the header line names"
        if place < named and not names[place] and cell.strip():
            return None, f"column {place + 1} has no name in the header line"
        if control := _CONTROL.search(cell):
            return None, f"{shown(names[place])}: must not have the control character U+{ord(control[0]):04X}"
    return {name: cell for name, cell in zip(names, cells, strict=False) if name}, ""


def _csv_problem(error: str, line: int, last: int) -> str:
    """What `csv` says, in words that tell what to mend."""
    if "field larger" in error:
        return "a value is longer than 131072 characters: is a quote not closed?"
    if "unexpected end" in error:
        return "a quote is not closed"
    if "expected after" in error:
        where = "" if last == line else f", up to line {last}"
        return f"text follows a closing quote{where}: is a quote not closed or not doubled?"
    return f"not CSV: {error}"
