"""rebuild-article-stats, and what is shown of articles and of events."""

from __future__ import annotations

from typing import Any

import pytest

from adbot_queue.analytics.model import DAY_MS
from adbot_queue.jobs.errors import PermanentError
from tests.builders.analytics import NOON, TODAY, Counting, event
from tests.builders.crash import Killed, crash_after
from tests.builders.world import AwsHarness

YESTERDAY = "2025-11-21"


def two_days(counting: Counting) -> None:
    """Cara reads `a` on both days, dan today; only eve reads `b`, yesterday; `c` is shared."""
    counting.record(
        event("1", NOON - DAY_MS, "cara", "a"),
        event("2", NOON, "cara", "a"),
        event("3", NOON, "dan", "a"),
        event("4", NOON - DAY_MS, "eve", "b"),
        event("5", NOON, "eve", "c", what="Article Shared"),
    )
    for day in (YESTERDAY, TODAY):
        counting.run("process-snapshot", {"hour": f"{day}T12"}, job=f"count-{day}")


def shown(on_aws: AwsHarness, article: str) -> Any:
    return on_aws.http("insights", "GET /articles/{id}/stats", role="viewer", id=article)


def test_an_article_is_put_together_from_its_days_and_a_reader_of_two_days_is_one(
    on_aws: AwsHarness, counting: Counting
) -> None:
    two_days(counting)
    result = counting.run("rebuild-article-stats", {"article_id": "a"})

    assert result == {"articles": 1, "article_id": "a", "events": 3, "readers": 2, "days": 2}
    answer = shown(on_aws, "a").json
    assert (answer["views"], answer["readers"], answer["readers_exact"]) == (3, 2, True)
    assert (answer["first_day"], answer["last_day"]) == (YESTERDAY, TODAY)


def test_all_articles_of_a_window_are_put_together_each_over_all_its_days(
    on_aws: AwsHarness, counting: Counting
) -> None:
    two_days(counting)

    assert counting.run("rebuild-article-stats", {"from": TODAY, "to": TODAY})["articles"] == 2
    assert shown(on_aws, "a").json["views"] == 3
    assert (shown(on_aws, "c").json["views"], shown(on_aws, "c").json["events"]) == (0, 1)
    assert shown(on_aws, "b").status == 404


@pytest.mark.parametrize("steps", [None, 1])
def test_a_window_is_done_in_as_many_attempts_as_it_takes_and_twice_gives_the_same(
    counting: Counting, steps: int | None
) -> None:
    two_days(counting)
    first = counting.run("rebuild-article-stats", job="r-1", steps=steps)
    kept = {one: counting.store.article(one) for one in "abc"}
    again = counting.run("rebuild-article-stats", job="r-2", steps=steps)

    assert first["articles"] == again["articles"] == 3
    for article, one in kept.items():
        found = counting.store.article(article)
        assert found
        assert one
        assert (found.aggregate.by_event, found.aggregate.people.hashes) == (
            one.aggregate.by_event,
            one.aggregate.people.hashes,
        )


def test_a_rebuild_that_dies_anywhere_ends_right_when_it_is_tried_again(counting: Counting) -> None:
    two_days(counting)
    with crash_after(None) as calls:
        counting.run("rebuild-article-stats", job="whole", steps=2)
    for number in range(1, len(calls.names) + 1, 2):
        with pytest.raises(Killed), crash_after(number):
            counting.run("rebuild-article-stats", job=f"dies-{number}", steps=2)
        assert counting.run("rebuild-article-stats", job=f"dies-{number}", steps=2)["articles"] == 3


def test_an_unknown_article_fails_its_job(counting: Counting) -> None:
    with pytest.raises(PermanentError, match="names this article"):
        counting.run("rebuild-article-stats", {"article_id": "nothing"})


def test_events_are_shown_by_day_and_by_hour_and_only_what_was_counted(on_aws: AwsHarness, counting: Counting) -> None:
    two_days(counting)
    query = {"from": "2025-11-20", "to": TODAY}
    days = on_aws.http("insights", "GET /analytics", role="viewer", query=query).json
    hours = on_aws.http("insights", "GET /analytics", role="viewer", query=query | {"by": "hour"}).json

    assert (days["from"], days["to"], days["by"]) == ("2025-11-20", TODAY, "day")
    assert [(item["start"], item["events"], item["people"]) for item in days["items"]] == [
        (YESTERDAY, 2, 2),
        (TODAY, 3, 3),
    ]
    assert days["items"][1]["by_event"] == {"Article Viewed": 2, "Article Shared": 1}
    assert [item["start"] for item in hours["items"]] == [f"{YESTERDAY}T12", f"{TODAY}T12"]


@pytest.mark.parametrize(
    "query",
    [
        {"from": TODAY},
        {"from": "2025-11-22", "to": "2025-11-21"},
        {"from": "2025-10-01", "to": "2025-11-01"},
        {"from": "2025-11-01", "to": "2025-11-08", "by": "hour"},
        {"from": "2025-02-30", "to": "2025-03-01"},
        {"by": "minute"},
        {"colour": "red"},
    ],
)
def test_a_period_that_is_too_long_or_none_is_refused(on_aws: AwsHarness, query: dict[str, str]) -> None:
    assert on_aws.http("insights", "GET /analytics", role="viewer", query=query).status == 422


def test_without_a_period_the_last_days_are_shown(on_aws: AwsHarness) -> None:
    assert on_aws.http("insights", "GET /analytics", role="viewer").json["items"] == []
