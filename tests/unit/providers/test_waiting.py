"""What a Retry-After header says, in every form."""

from __future__ import annotations

import pytest

from adbot_queue.providers.waiting import MAX_S, retry_after

NOON = 1_790_000_000_000


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("9" * 400, MAX_S),  # infinity, to float
        ("Mon, 21 Sep 2026 14:14:00 GMT", 40.0),
        ("Mon, 21 Sep 2020 14:14:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_S),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -1200", MAX_S),
        ("-3", None),
        ("٣", None),  # a digit to str.isdigit
        ("soon", None),
        ("", None),
    ],
)
def test_it_is_a_number_of_seconds_or_a_date_and_never_beyond_a_year(header: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": header}, lambda: NOON) == seconds


def test_without_an_answer_there_is_none() -> None:
    assert retry_after(None) is None
