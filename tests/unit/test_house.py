"""Sizes that keep the house readable."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from local.settings import ROOT

PACKAGE = ROOT / "layers" / "common" / "adbot_queue"
MAX_LINES = 400
MAX_SHARE = 0.16


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_source_file_has_more_than_400_lines() -> None:
    sources = [path for folder in (PACKAGE, ROOT / "functions", ROOT / "local") for path in folder.rglob("*.py")]

    assert len(sources) > 300
    assert {str(path.relative_to(ROOT)): lines(path) for path in sources if lines(path) > MAX_LINES} == {}


def test_no_package_is_more_than_16_percent_of_the_code() -> None:
    sizes: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        sizes[path.relative_to(PACKAGE).parts[0]] += lines(path)

    assert {name: size for name, size in sizes.items() if size > MAX_SHARE * sizes.total()} == {}
