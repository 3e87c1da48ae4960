"""`process-snapshot` and `rebuild-article-stats`: what is counted of tracked events. No provider is asked.

Both are long-running jobs.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from adbot_queue.analytics import articles, snapshot
from adbot_queue.analytics.model import DAY_MS, article_problem, days_between, hour_start, hours_between
from adbot_queue.analytics.schemas import Day
from adbot_queue.core.clock import day
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context

MOST_DAYS = 31
USUAL_DAYS = 2


def _moment(text: str) -> str:
    """An hour or a day that exists."""
    hour_start(text if "T" in text else f"{text}T00")
    return text


Moment = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2})?$", description="2025-11-22T05 or 2025-11-22"),
    AfterValidator(_moment),
]


def _article(article_id: str) -> str:
    if problem := article_problem(article_id):
        raise ValueError(problem)
    return article_id


Article = Annotated[str, AfterValidator(_article)]


class ProcessSnapshot(Input):
    """Which hours (UTC): one, or from one to another; without any, those since the last snapshot and late ones."""

    model_config = ConfigDict(populate_by_name=True)  # what is stored of a job has the names of the fields

    since: Moment | None = Field(default=None, alias="from")
    until: Moment | None = Field(default=None, alias="to")
    hour: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}$"), AfterValidator(_moment)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.since is None) != (self.until is None):
            raise ValueError("from and to come together")
        if self.hour and self.since:
            raise ValueError("hour or from and to, not both")
        if window := self.window:
            number = len(hours_between(*window))
            if not 1 <= number <= snapshot.MOST_HOURS:
                raise ValueError(f"from 1 to {snapshot.MOST_HOURS} hours")
        return self

    @property
    def window(self) -> tuple[str, str] | None:
        """First and last hour."""
        if self.hour:
            return self.hour, self.hour
        if self.since is None or self.until is None:
            return None
        first, last = self.since, self.until
        return first if "T" in first else f"{first}T00", last if "T" in last else f"{last}T23"


class RebuildArticleStats(Input):
    """One article, or all that something happened to between two days; by default yesterday and today."""

    model_config = ConfigDict(populate_by_name=True)

    article_id: Article | None = None
    since: Day | None = Field(default=None, alias="from")
    until: Day | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.since is None) != (self.until is None):
            raise ValueError("from and to come together")
        if self.article_id and self.since:
            raise ValueError("article_id or from and to, not both")
        if self.since and self.until and not 1 <= len(days_between(self.since, self.until)) <= MOST_DAYS:
            raise ValueError(f"from 1 to {MOST_DAYS} days")
        return self


def process_snapshot(payload: ProcessSnapshot, context: Context) -> dict[str, Any]:
    """Count events by hour, day and article.

    Returns:
        hours, days, events, from, to.

    Raises:
        Permanent: events of the window have gone. NextRun: there is more to do. Cancelled: on request.
    """
    return snapshot.snapshot(payload.window, context)


def rebuild_article_stats(payload: RebuildArticleStats, context: Context) -> dict[str, Any]:
    """Put articles together from their days.

    Returns:
        articles: how many, and which one or which days.

    Raises:
        Permanent: nothing is known of the article. NextRun: there is more to do. Cancelled: on request.
    """
    if payload.article_id:
        return articles.rebuild_one(payload.article_id, context)
    now = context.now()
    since = payload.since or day(now - (USUAL_DAYS - 1) * DAY_MS)
    return articles.rebuild_window(since, payload.until or day(now), context)
