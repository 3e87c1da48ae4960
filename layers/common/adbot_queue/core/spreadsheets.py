"""Cells of files that spreadsheets open. Pure."""

from __future__ import annotations

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula: https://owasp.org/www-community/attacks/CSV_Injection"""


def safe(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: an apostrophe goes before one that looks like it."""
    return f"'{text}" if text.startswith(FORMULAS) else text


def unsafe(text: str) -> str:
    """Return a text as it was before `safe`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULAS) else text
