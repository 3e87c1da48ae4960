"""Pages that need no sign-in: the front page, the API reference, and what answers an unknown address."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from adbot_queue import console
from adbot_queue.console.request import Page, Reply, Visit
from adbot_queue.core.errors import NotFound

REFERENCE = Path(console.__file__).with_name("reference.json")
"""Made by `make docs` from the API document."""


def home(_visit: Visit) -> Reply:
    """What this is, and where to go."""
    return Page("home.html", "AdBot Queue")


def reference(_visit: Visit) -> Reply:
    """Every operation of the API, by chapter."""
    return Page("reference.html", "API reference", {"chapters": _chapters()})


def chapter(visit: Visit) -> Reply:
    """The operations of one chapter, with every field."""
    wanted = visit.params["chapter"]
    shown = next((one for one in _chapters() if one["slug"] == wanted), None)
    if shown is None:
        raise NotFound(f"the API reference has no chapter {wanted}")
    return Page("chapter.html", shown["name"], {"chapters": _chapters(), "shown": shown})


@lru_cache(maxsize=1)
def _chapters() -> list[dict[str, Any]]:
    chapters: list[dict[str, Any]] = json.loads(REFERENCE.read_text("utf-8"))["chapters"]
    return chapters
