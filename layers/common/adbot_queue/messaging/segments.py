"""How many segments an SMS takes: what is paid for. Pure.

A segment has 140 bytes. In GSM-7 (3GPP TS 23.038) that is 160 characters, some of which count twice; a text with any
other character goes in UCS-2, 70 units of UTF-16. Several segments spend 6 bytes each on being put together again:
153 and 67. What counts twice is never cut in two. Twilio's own calculator (npm sms-segments-calculator) says the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = frozenset("\f^{}\\[~]|€")
"""They need an escape character before them."""

BEYOND_BASIC_PLANE = 0x10000


@dataclass(frozen=True, slots=True)
class Segments:
    """`encoding`: GSM-7 or UCS-2."""

    encoding: str
    number: int


def count(text: str) -> Segments:
    """The segments of a text."""
    letters = set(text)
    if letters <= BASIC | EXTENDED:
        return Segments("GSM-7", _packed([1 + (letter in EXTENDED) for letter in text], 160, 153))
    return Segments("UCS-2", _packed([1 + (ord(letter) >= BEYOND_BASIC_PLANE) for letter in text], 70, 67))


def _packed(sizes: list[int], alone: int, each: int) -> int:
    if sum(sizes) <= alone:
        return 1
    return _cut(sizes, each)


def _cut(sizes: Iterable[int], each: int) -> int:
    number, left = 1, each
    for size in sizes:
        if size > left:
            number, left = number + 1, each
        left -= size
    return number
