"""`rebuild-article-stats`: recounts the figures of articles."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from adbot_queue.analytics import articles
from adbot_queue.analytics.model import article_problem, days_between
from adbot_queue.core.clock import DAY_MS, day
from adbot_queue.core.schema import Date, Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType

MAX_DAYS = 31
DEFAULT_DAYS = 2


def _article(article_id: str) -> str:
    if problem := article_problem(article_id):
        raise ValueError(problem)
    return article_id


Article = Annotated[str, AfterValidator(_article)]


class RebuildArticleStats(Input):
    """One article, or all that something happened to between two days; by default yesterday and today."""

    model_config = ConfigDict(populate_by_name=True)

    article_id: Article | None = None
    since: Date | None = Field(default=None, alias="from")
    until: Date | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.since is None) != (self.until is None):
            raise ValueError("from and to come together")
        if self.article_id and self.since:
            raise ValueError("article_id or from and to, not both")
        if self.since and self.until and not 1 <= len(days_between(self.since, self.until)) <= MAX_DAYS:
            raise ValueError(f"from 1 to {MAX_DAYS} days")
        return self


def rebuild_article_stats(payload: RebuildArticleStats, context: Context) -> dict[str, Any]:
    """Put articles together from their days.

    Returns:
        articles: how many, and which one or which days.

    Raises:
        PermanentError: nothing is known of the article. NextRun: there is more to do. Cancelled: on request.
    """
    if payload.article_id:
        return articles.rebuild_one(payload.article_id, context)
    now = context.now()
    since = payload.since or day(now - (DEFAULT_DAYS - 1) * DAY_MS)
    return articles.rebuild_window(since, payload.until or day(now), context)


JOB = JobType(
    queue="analytics",
    payload=RebuildArticleStats,
    handler=rebuild_article_stats,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    policy=exponential(10, 10),
    parallel=False,
    cancellable=True,
    long_running=True,
    example={"article_id": "summer-sale"},
)
