"""What the models of the HTTP interface have in common.

Pydantic builds a model's validator when the class is made, unless it is deferred until first used. A function uses a
few of the models that its capability declares: what is deferred is mostly never built.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from adbot_queue.core.clock import DAY_MS, iso
from adbot_queue.core.instants import day_start, instant

Phone = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$", description="a number in E.164 form like +4915112345678")]
"""A phone number in E.164: +, country code, number; at most 15 digits."""


Moment = Annotated[str, BeforeValidator(lambda moment: iso(moment) if isinstance(moment, int) else moment)]
"""A time in an answer: milliseconds since 1970 become ISO 8601, UTC."""


class View(BaseModel):
    """What is answered; can be read off any object with such attributes."""

    model_config = ConfigDict(defer_build=True, from_attributes=True)


class Input(BaseModel):
    """A JSON body. Unknown fields are refused, texts are not taken for numbers."""

    model_config = ConfigDict(defer_build=True, extra="forbid", strict=True)


class Query(BaseModel):
    """Query parameters, which are all texts. Unknown ones are refused."""

    model_config = ConfigDict(defer_build=True, extra="forbid")


def _millis(read: Callable[[str], int]) -> Callable[[object], int]:
    def check(value: object) -> int:
        if not isinstance(value, str):
            raise ValueError("must be a text like 2026-12-31T23:00:00Z")  # noqa: TRY004  pydantic wants a ValueError
        return read(value)

    return check


def _bound(at_end: bool) -> Callable[[str], int]:  # noqa: FBT001
    def read(text: str) -> int:
        # An unescaped plus sign reaches us as a space; before an offset a space can be nothing else.
        text = re.sub(r" (?=\d\d:?\d\d$)", "+", text)
        if "t" not in text.lower():
            return max(0, day_start(text) + (DAY_MS - 1 if at_end else 0))
        return max(0, instant(text))  # nothing of ours is older, and years before 1000 do not sort as text

    return read


def _checked(text: str) -> str:
    instant(text)
    return text


def _existing(text: str) -> str:
    day_start(text)
    return text


def _schema(description: str) -> dict[str, Any]:
    formats = [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]
    return {"anyOf": formats, "description": description}


Instant = Annotated[
    int, BeforeValidator(_millis(instant)), WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 40})
]
"""A date and time with its offset, as milliseconds since 1970."""

InstantText = Annotated[str, Field(max_length=40), AfterValidator(_checked)]
"""The same, kept as the caller wrote it."""

Date = Annotated[
    str, AfterValidator(_existing), WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-12-31"]})
]
"""A day of the calendar."""

From = Annotated[
    int,
    BeforeValidator(_millis(_bound(at_end=False))),
    WithJsonSchema(_schema("A date and time with its offset, or a date: from its beginning in UTC")),
]
To = Annotated[
    int,
    BeforeValidator(_millis(_bound(at_end=True))),
    WithJsonSchema(_schema("A date and time with its offset, or a date: to its end in UTC")),
]


class Period(BaseModel):
    """A period, both ends included, as milliseconds since 1970. For models that filter by time."""

    since: From | None = Field(None, alias="from")
    until: To | None = Field(None, alias="to")

    @field_validator("until")
    @classmethod
    def _in_order(cls, until: int | None, info: ValidationInfo) -> int | None:
        since = info.data.get("since")
        if since is not None and until is not None and until < since:
            raise ValueError("must not be before from")
        return until
