"""The state directory of a local stack, and which layout it has."""

from __future__ import annotations

import re
from pathlib import Path

from local.settings import ROOT, Refused

_LAYOUT = 3
"""Raise it when `stack.json`, keys or attributes of rows, or the files of the embedded AWS change their form."""


def claim(state: Path) -> None:
    """Make `state` a directory of this layout.

    Raises:
        Refused: it has the state of another layout.
    """
    mark, mine = state / "layout", layout()
    found = mark.read_text().strip() if mark.exists() else ""
    if found != mine and (found or (state / "aws").exists()):
        raise Refused(
            f"{state} has the state of another version ({found or 'unknown layout'}; this version has {mine}). "
            "`make clean` deletes it, then `make run` starts anew."
        )
    state.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{mine}\n")


def layout() -> str:
    """Return what this version writes: our layout, and the embedded AWS, which has files of its own."""
    pinned = re.search(r"^ministack==(\S+)", (ROOT / "requirements-aws.lock").read_text(), re.MULTILINE)
    return f"layout {_LAYOUT}, ministack {pinned[1] if pinned else 'unknown'}"
