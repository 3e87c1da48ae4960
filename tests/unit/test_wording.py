"""The wording check: what it finds, where, and how the list of files still to do can only be true."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from local.wording import RULES, check, complaints

WORDS = tomllib.loads(RULES.read_text())
CODE, DOC = Path("clean.py"), Path("clean.md")


def found(path: Path, text: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.text) for finding in check(path, text)]


@pytest.mark.parametrize("rule", WORDS["rules"], ids=lambda rule: rule["example"])
@pytest.mark.parametrize(
    "made",
    ['"""{}."""\n', "x = 1  # {}\n", 'raise ValueError("{}")\n', 'def f(): f"{{x}} {}"\n'],
    ids=["docstring", "comment", "error", "f-string"],
)
def test_every_rule_finds_its_example_in_code(rule: dict[str, str], made: str) -> None:
    assert [finding.advice for finding in check(CODE, made.format(rule["example"]))][:1] == [rule["say"]]


@pytest.mark.parametrize("rule", WORDS["rules"], ids=lambda rule: rule["example"])
def test_every_rule_finds_its_example_in_a_document(rule: dict[str, str]) -> None:
    assert rule["say"] in [finding.advice for finding in check(DOC, f"# Title\n\n{rule['example']}.\n")]


@pytest.mark.parametrize(
    "name", [*WORDS["terms"], *(f"{affix}X".replace("_AT_ONCEX", "X_AT_ONCE") for affix in WORDS["affixes"])]
)
@pytest.mark.parametrize("made", ["class {}: ...\n", "def {}(): ...\n", "def f({}): ...\n", "{} = 1\n", "f.{} = 1\n"])
def test_a_replaced_name_is_found_where_it_is_defined(name: str, made: str) -> None:
    assert (1, name) in found(CODE, made.format(name))


def test_a_module_is_a_name_too() -> None:
    assert found(Path("tellers.py"), "") == [(1, "tellers")]


def test_using_a_name_of_elsewhere_is_no_finding() -> None:
    assert found(CODE, "from elsewhere import Permit\nx = Permit(told=1).told\n") == []


def test_the_words_of_a_test_name_are_prose() -> None:
    assert found(CODE, "def test_nobody_is_asked(): ...\n") == [(1, "test_nobody_is_asked")]


def test_a_phrase_over_two_lines_is_found_where_it_begins() -> None:
    assert found(CODE, "# One\n# has ten at the\n# most.\nx = 1\n") == [(2, "at the most")]
    assert found(CODE, '"""First.\n\nTen at the\nmost.\n"""\n') == [(3, "at the most")]
    assert found(DOC, "Title\n\nTen at the\nmost.\n") == [(3, "at the most")]


def test_code_is_no_prose() -> None:
    assert found(DOC, "See `told()`.\n\n```\nnobody\n```\n") == []
    assert found(CODE, 'def f(): return f"{x.told} and {stood}"\n') == []
    assert found(CODE, "state = 'told'\n") == []


def test_a_finding_outside_the_list_is_a_complaint_and_within_it_is_not() -> None:
    files = {"a.py": check(CODE, "# nobody\n"), "b.py": check(CODE, "# nobody\n")}
    assert [said.split(": ")[0] for said in complaints(files, {"b.py"})] == ["a.py:1"]


def test_a_clean_file_must_be_taken_off_the_list() -> None:
    assert "a.py is clean" in complaints({"a.py": []}, {"a.py"})[0]


def test_a_path_that_moved_asks_for_a_new_list() -> None:
    assert "--rebuild" in complaints({}, {"a.py"})[0]
