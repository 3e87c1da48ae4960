"""process-snapshot: any events, in any order, however often, counted as one would by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adbot_queue.analytics import snapshot, store
from adbot_queue.analytics.jobs.process_snapshot import ProcessSnapshot
from adbot_queue.analytics.model import DAY_MS, HOUR_MS, Event, hour_start, person_of
from adbot_queue.core import aws
from adbot_queue.jobs import long_running
from adbot_queue.jobs.errors import PermanentError, Snooze
from adbot_queue.queues import counters
from tests.builders.analytics import NOON, TODAY, Counting, event, naive
from tests.builders.crash import Killed, crash_after
from tests.builders.world import world

WHOLE = {"from": "2025-11-21T23", "to": "2025-11-22T00"}
NIGHT = hour_start("2025-11-21T23")


def count(counting: Counting, job: str = "job-1", steps: int | None = None, **payload: Any) -> Any:
    return counting.run("process-snapshot", payload, job, steps)


some_events = st.lists(
    st.builds(
        event,
        name=st.sampled_from([str(number) for number in range(12)]),
        at=st.integers(NIGHT, NIGHT + 2 * HOUR_MS - 1),
        person=st.sampled_from(["ann", "ben", "cara"]),
        article=st.sampled_from([None, "a", "b"]),
        what=st.sampled_from(["Article Viewed", "Article Shared"]),
    ),
    max_size=25,
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=st.lists(some_events, min_size=1, max_size=3), steps=st.sampled_from([None, 1, 3]))
def test_what_is_counted_is_what_counting_by_hand_comes_to(batches: list[list[Event]], steps: int | None) -> None:
    """Duplicates, late events, any order, a snapshot after each batch, as many attempts as it takes."""
    with world():
        counting = Counting()
        kept: dict[str, Event] = {}
        for number, batch in enumerate(batches):
            counting.record(*batch)
            for one in batch:
                kept.setdefault(one.id, one)  # an id means what it meant first
            count(counting, f"job-{number}", steps, **WHOLE)

        days = naive(kept.values(), lambda one: one.hour[:10])
        assert counting.days() == days
        for day, by_event in days.items():
            events = [one for one in kept.values() if one.hour.startswith(day)]
            assert counting.hours(day) == naive(events, lambda one: one.hour)
            (counted,) = counting.store.days(day, day)
            assert counted.people == len({one.person for one in events})
            assert counted.events == sum(by_event.values())
        for article in ("a", "b"):
            events = [one for one in kept.values() if one.article == article]
            found = counting.store.article_days(article)
            assert {one.start: dict(one.aggregate.by_event) for one in found} == naive(events, lambda e: e.hour[:10])
            for one in found:
                readers = {e.person for e in events if e.hour.startswith(one.start) and e.name == "Article Viewed"}
                assert one.aggregate.people.count == len(readers)


def test_the_same_snapshot_twice_gives_the_same(counting: Counting) -> None:
    counting.record(*(event(str(number), NIGHT + number * HOUR_MS // 3, article="a") for number in range(5)))

    assert count(counting, **WHOLE) == {
        "hours": 2,
        "days": 2,
        "events": 5,
        "from": "2025-11-21T23",
        "to": "2025-11-22T00",
    }
    first = (counting.days(), counting.store.article_days("a"))
    assert count(counting, "job-2", **WHOLE)["events"] == 5
    assert counting.days() == first[0]
    assert [one.aggregate.by_event for one in counting.store.article_days("a")] == [
        one.aggregate.by_event for one in first[1]
    ]


def test_a_late_event_is_counted_by_the_next_snapshot_of_its_hour_and_by_the_next_one_that_names_none(
    counting: Counting,
) -> None:
    counting.record(event("1"))
    count(counting)
    counting.record(event("late", NOON - 20 * HOUR_MS))
    assert "2025-11-21T16" not in counting.hours("2025-11-21")
    counting.clock.advance(3600)

    assert count(counting, "job-2")["events"] == 2
    assert counting.hours("2025-11-21") == {"2025-11-21T16": {"Article Viewed": 1}}
    assert counting.days()["2025-11-21"] == {"Article Viewed": 1}
    counting.clock.advance(3600)
    assert count(counting, "job-3")["hours"] == 4, "once counted, it is no longer late"


def test_a_late_event_that_was_noted_just_now_is_left_to_the_next_snapshot(counting: Counting) -> None:
    """An index may be a moment behind."""
    count(counting)
    counting.record(event("late", NOON - 20 * HOUR_MS))
    count(counting, "job-2")
    counting.clock.advance(3600)

    assert count(counting, "job-3")["events"] == 1


def test_no_hour_is_left_out_when_snapshots_were_not_made_for_a_while(counting: Counting) -> None:
    count(counting)
    counting.clock.advance(10 * 3600)
    counting.record(*(event(str(number), NOON + number * HOUR_MS) for number in range(10)))
    counting.clock.advance(5 * 3600)
    count(counting, "job-2")

    assert sum(map(len, (counting.hours(), counting.hours("2025-11-23")))) == 10


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_snapshot_that_has_little_time_goes_on_where_it_stopped(
    counting: Counting, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(store.AnalyticsStore.events, "__defaults__", (None, 2))
    counting.record(*(event(str(number), person=f"p{number}", article=f"a{number % 7}") for number in range(40)))
    if steps == 0:
        with pytest.raises(Snooze):
            counting.attempt("process-snapshot", {"hour": f"{TODAY}T12"}, steps=0)

    result = count(counting, steps=max(1, steps), hour=f"{TODAY}T12")

    assert result["events"] == 40
    assert counting.hours() == {f"{TODAY}T12": {"Article Viewed": 40}}
    (day,) = counting.store.days(TODAY, TODAY)
    assert (day.events, day.people) == (40, 40)
    readers = [counting.store.article_days(f"a{number}")[0].aggregate.people.count for number in range(7)]
    assert sum(readers) == 40


@pytest.mark.long
def test_a_snapshot_that_dies_after_any_call_ends_right_when_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.AnalyticsStore.events, "__defaults__", (None, 2))

    def story(die_after: int | None) -> tuple[int, Any]:
        with world():
            counting = Counting()
            counting.record(*(event(str(number), article=f"a{number % 3}") for number in range(9)))
            with crash_after(die_after) as calls:
                try:
                    counting.run("process-snapshot", {"hour": f"{TODAY}T12"}, steps=2)
                except Killed:
                    died = True
                else:
                    died = False
            if died:
                counting.clock.advance(60)
                result = counting.run("process-snapshot", {"hour": f"{TODAY}T12"}, steps=2)
                assert result["events"] == 9
            articles = [counting.store.article_days(f"a{number}")[0].aggregate.by_event for number in range(3)]
            return len(calls.names), (counting.hours(), counting.days(), articles)

    calls, whole = story(None)
    assert whole[0] == {f"{TODAY}T12": {"Article Viewed": 9}}
    for call in range(1, calls + 1, 3):
        assert story(call)[1] == whole


def test_a_slow_snapshot_does_not_take_the_place_of_a_newer_one(counting: Counting) -> None:
    hour = f"{TODAY}T12"
    counting.record(event("1"))
    context = counting.context("slow")
    slow = snapshot.Snapshot(counting.store, counters.from_env(), context, (hour, hour))
    read = counting.store.events
    pages = [read(hour, shard) for shard in range(store.SHARDS)]

    def late_answers(_hour: str, shard: int, _cursor: str | None = None) -> Any:
        if shard == store.SHARDS - 1:
            counting.clock.advance(10)
            counting.record(event("2"))
            slow._store = counting.store
            count(counting, "fast", hour=hour)
        return pages[shard]

    class Slow(store.AnalyticsStore):
        events = staticmethod(late_answers)  # type: ignore[assignment]

    slow._store = Slow(counting.store.client, counting.store.table)
    long_running.run(slow, context)

    assert counting.hours() == {hour: {"Article Viewed": 2}}


def test_events_that_are_not_all_there_any_more_are_not_counted_again(counting: Counting) -> None:
    counting.record(event("1", NOON - 29 * DAY_MS))
    count(counting, hour="2025-10-24T12")
    counting.clock.advance(2 * 86_400)
    with pytest.raises(PermanentError, match="kept for 30 days"):
        count(counting, "job-2", hour="2025-10-24T12")
    counting.store.set_mark("CLEANED", f"{TODAY}T00")
    with pytest.raises(PermanentError):
        count(counting, "job-3", hour="2025-11-21T23")

    assert counting.hours("2025-10-24") == {"2025-10-24T12": {"Article Viewed": 1}}


def test_a_mark_never_goes_back(counting: Counting) -> None:
    counting.store.set_mark("CLEANED", f"{TODAY}T05")
    counting.store.set_mark("CLEANED", f"{TODAY}T04")

    assert counting.store.mark("CLEANED") == f"{TODAY}T05"


def test_an_event_is_kept_without_the_person_and_without_its_properties(counting: Counting) -> None:
    counting.record(event("1", person="cara@example.com", article="a"))
    (item,) = [
        item
        for item in aws.dynamodb().scan(TableName=counting.store.table)["Items"]
        if item["pk"]["S"].startswith("EVENT#")
    ]

    assert "cara" not in str(item)
    assert item["person"]["S"] == f"{person_of('cara@example.com', None):016x}"
    assert int(item["expires_at"]["N"]) == (NOON + HOUR_MS + 30 * DAY_MS) // 1000


def test_what_queues_did_is_kept_by_day_beyond_the_minutes(counting: Counting) -> None:
    for minute, done in (("2025-11-21T23:59", 1), (f"{TODAY}T00:00", 2), (f"{TODAY}T12:05", 3)):
        item = {"pk": {"S": "MINUTES#email"}, "sk": {"S": f"{minute}#0"}, "completed": {"N": str(done)}}
        aws.dynamodb().put_item(TableName="SystemTable", Item=item)
    count(counting, **WHOLE)

    found = {(day, queue): counts for day, queue, counts in counting.store.queue_days("2025-11-20", TODAY)}
    assert found["2025-11-21", "email"] == {"completed": 1}
    assert found[TODAY, "email"] == {"completed": 5}
    assert found[TODAY, "money"] == {}
    assert ("2025-11-20", "email") not in found


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"from": "2025-11-01"}, ()),
        ({"from": "2025-11-02", "to": "2025-11-01"}, ()),
        ({"from": "2025-01-01", "to": "2025-11-01"}, ()),
        ({"hour": "2025-11-01T05", "from": "2025-11-01", "to": "2025-11-01"}, ()),
        ({"hour": "2025-11-01"}, ("hour",)),
        ({"hour": "2025-11-01T24"}, ("hour",)),
        ({"from": "2025-02-30", "to": "2025-11-01"}, ("from",)),
        ({"colour": "red"}, ("colour",)),
    ],
)
def test_a_window_that_is_none_is_not_enqueued(payload: dict[str, Any], field: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        ProcessSnapshot.model_validate(payload)

    assert refused.value.errors()[0]["loc"] == field
