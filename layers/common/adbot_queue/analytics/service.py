"""Record events, and show what was counted."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from adbot_queue.analytics import store as stores
from adbot_queue.analytics.model import Event, article_of, days_between, person_of
from adbot_queue.analytics.schemas import AnalyticsQuery, AnalyticsView, ArticleView, CountedView
from adbot_queue.analytics.store import AnalyticsStore
from adbot_queue.core.clock import DAY_MS, Clock, day, system_clock
from adbot_queue.core.errors import NotFound
from adbot_queue.core.instants import instant

DEFAULT_DAYS = 7
ARTICLE_DAYS = 31


class Analytics:
    """Events and aggregates."""

    def __init__(self, store: AnalyticsStore, now: Clock = system_clock) -> None:
        self.store = store
        self._now = now

    def record(
        self,
        event_id: str,
        name: str,
        *,
        user_id: str | None,
        anonymous_id: str | None,
        properties: dict[str, Any],
        occurred_at: str | None,
    ) -> bool:
        """Record an event under its id; return whether it is new.

        Without a time, or with one in the future (a wrong clock), it happened when it was recorded first. Neither the
        person's id nor the properties are stored: only a hash of the id, and the article that the properties name.
        """
        now = self._now()
        at = instant(occurred_at) if occurred_at else now
        event = Event(event_id, max(0, min(at, now)), name, person_of(user_id, anonymous_id), article_of(properties))
        return self.store.record(event, now)

    def show(self, query: AnalyticsQuery) -> AnalyticsView:
        """What was counted: one Query by the day, one a day by the hour."""
        now = self._now()
        since = query.since or day(now - (DEFAULT_DAYS - 1) * DAY_MS)
        until = query.until or day(now)
        if query.by == "day":
            found = self.store.days(since, until)
        else:
            found = [hour for one in days_between(since, until) for hour in self.store.hours(one)]
        return AnalyticsView(
            by=query.by, since=since, until=until, items=[CountedView.model_validate(one) for one in found]
        )

    def article(self, article_id: str) -> ArticleView:
        """An article, and its last `ARTICLE_DAYS` days.

        Raises:
            NotFound: `rebuild-article-stats` has not put it together.
        """
        counted = self.store.article(article_id)
        if counted is None:
            raise NotFound("nothing was counted of such an article")
        now = self._now()
        days = self.store.article_days(article_id, day(now - (ARTICLE_DAYS - 1) * DAY_MS), day(now))
        return ArticleView.of(counted, days)


@lru_cache(maxsize=1)
def from_env() -> Analytics:
    """The analytics of this process."""
    return Analytics(stores.from_env())
