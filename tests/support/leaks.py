"""What must never stand in a log: secrets, passwords, tokens, and what tells who a customer is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_KINDS: dict[str, re.Pattern[str]] = {
    "an e-mail address": re.compile(r"[\w.+-]+@(?!example\.invalid)[\w-]+(?:\.[\w-]+)+"),
    "a phone number": re.compile(r"(?<![\w.:+-])\+[1-9]\d{7,14}(?!\d)"),
    "a card number": re.compile(r"(?<![\w.-])[345]\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}(?![\w-])"),
    "a token": re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"),
    "a provider's key": re.compile(r"\b(?:sk|rk|pk)_(?:test|live)_\w{8,}|\bwhsec_[\w+/]{8,}|\bSG\.[\w-]{16,}"),
    "an authorization header": re.compile(r"(?i)\b(?:bearer|basic)\s+[\w+/=-]{16,}"),
}


def leaks(lines: Iterable[str], known: Mapping[str, str]) -> Iterator[str]:
    """What is there and should not be, one sentence each, without what was found itself.

    Args:
        lines: of logs.
        known: texts that are secret or personal in themselves, each with its name.
    """
    for line in lines:
        for kind, pattern in _KINDS.items():
            if pattern.search(line):
                yield f"{kind}: {pattern.sub('<...>', line)[:300]}"
        for name, text in known.items():
            if text in line:
                yield f"{name}: {line.replace(text, '<...>')[:300]}"
