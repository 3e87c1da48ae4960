"""References in a workflow's declaration, and the values that take their place. Pure; nothing is evaluated.

    ${input.email}                          what the workflow was enqueued with
    ${steps.payment.result.payment_intent}  part of an earlier step's result; lists by number: `….items.0`
    ${steps.payment.state}                  how that step ended
    $${                                     the characters ${ themselves

A text that is nothing but a reference becomes the value itself, a number stays a number; within other text it becomes
text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_PLACE = re.compile(r"\$\$\{|\$\{([^{}]*\}?)")
_NAME = r"[\w-]+"
_FORM = re.compile(
    rf"input(?P<input>(?:\.{_NAME})*)|steps\.(?P<step>{_NAME})\.(?:state|result(?P<result>(?:\.{_NAME})*))"
)

FORMS = "${input.…}, ${steps.<id>.result.…} and ${steps.<id>.state}"

Path = tuple[str | int, ...]
"""The place of a value within another."""


class NoReference(ValueError):
    """A text that begins like a reference is none."""


class Absent(LookupError):
    """A reference names something that is not there."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a reference names.

    Attributes:
        text: without `${` and `}`.
        step: the step it asks; None: the workflow's input.
        path: keys into the input or the step's result; None: the step's state.
    """

    text: str
    step: str | None
    path: tuple[str, ...] | None


LookUp = Callable[[Reference], Any]
"""What a reference names; raises `Absent`."""


def parse(text: str) -> Reference:
    """A reference, without its `${`.

    Raises:
        NoReference: it is none.
    """
    found = _FORM.fullmatch(text.removesuffix("}")) if text.endswith("}") else None
    if not found:
        raise NoReference(f"${{{text} is not a reference; use {FORMS}; $${{ is the characters ${{ themselves")
    names = found["input"] if found["step"] is None else found["result"]
    return Reference(found[0], found["step"], None if names is None else tuple(names.split(".")[1:]))


def whole(value: Any) -> Reference | None:
    """The reference that a value consists of, if it does.

    Raises:
        NoReference: as `parse`.
    """
    found = _PLACE.fullmatch(value) if isinstance(value, str) else None
    return None if found is None or found[1] is None else parse(found[1])


def texts(value: Any, at: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield every text of a value, and its place. Keys are no texts."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from texts(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from texts(inner, (*at, index))


def references(value: Any) -> Iterator[Reference]:
    """Every reference of a value.

    Raises:
        NoReference: as `parse`.
    """
    for _, text in texts(value):
        for found in _PLACE.finditer(text):
            if found[1] is not None:
                yield parse(found[1])


def resolved(value: Any, look_up: LookUp) -> Any:
    """The value with what its references name.

    Args:
        value: JSON.
        look_up: what a reference names; raises `Absent`.

    Raises:
        Absent: as `look_up`, and where nothing (null) would stand within a text.
        NoReference: as `parse`.
    """
    if isinstance(value, str):
        reference = whole(value)
        return look_up(reference) if reference else _PLACE.sub(lambda found: _text(found, look_up), value)
    if isinstance(value, Mapping):
        return {key: resolved(inner, look_up) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, look_up) for inner in value]
    return value


def _text(found: re.Match[str], look_up: LookUp) -> str:
    if found[1] is None:
        return "${"
    value = look_up(parse(found[1]))
    if value is None:
        raise Absent(f"${{{found[1]} is nothing")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def follow(value: Any, path: tuple[str, ...], text: str) -> Any:
    """Return the value at a path of keys and numbers.

    Raises:
        Absent: there is none; names the reference's text.
    """
    for name in path:
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            raise Absent(f"there is no ${{{text}}}")
    return value
