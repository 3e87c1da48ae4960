"""What the console's help shows of each page: the sections of its reference, as plain text. Pure."""

from __future__ import annotations

import re
from typing import Any

_ADDRESS = re.compile(r"`(/[\w/{}-]*)`")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def guide(reference: str) -> list[dict[str, Any]]:
    """Return the sections of `docs/reference/console.md` that are about pages.

    Each has `title`, `paths` as its first sentence names them, `text` (paragraphs) and `acts` (what people may do).
    """
    found = []
    for section in re.split(r"^## ", reference, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        blocks = [" ".join(block.split()) for block in re.split(r"\n\n|\n(?=- )", body) if not block.startswith("![")]
        first, *others = [block for block in blocks if block]
        addresses, _, text = first.partition(". ")
        found.append(
            {
                "title": title,
                "paths": _ADDRESS.findall(addresses),
                "text": [_plain(one) for one in (text, *others) if one and not one.startswith(("- ", "!["))],
                "acts": [_plain(one[2:]) for one in others if one.startswith("- ")],
            }
        )
    return found


def _plain(markdown: str) -> str:
    return _LINK.sub(r"\1", markdown).replace("`", "").replace("**", "")
