"""What the help says about a page: its section of the console's reference, written by `local.guide`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from adbot_queue.console.sign_in import HOME

FILE = Path(__file__).with_name("guide.json")


@dataclass(frozen=True, slots=True)
class Section:
    """A section: what a page is for, and what people may do there."""

    title: str
    paths: tuple[str, ...]
    text: tuple[str, ...]
    acts: tuple[str, ...]


@lru_cache(maxsize=1)
def sections() -> list[Section]:
    """Return all sections."""
    found = json.loads(FILE.read_text())
    return [Section(one["title"], *(tuple(one[name]) for name in ("paths", "text", "acts"))) for one in found]


@lru_cache(maxsize=256)
def section_of(path: str) -> Section | None:
    """Return the section of a page, or of the page that it is a part of; None: it has none."""
    for section in sections():
        for named in section.paths:
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(named))
            part = "" if named in (HOME, "/") else "(/.*)?"
            if re.fullmatch(pattern + part, path):
                return section
    return None
