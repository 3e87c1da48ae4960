"""An id that is taken can be read: what a path cannot carry is refused where it is given."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adbot_queue.analytics.jobs.analytics_track import Track
from adbot_queue.analytics.model import MAX_ARTICLE_ID, article_of
from tests.builders.world import AwsHarness

UNREADABLE = [
    "blog/2026/x",
    "/x",
    "x/",
    "a\\b",
    ".",
    "..",
    "",
    " ",
    " x",
    "x ",
    "a\tb",
    "a\nb",
    "a\x00b",
    "a\u2028b",
    "x" * (MAX_ARTICLE_ID + 1),
]
READABLE = ["x", "blog-2026", "a b", "100%", "a%2Fb", "ü" * MAX_ARTICLE_ID, "?q=1", "#", "a.b", "...", "a+b", "a:b@c"]


def problem(article_id: Any) -> str:
    """What the door says of an event that names the article; empty when it takes it."""
    event = {"event": "Article Viewed", "user_id": "u", "properties": {"article_id": article_id}}
    try:
        Track.model_validate(event)
    except ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("article_id", [*UNREADABLE, 1.5, True, [], {}], ids=lambda value: repr(value)[:20])
def test_an_article_that_no_path_can_name_is_refused_where_its_event_is_tracked(article_id: Any) -> None:
    assert "article_id must" in problem(article_id)
    assert article_of({"article_id": article_id}) is None


@pytest.mark.parametrize("article_id", [*READABLE, 7, -7], ids=lambda value: repr(value)[:20])
def test_an_article_that_is_taken_is_counted_under_its_own_id(article_id: Any) -> None:
    assert problem(article_id) == ""
    assert article_of({"article_id": article_id}) == str(article_id)


def test_an_event_may_name_no_article() -> None:
    assert problem(None) == ""
    assert article_of({"article_id": None}) is None


def test_the_api_refuses_an_article_that_no_path_can_name(on_aws: AwsHarness) -> None:
    found = {}
    for article_id in UNREADABLE:
        job = {"type": "rebuild-article-stats", "payload": {"article_id": article_id}}
        answer = on_aws.http("jobs", "POST /jobs", role="admin", body=job)
        found[article_id] = (answer.status, answer.fields)
    assert set(map(str, found.values())) == {str((422, ["payload.article_id"]))}


def test_the_api_looks_for_an_article_under_the_id_that_was_taken(on_aws: AwsHarness) -> None:
    for article_id in READABLE:
        asked = on_aws.http("insights", "GET /articles/{id}/stats", role="viewer", id=article_id)
        assert "nothing was counted of such an article" in asked.json["detail"], article_id
