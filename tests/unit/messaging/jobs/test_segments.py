"""What an SMS costs: segments, as networks cut them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.messaging.segments import BASIC, EXTENDED, Segments, count


@pytest.mark.parametrize(
    ("text", "encoding", "number"),
    [
        ("x", "GSM-7", 1),
        ("x" * 160, "GSM-7", 1),
        ("x" * 161, "GSM-7", 2),
        ("x" * 306, "GSM-7", 2),
        ("x" * 307, "GSM-7", 3),
        ("€" * 80, "GSM-7", 1),
        ("€" * 81, "GSM-7", 2),
        ("x" * 152 + "€" + "x" * 153, "GSM-7", 3),  # the euro sign is not cut in two
        ("Ω" * 160, "GSM-7", 1),
        ("ç", "UCS-2", 1),
        ("ж" * 70, "UCS-2", 1),
        ("ж" * 71, "UCS-2", 2),
        ("ж" * 134, "UCS-2", 2),
        ("ж" * 135, "UCS-2", 3),
        ("🎉" * 35, "UCS-2", 1),
        ("🎉" * 36, "UCS-2", 2),
        ("🎉" * 67, "UCS-2", 3),  # 33 to a segment: a pair of units is not cut in two
        ("x" * 1600, "GSM-7", 11),
        ("ж" * 1600, "UCS-2", 24),
    ],
)
def test_the_segments_of_a_text(text: str, encoding: str, number: int) -> None:
    assert count(text) == Segments(encoding, number)


def test_the_alphabet_is_the_one_of_the_standard() -> None:
    assert len(BASIC) == 127  # 128 places, of which one is the escape
    assert not BASIC & EXTENDED


@given(st.text(min_size=1, max_size=400))
def test_no_segment_is_over_full_and_none_is_wasted(text: str) -> None:
    counted = count(text)
    units = sum(1 + (letter in EXTENDED) for letter in text)
    alone, each = 160, 153
    if counted.encoding == "UCS-2":
        units, (alone, each) = len(text.encode("utf-16-le", "surrogatepass")) // 2, (70, 67)

    assert (counted.number == 1) == (units <= alone)
    assert (counted.number - 1) * (each - 1) < units or counted.number == 1
    assert units <= max(alone, counted.number * each)
