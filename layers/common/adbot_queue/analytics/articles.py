"""All that is known of an article, put together from its days: what `rebuild-article-stats` does."""

from __future__ import annotations

import heapq
from typing import Any

from adbot_queue.analytics import store as stores
from adbot_queue.analytics.model import Aggregate, days_between
from adbot_queue.analytics.store import AnalyticsStore, ArticleCounted
from adbot_queue.core import telemetry
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.long_running import LongRunningJob, Progress, Slice, run

ARTICLES_PER_SLICE = 100


def rebuild_one(article: str, context: Context, store: AnalyticsStore | None = None) -> dict[str, Any]:
    """Put one article together.

    Returns:
        articles, article_id, events, readers, days.

    Raises:
        PermanentError: no day knows the article.
    """
    counted = _rebuild(store or stores.from_env(), article, context)
    if counted is None:
        raise PermanentError("no event that was counted names this article")
    readers = counted.aggregate.people.count
    shown = {"events": counted.aggregate.events, "readers": readers, "days": counted.days}
    return {"articles": 1, "article_id": article, **shown}


class RebuildWindow(LongRunningJob):
    """Every article that something happened to between two days, both included; each over all its days.

    The cursor is the last article.
    """

    def __init__(self, store: AnalyticsStore, first: str, last: str, context: Context) -> None:
        self._store = store
        self._first = first
        self._last = last
        self._context = context

    def next_slice(self, progress: Progress) -> Slice:
        """Put the next articles together, as many as there is time for."""
        last, done = progress.cursor, 0
        days = days_between(self._first, self._last)
        # Every day's list is in the order of ids, so that an article of many days comes once.
        for article in heapq.merge(*(self._store.articles_after(day, last) for day in days)):
            if article == last:
                continue
            if done and (done == ARTICLES_PER_SLICE or self._context.seconds_left() < self.reserve_s):
                return Slice(last, done=done)
            _rebuild(self._store, article, self._context)
            last, done = article, done + 1
        return Slice(last, done=done, is_last=True)

    def result(self, progress: Progress) -> dict[str, Any]:
        """Return articles: how many; from, to."""
        telemetry.count("ArticlesRebuilt", progress.done)
        return {"articles": progress.done, "from": self._first, "to": self._last}


def rebuild_window(first: str, last: str, context: Context) -> dict[str, Any]:
    """Put together every article that something happened to between two days, both included.

    Raises:
        NextRun, Cancelled: as `long_running.run`.
    """
    return run(RebuildWindow(stores.from_env(), first, last, context), context)


def _rebuild(store: AnalyticsStore, article: str, context: Context) -> ArticleCounted | None:
    began = context.now()
    days = store.article_days(article)
    if not days:
        return None
    whole = Aggregate()
    for day in days:
        whole.merge(day.aggregate)
    counted = ArticleCounted(article, "", whole, began, len(days), days[0].start, days[-1].start)
    store.publish_article(counted)
    return counted
