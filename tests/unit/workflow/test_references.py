"""References in declarations, and what takes their place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.workflow.references import Absent, NoReference, Reference, follow, references, resolved

INPUT: dict[str, Any] = {"email": "cara@example.com", "n": 5, "ok": True, "deep": {"list": [{"id": "x"}]}, "none": None}


def look_up(reference: Reference) -> Any:
    assert reference.path is not None
    return follow(INPUT, reference.path, reference.text)


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ("plain $5 {x}", "plain $5 {x}"),
        ("${input.n}", 5),
        ("${input.none}", None),
        ("${input.deep}", INPUT["deep"]),
        ("${input.deep.list.0.id}", "x"),
        ("to ${input.email}!", "to cara@example.com!"),
        ("${input.n}${input.n}", "55"),
        ("${input.ok}, ${input.deep}", 'true, {"list": [{"id": "x"}]}'),
        ("$${input.n} is ${input.n}", "${input.n} is 5"),
        ("$${", "${"),
        ({"a": ["${input.n}", 1, None]}, {"a": [5, 1, None]}),
        ({"${input.n}": 1}, {"${input.n}": 1}),
    ],
)
def test_a_reference_becomes_its_value(value: Any, becomes: Any) -> None:
    assert resolved(value, look_up) == becomes


@pytest.mark.parametrize(
    "text", ["${input.m}", "${input.deep.list.1}", "${input.deep.list.x}", "${input.n.x}", "a ${input.none}"]
)
def test_what_is_not_there_is_absent(text: str) -> None:
    with pytest.raises(Absent, match="input"):
        resolved(text, look_up)


@pytest.mark.parametrize(
    "text", ["${}", "${inputs.x}", "${steps.a}", "${steps.a.state.x}", "${input.n", "x ${1+1}", "${ input.n }"]
)
def test_what_only_begins_like_a_reference_is_refused(text: str) -> None:
    with pytest.raises(NoReference):
        list(references(text))


def test_references_are_found_wherever_they_stand() -> None:
    value = {
        "a": "${steps.pay.result}",
        "b": ["x ${steps.pay.result.id.0} ${steps.pay.state}"],
        "c": "$${steps.no.state}",
    }

    found = [(one.step, one.path) for one in references(value)]

    assert found == [("pay", ()), ("pay", ("id", "0")), ("pay", None)]


small = st.text(max_size=5)
json_values = st.recursive(
    st.booleans() | st.integers() | small | st.sampled_from(["${input.y}", "${", "$${"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(small, inner, max_size=3),
    max_leaves=5,
)


@given(json_values)
def test_what_a_reference_brings_is_not_looked_through_again(value: Any) -> None:
    assert resolved("${input.x}", lambda _: value) == value
    assert resolved({"a": ["${input.x}"]}, lambda _: value) == {"a": [value]}


@given(st.text(alphabet="${}inputx. "))
def test_any_text_is_resolved_or_refused(text: str) -> None:
    try:
        value = resolved(text, lambda _: "v")
    except NoReference:
        return
    assert isinstance(value, str)
