"""Rows of the AdBots table that this version can or cannot read. Pure.

After a rollback a row may have a status, an attribute or a version (`v`) that this code does not know. Reading it names
the attribute; the caller sets the row aside, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from adbot_queue.core.dynamodb import Item
from adbot_queue.core.errors import Unavailable

ROW_VERSION = 1
"""The newest `v` that this code reads. A row without one has this version."""

Row = TypeVar("Row")
Choice = TypeVar("Choice", bound=StrEnum)


class UnreadableRow(Unavailable):
    """A row that this version cannot read; `reason` names the attribute."""

    def __init__(self, item: Item, reason: str) -> None:
        self.item = item
        self.reason = reason
        super().__init__(f"{item.get('pk')}: this version cannot read the row: {reason}")


@dataclass(frozen=True, slots=True)
class Found(Generic[Row]):
    """Rows of one kind, in order: those read, and those that could not be."""

    good: list[Row]
    bad: list[UnreadableRow]


def read_each(found: Iterable[Item], read: Callable[[Item], Row]) -> Found[Row]:
    """Read rows one by one."""
    good: list[Row] = []
    bad: list[UnreadableRow] = []
    for item in found:
        try:
            good.append(read(item))
        except UnreadableRow as unreadable:
            bad.append(unreadable)
    return Found(good, bad)


class Reader:
    """Takes attributes out of a row, each with its type."""

    def __init__(self, item: Item) -> None:
        """Raises UnreadableRow for a row of a newer version."""
        self.item = item
        version = item.get("v", ROW_VERSION)
        if type(version) is not int or version > ROW_VERSION:
            raise self.refusal("v")

    def refusal(self, name: str) -> UnreadableRow:
        """Return the error for one attribute."""
        kind = "is missing" if self.item.get(name) is None else "has another type, or a value unknown here"
        return UnreadableRow(self.item, f"{name} {kind}")

    def text(self, name: str) -> str:
        """Return a text."""
        value = self.item.get(name)
        if not isinstance(value, str):
            raise self.refusal(name)
        return value

    def number(self, name: str, least: int = 0) -> int:
        """Return a number that is not below `least`."""
        value = self.item.get(name)
        if type(value) is not int or value < least:
            raise self.refusal(name)
        return value

    def number_or_none(self, name: str) -> int | None:
        """Return a number, or None where there is none."""
        return None if self.item.get(name) is None else self.number(name)

    def text_or_none(self, name: str) -> str | None:
        """Return a text, or None where there is none."""
        return None if self.item.get(name) is None else self.text(name)

    def flag(self, name: str) -> bool:
        """Return a flag that is off where there is none."""
        value = self.item.get(name, False)
        if not isinstance(value, bool):
            raise self.refusal(name)
        return value

    def choice(self, name: str, choices: type[Choice]) -> Choice:
        """Return a value of an enumeration."""
        try:
            return choices(self.text(name))
        except ValueError as error:
            raise self.refusal(name) from error

    def lists(self, name: str, shape: tuple[type, ...], *, optional: bool = False) -> list[list[Any]]:
        """Return a list of lists of one shape; its numbers are not negative."""
        value = self.item.get(name)
        if value is None and optional:
            return []
        if not isinstance(value, list) or not all(_has_shape(entry, shape) for entry in value):
            raise self.refusal(name)
        return value

    def numbers(self, name: str, kind: type[list[Any] | set[Any]]) -> list[int]:
        """Return the numbers of a list or set, which may be missing."""
        value: Any = self.item.get(name)
        if value is None:
            return []
        if not isinstance(value, kind) or not all(type(one) is int and one >= 0 for one in value):
            raise self.refusal(name)
        return list(value)


def _has_shape(entry: Any, shape: tuple[type, ...]) -> bool:
    if not isinstance(entry, list) or [type(one) for one in entry] != list(shape):
        return False
    return all(one >= 0 for one in entry if isinstance(one, int))


def text_in(item: Mapping[str, Any], name: str) -> str | None:
    """Return an attribute of an unreadable row if it is text at least."""
    value = item.get(name)
    return value if isinstance(value, str) and value else None


def number_in(item: Mapping[str, Any], name: str, least: int = 0) -> int | None:
    """Return an attribute of an unreadable row if it is a number at least."""
    value = item.get(name)
    return value if type(value) is int and value >= least else None
