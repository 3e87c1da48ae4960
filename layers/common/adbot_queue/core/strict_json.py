"""JSON that means one thing to every reader: RFC 8259, with what its parsers disagree about refused. Pure.

`json` and pydantic take NaN, turn 1e400 into infinity, and keep the last of two members of one name.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from adbot_queue.core.text import has_lone_surrogate

MAX_DEPTH = 100
"""Levels of nesting. Python's own parser gives up at about 1,000, pydantic's at 200."""

_SPACE = re.compile(r"[ \t\r\n]*")


class NotJson(Exception):
    """A text is not JSON, or not the strict kind.

    Attributes:
        reason: what is wrong, for a person, without a place.
        position: where, in characters from the start of the text, where that is known.
    """

    def __init__(self, reason: str, position: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position

    def place(self, text: str) -> str:
        """The reason with line and column in `text`."""
        if self.position is None:
            return self.reason
        before = re.split(r"\r\n?|\n", text[: self.position])
        return f"{self.reason} at line {len(before)}, column {len(before[-1]) + 1}"


def loads(text: str, *, max_depth: int = MAX_DEPTH, exact: bool = False) -> Any:
    """Return the value that a text is.

    Args:
        text: one JSON value and white space.
        max_depth: levels of nesting that are allowed.
        exact: also refuse numbers with more digits than a float keeps.

    Raises:
        NotJson: it is not.
    """
    reader = Reader(max_depth=max_depth, exact=exact)
    value, end = reader.value_at(text, skip_space(text, 0))
    if (rest := skip_space(text, end)) != len(text):
        raise NotJson("not JSON: text after the value", rest)
    if reader.problem:
        raise NotJson(reader.problem)
    return value


def skip_space(text: str, position: int) -> int:
    """The position of the next character that is no JSON white space."""
    found = _SPACE.match(text, position)  # always: it matches the empty text too
    return found.end() if found else position


class Reader:
    """Reads values out of a longer text.

    A value that is JSON but not the strict kind is read to its end, so that those behind it can be read as well;
    `problem` says what is wrong with it.
    """

    def __init__(self, *, max_depth: int = MAX_DEPTH, exact: bool = False) -> None:
        self.problem = ""
        self._max_depth = max_depth
        self._exact = exact
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=self._int,
        )

    def value_at(self, text: str, position: int) -> tuple[Any, int]:
        """Return the value that begins at a position, and where it ends; sets `problem`.

        Raises:
            NotJson: no JSON value begins there.
        """
        self.problem = ""
        try:
            value, end = self._decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise NotJson(f"not JSON: {_lower(error.msg)}", error.pos) from error
        except RecursionError as error:
            raise NotJson("not JSON: nested too deep", position) from error
        if not self.problem:
            self.problem = _fault(value, self._max_depth)
        return value, end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            self._note(f"{shown(twice)}: named twice in one object")
        return found

    def _constant(self, name: str) -> None:
        self._note(f"{name} is not a JSON number")

    def _float(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            self._note(f"{text[:40]} is too large for a number")
        elif self._exact and not _keeps(text, value):
            self._note(f"{text[:40]} has more digits than a number keeps; send it as text")
        return value

    def _int(self, text: str) -> int:
        try:
            return int(text)
        except ValueError:  # Python converts up to 4,300 digits
            self._note(f"a number of {len(text)} digits is too long")
            return 0

    def _note(self, problem: str) -> None:
        self.problem = self.problem or problem


def _fault(value: Any, max_depth: int) -> str:
    """What is wrong with a value that was read; level by level, because it may be nested deep."""
    level = [value]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for entry in level:
            if isinstance(entry, str) and has_lone_surrogate(entry):
                return "half of a surrogate pair, which is no character"
            if isinstance(entry, dict):
                below += entry.keys()
                below += entry.values()
            elif isinstance(entry, list):
                below += entry
        if not below:
            return ""
        level = below
    return f"nested deeper than {max_depth} levels"


def shown(name: str) -> str:
    """A caller's name for something, fit to stand in an error."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:64])


def _keeps(text: str, value: float) -> bool:
    try:
        return Decimal(text) == Decimal(repr(value))
    except ArithmeticError:  # an exponent beyond Decimal's own range
        return False


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:].removesuffix(" at")
