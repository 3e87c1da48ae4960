"""What is wrong with a field, in words: no quotes of Python, no pattern, no class."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import pytest
from pydantic import Field, ValidationError, model_validator

from adbot_queue.core.field_errors import field_errors
from adbot_queue.core.schema import Input
from local.openapi import all_routes


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(Input):
    code: str = Field(pattern=r"^[0-9]{6}$", description="six digits")


class Body(Input):
    required_sessions: int = Field(1, ge=1, le=500)
    rate: float = Field(1, ge=0.1)
    name: str = Field("x", min_length=1, max_length=3)
    tags: list[str] = Field(default_factory=list, max_length=2)
    colour: Colour = Colour.RED
    plain: str = Field("1", pattern=r"^[0-9]$")
    inner: Inner | None = None
    many: list[Inner] = Field(default_factory=list)
    size: int | str = 1
    since: int = Field(0, alias="from", ge=0, le=9)

    @model_validator(mode="after")
    def _together(self) -> Body:
        if self.rate == 13:
            raise ValueError("rate: must not be 13")
        if self.rate == 14:
            raise ValueError("not like this")
        return self


def said(**given: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate_json(json.dumps(given))
    return {entry.field: entry.message for entry in field_errors(caught.value, Body)}


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ({"required_sessions": 0}, "required_sessions", "must be between 1 and 500"),
        ({"required_sessions": 501}, "required_sessions", "must be between 1 and 500"),
        ({"required_sessions": "3"}, "required_sessions", "must be a whole number"),
        ({"required_sessions": None}, "required_sessions", "must be a whole number"),
        ({"from": 10}, "from", "must be between 0 and 9"),
        ({"rate": 0}, "rate", "must be at least 0.1"),
        ({"rate": "fast"}, "rate", "must be a number"),
        ({"name": ""}, "name", "must not be empty"),
        ({"name": "long"}, "name", "must have at most 3 characters"),
        ({"name": 1}, "name", "must be text"),
        ({"tags": ["a", "b", "c"]}, "tags", "must have at most 2 items"),
        ({"tags": "a"}, "tags", "must be a list"),
        ({"tags": ["a", 1]}, "tags.1", "must be text"),
        ({"colour": "green"}, "colour", "must be red or blue"),
        ({"plain": "x"}, "plain", "has an invalid format"),
        ({"inner": {"code": "12"}}, "inner.code", "must be six digits"),
        ({"inner": {}}, "inner.code", "is required"),
        ({"inner": 1}, "inner", "must be an object"),
        ({"many": [{"code": "123456"}, {"code": "12"}]}, "many.1.code", "must be six digits"),
        ({"unknown": 1}, "unknown", "unknown field"),
        ({"rate": 13}, "rate", "must not be 13"),
        ({"rate": 14}, "body", "not like this"),
    ],
)
def test_a_message_says_what_is_allowed(given: dict[str, Any], field: str, message: str) -> None:
    assert said(**given) == {field: message}


def test_every_wrong_field_is_named() -> None:
    assert set(said(name="", rate=0, unknown=1)) == {"name", "rate", "unknown"}


def test_a_prefix_comes_before_every_name() -> None:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate_json('{"inner": {"code": ""}}')
    assert [entry.field for entry in field_errors(caught.value, Body, ("payload",))] == ["payload.inner.code"]


@pytest.mark.parametrize("junk", [None, [], "x", 1, {"x": "'"}, {"id": None, "payload": [], "reason": 1}])
def test_no_route_answers_with_the_words_of_pydantic(junk: Any) -> None:
    for _, route in all_routes().values():
        for model in (route.body, route.query):
            if model is None:
                continue
            try:
                model.model_validate_json(json.dumps(junk))
            except ValidationError as error:
                for entry in field_errors(error, model):
                    assert not any(word in entry.message for word in ("Input", "Value error", "'", "^", "class ")), (
                        entry
                    )
