"""Check the words of the project against `local/wording.toml`: names, docstrings, comments, texts, docs.

python -m local.wording             exit 1 for a finding in a file that is not on the list of files still to do,
                                    for a file on it that is clean, and for a path on it that does not exist
python -m local.wording PATH ...    print the findings of these files, on the list or not
python -m local.wording --rebuild   write the list anew, after files have moved
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from local.settings import ROOT

RULES = Path(__file__).with_suffix(".toml")
TO_DO = Path(__file__).with_name("wording_to_do.txt")
FOLDERS = (".", "bench", "cli", "docs", "examples", "findings", "functions", "infra", "layers", "local", "tests")
SUFFIXES = frozenset({".py", ".md", ".yaml", ".ts", ".j2", ".html"})
NAMES = frozenset({"Makefile"})
SAMPLES = ROOT / "tests" / "unit" / "test_wording.py"
"""Breaks the rules on purpose."""

_GAP = r"(?:\s|#)+"
"""Between two words: a sentence goes on in the next line of a comment."""


class Finding(NamedTuple):
    """A place that breaks a rule."""

    line: int
    text: str
    advice: str


class Rules(NamedTuple):
    """Patterns over prose, and names that were replaced, each with its advice."""

    prose: list[tuple[re.Pattern[str], str]]
    names: dict[str, str]
    affixes: dict[str, str]


@cache
def rules() -> Rules:
    """Return the rules of `wording.toml`."""
    found = tomllib.loads(RULES.read_text())
    prose = [
        (re.compile(rule["pattern"].replace(" ", _GAP), re.IGNORECASE | re.MULTILINE), rule["say"])
        for rule in found["rules"]
    ]
    return Rules(prose, found["terms"], found["affixes"])


def check(path: Path, text: str) -> list[Finding]:
    """Return what breaks a rule in a file, by line."""
    if path.suffix == ".py":
        found = [*_of_module_name(path.stem), *_of_names(text), *_of_prose(_python_prose(text))]
    else:
        found = [*_of_prose(_document_prose(path, text))]
    return sorted(set(found))


def _of_prose(pieces: Iterator[tuple[int, str]]) -> Iterator[Finding]:
    for line, piece in pieces:
        for pattern, advice in rules().prose:
            for match in pattern.finditer(piece):
                yield Finding(line + piece.count("\n", 0, match.start()), " ".join(re.split(_GAP, match[0])), advice)


def _of_module_name(name: str) -> Iterator[Finding]:
    yield from _of_name(1, name)


def _of_names(text: str) -> Iterator[Finding]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield from _of_name(node.lineno, name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield from _of_name(node.lineno, name)
            case _:
                pass


def _of_name(line: int, name: str) -> Iterator[Finding]:
    if advice := rules().names.get(name.strip("_")):
        yield Finding(line, name, advice)
    for affix, advice in rules().affixes.items():
        if name.isupper() and (name.startswith(affix) if affix.endswith("_") else name.endswith(affix)):
            yield Finding(line, name, advice)
    yield from (Finding(line, name, found.advice) for found in _of_prose(iter([(line, name.replace("_", " "))])))


def _python_prose(text: str) -> Iterator[tuple[int, str]]:
    """Comments, neighbouring ones as one, and texts of more than one word."""
    comments: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if comments and token.start[0] != start + len(comments):
                yield start, "\n".join(comments)
                comments = []
            start = start if comments else token.start[0]
            comments.append(token.string)
        elif token.type == tokenize.STRING or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            words = re.sub(r"\{[^{}]*\}", "{}", token.string.strip("rbfuRBFU\"'"))
            if " " in words:
                yield token.start[0], words
    if comments:
        yield start, "\n".join(comments)


def _document_prose(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """A document paragraph by paragraph, without code."""
    if path.suffix == ".md":
        blank = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
        text = blank.sub(lambda match: "\n" * match[0].count("\n"), text)
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", text):
        yield line, paragraph
        line += paragraph.count("\n")


def files() -> list[Path]:
    """Every file whose words are checked."""
    found = []
    for folder in FOLDERS:
        walk = (ROOT / folder).glob("*") if folder == "." else (ROOT / folder).rglob("*")
        found += [path for path in walk if path.is_file() and (path.suffix in SUFFIXES or path.name in NAMES)]
    return sorted(path for path in found if path != SAMPLES and "node_modules" not in path.parts)


def complaints(found: dict[str, list[Finding]], to_do: set[str]) -> list[str]:
    """Return what is wrong: findings in finished files, and entries of the list that are no longer true.

    Args:
        found: every file's findings, by its path.
        to_do: paths of files that may still have findings.
    """
    said = [
        f"{path}:{finding.line}: {finding.text!r}: {finding.advice}"
        for path, findings in sorted(found.items())
        if path not in to_do
        for finding in findings
    ]
    for path in sorted(to_do):
        if path not in found:
            said.append(f"{TO_DO.name}: {path} does not exist; after moves run `python -m local.wording --rebuild`")
        elif not found[path]:
            said.append(f"{TO_DO.name}: {path} is clean: take it off the list")
    return said


def main(arguments: list[str]) -> int:
    """Check the files, or write the list anew."""
    if paths := [Path(name) for name in arguments if not name.startswith("--")]:
        for path in paths:
            for finding in check(path, path.read_text()):
                print(f"{path}:{finding.line}: {finding.text!r}: {finding.advice}")
        return 0
    found = {str(path.relative_to(ROOT)): check(path, path.read_text()) for path in files()}
    listed = TO_DO.read_text().split() if TO_DO.exists() else []
    if "--rebuild" in arguments:
        left = sorted(path for path, findings in found.items() if findings)
        TO_DO.write_text("".join(f"{path}\n" for path in left))
        print(f"{TO_DO.name}: {len(listed)} files before, {len(left)} now, of {len(found)}")
        return 0
    said = complaints(found, set(listed))
    print(*said, sep="\n", end="\n" if said else "")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
