"""What is counted, without AWS."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbot_queue.analytics.model import (
    MAX_NAMES,
    OTHERS,
    SKETCH_SIZE,
    Aggregate,
    Bucket,
    People,
    article_of,
    days_between,
    hours_between,
    person_of,
)
from tests.builders.analytics import event

crowd = st.lists(st.integers(0, 2**64 - 1), max_size=300)


@given(crowds=st.lists(crowd, max_size=5), chance=st.randoms())
def test_people_are_counted_once_in_whatever_order_and_however_they_are_put_together(crowds, chance) -> None:
    whole = People()
    shuffled = [list(one) for one in crowds] + [list(one) for one in crowds[:1]]
    chance.shuffle(shuffled)
    for one in shuffled:
        part = People()
        for person in one:
            part.add(person)
        whole.merge(People.unpacked(part.packed()))

    everybody = {person for one in crowds for person in one}
    assert whole.hashes == sorted(everybody)[:SKETCH_SIZE]
    if len(everybody) < SKETCH_SIZE:
        assert (whole.count, whole.exact) == (len(everybody), True)


def test_a_crowd_is_estimated_to_a_few_percent_and_says_so() -> None:
    people = People(person_of(f"user-{number}", None) for number in range(100_000))

    assert not people.exact
    assert people.count == pytest.approx(100_000, rel=0.1)
    assert len(people.packed()) < 11_000


def test_one_fewer_than_are_kept_is_exact() -> None:
    assert People(range(SKETCH_SIZE - 1)).exact
    assert People(range(SKETCH_SIZE - 1)).count == SKETCH_SIZE - 1
    assert not People(range(SKETCH_SIZE)).exact


def test_a_user_is_another_person_than_a_visitor_of_that_name_and_goes_before_him() -> None:
    assert person_of("x", None) != person_of(None, "x")
    assert person_of("x", None) == person_of("x", "y")


@pytest.mark.parametrize(
    ("properties", "article"),
    [
        ({"article_id": "a-1"}, "a-1"),
        ({"article_id": 7}, "7"),
        ({"article_id": True}, None),
        ({"article_id": ""}, None),
        ({"article_id": "x" * 129}, None),
        ({"article_id": ["a"]}, None),
        ({"article_id": None}, None),
        ({}, None),
    ],
)
def test_an_event_names_an_article_by_a_text_or_a_number(properties, article) -> None:
    assert article_of(properties) == article


def test_only_those_who_viewed_an_article_are_its_readers() -> None:
    bucket = Bucket()
    bucket.add(event("1", person="cara", article="a"))
    bucket.add(event("2", person="cara", article="a"))
    bucket.add(event("3", person="dan", article="a", what="Article Shared"))
    bucket.add(event("4", person="eve"))

    assert bucket.articles["a"].by_event == {"Article Viewed": 2, "Article Shared": 1}
    assert bucket.articles["a"].people.count == 1
    assert (bucket.total.events, bucket.total.people.count) == (4, 3)


def test_rare_names_are_counted_together_and_nothing_is_lost() -> None:
    aggregate = Aggregate(Counter({f"event {number:03d}": 1 + (number < 10) for number in range(MAX_NAMES + 20)}))
    shown = aggregate.shown()

    assert len(shown) == MAX_NAMES + 1
    assert shown[OTHERS] == 20
    assert sum(shown.values()) == aggregate.events
    assert shown["event 009"] == 2


def test_hours_and_days_go_over_midnight_and_the_end_of_a_month() -> None:
    assert hours_between("2025-11-30T23", "2025-12-01T01") == ["2025-11-30T23", "2025-12-01T00", "2025-12-01T01"]
    assert hours_between("2025-11-30T23", "2025-11-30T22") == []
    assert days_between("2024-02-28", "2024-03-01") == ["2024-02-28", "2024-02-29", "2024-03-01"]
    with pytest.raises(ValueError, match="2025-02-29 does not exist"):
        days_between("2025-02-29", "2025-03-01")
