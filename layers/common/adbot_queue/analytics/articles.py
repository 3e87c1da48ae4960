"""All that is known of an article, put together from its days: what `rebuild-article-stats` does."""

from __future__ import annotations

import heapq
from typing import Any

from adbot_queue.analytics import store as stores
from adbot_queue.analytics.model import Aggregate, days_between
from adbot_queue.analytics.runs import Run
from adbot_queue.analytics.store import AnalyticsStore, ArticleCounted
from adbot_queue.core import telemetry
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.retry import Permanent


def rebuild_one(article: str, context: Context, store: AnalyticsStore | None = None) -> dict[str, Any]:
    """Put one article together.

    Returns:
        articles, article_id, events, readers, days.

    Raises:
        Permanent: no day knows the article.
    """
    counted = _rebuild(store or stores.from_env(), article, context)
    if counted is None:
        raise Permanent("no event that was counted names this article")
    readers = counted.aggregate.people.count
    shown = {"events": counted.aggregate.events, "readers": readers, "days": counted.days}
    return {"articles": 1, "article_id": article, **shown}


def rebuild_window(first: str, last: str, context: Context, store: AnalyticsStore | None = None) -> dict[str, Any]:
    """Put together every article that something happened to between two days, both included; each over all its days.

    Returns:
        articles: how many; from, to.

    Raises:
        Postponed: the next attempt goes on. Cancelled: somebody asked for it.
    """
    store = store or stores.from_env()
    run = Run(store.client, store.table, context, lambda: {"after": None, "articles": 0})
    state = run.state
    days = days_between(first, last)
    # Every day's list is in the order of ids, so that an article of many days comes once.
    for article in heapq.merge(*(store.articles_after(day, state["after"]) for day in days)):
        if article == state["after"]:
            continue
        _rebuild(store, article, context)
        state |= {"after": article, "articles": state["articles"] + 1}
        if state["articles"] % 100 == 0:
            run.save()
            context.set_progress(0, f"{state['articles']} articles")
        run.pause_if_short()
    telemetry.count("ArticlesRebuilt", state["articles"])
    return {"articles": state["articles"], "from": first, "to": last}


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
