"""Which country a mobile number is of. Pure.

A code is sent to mobile numbers alone, so that no rule is needed for each kind of number that costs more, or earns the
one who asks: premium, shared cost, personal, satellite, toll-free. Several countries share a calling code (+7 7 is
Kazakhstan, +1 242 the Bahamas, +44 7911 1 Guernsey), so the country is a matter of the digits after it.
`mobile_numbers.json` is made by `local/mobile_numbers.py`.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

FILE = Path(__file__).with_name("mobile_numbers.json")

MAX_CODE = 3
"""Digits of a calling code."""

LAST = 4
"""Digits that differ within a range: operators give numbers out in blocks of ten thousand."""

FIRST = 3
"""National digits that tell an operator or an area."""


def country_of(phone: str) -> str | None:
    """The country (ISO 3166-1, two letters) of a mobile number; None: it is no mobile number of any.

    Args:
        phone: E.164, with its `+`.
    """
    code, national = _split(phone)
    for region, leading, mobile in _plans().get(code, ()):
        # As libphonenumber does: a country with leading digits has no other numbers.
        if leading is None or re.match(leading, national):
            if re.fullmatch(mobile, national):
                return region
            if leading is not None:
                return None
    return None


def range_of(phone: str) -> str:
    """Return the block of a number: an abuser who earns by messages has a whole one."""
    return phone[:-LAST]


def prefix_of(phone: str) -> str:
    """The calling code and the first national digits: the numbers of one operator, or of one area."""
    code, national = _split(phone)
    return f"+{code}{national[:FIRST]}"


def _split(phone: str) -> tuple[str, str]:
    """Calling code and national number. No code begins with another one."""
    digits = phone.removeprefix("+")
    code = next((digits[:size] for size in range(1, MAX_CODE + 1) if digits[:size] in _plans()), digits[:FIRST])
    return code, digits[len(code) :]


@lru_cache(maxsize=1)
def _plans() -> dict[str, list[tuple[str, str | None, str]]]:
    plans: dict[str, list[tuple[str, str | None, str]]] = json.loads(FILE.read_text())["codes"]
    return plans
