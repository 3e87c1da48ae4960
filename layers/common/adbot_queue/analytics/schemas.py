"""What analytics look like over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from adbot_queue.analytics.model import VIEWED, days_between
from adbot_queue.analytics.store import ArticleCounted
from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Date, Moment, Query, View

MAX_DAYS = {"hour": 7, "day": 31}
"""Days of one answer: seven Queries by the hour, one by the day."""


class AnalyticsQuery(Query):
    """Which days, both included; the last seven by default."""

    since: Date | None = Field(None, alias="from")
    until: Date | None = Field(None, alias="to")
    by: Literal["hour", "day"] = "day"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.since is None) != (self.until is None):
            raise ValueError("from and to come together")
        if self.since and self.until and not 1 <= len(days_between(self.since, self.until)) <= MAX_DAYS[self.by]:
            raise ValueError(f"from 1 to {MAX_DAYS[self.by]} days by the {self.by}")
        return self


class CountedView(View):
    """An hour (`2025-11-22T05`) or a day (`2025-11-22`), in UTC.

    `people` is an estimate, to about three percent, where `people_exact` is false. What was recorded after `counted_at`
    is in the next snapshot.
    """

    start: str
    events: int
    people: int
    people_exact: bool
    by_event: dict[str, int]
    counted_at: Moment = Field(validation_alias="began_at")


class AnalyticsView(View):
    """What was counted; hours and days that no snapshot has counted are not there."""

    by: str
    since: str = Field(serialization_alias="from")
    until: str = Field(serialization_alias="to")
    items: list[CountedView]


class ArticleDayView(View):
    """A day of an article."""

    day: str
    events: int
    views: int
    readers: int
    by_event: dict[str, int]

    @classmethod
    def of(cls, counted: ArticleCounted) -> ArticleDayView:
        """Of a day."""
        aggregate = counted.aggregate
        return cls(
            day=counted.start,
            events=aggregate.events,
            views=aggregate.by_event[VIEWED],
            readers=aggregate.people.count,
            by_event=aggregate.by_event,
        )


class ArticleView(View):
    """An article: all its days together as of `counted_at`, and the last days one by one.

    `views` are its events `Article Viewed`, `readers` the people behind them: estimated where not `readers_exact`.
    """

    article_id: str
    events: int
    views: int
    readers: int
    readers_exact: bool
    by_event: dict[str, int]
    days: int
    first_day: str
    last_day: str
    counted_at: str
    by_day: list[ArticleDayView]

    @classmethod
    def of(cls, counted: ArticleCounted, days: Iterable[ArticleCounted]) -> ArticleView:
        """Of an article and its days."""
        aggregate = counted.aggregate
        return cls(
            article_id=counted.article,
            events=aggregate.events,
            views=aggregate.by_event[VIEWED],
            readers=aggregate.people.count,
            readers_exact=aggregate.people.exact,
            by_event=aggregate.by_event,
            days=counted.days,
            first_day=counted.first,
            last_day=counted.last,
            counted_at=iso(counted.began_at),
            by_day=[ArticleDayView.of(day) for day in days],
        )
