"""No text of a file is a formula to a spreadsheet, and each comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.core.spreadsheets import FORMULAS, safe, unsafe


@pytest.mark.parametrize("begin", FORMULAS)
def test_a_text_that_looks_like_a_formula_gets_an_apostrophe(begin: str) -> None:
    assert safe(f"{begin}1+1") == f"'{begin}1+1"


@pytest.mark.parametrize("text", ["5", "a=b", "", "'quoted'", " =1"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert safe(text) == text == unsafe(text)


@given(st.sampled_from(["", *FORMULAS]), st.text(st.characters(exclude_characters="'")))
def test_a_text_comes_back_as_it_was(begin: str, rest: str) -> None:
    assert unsafe(safe(begin + rest)) == begin + rest
