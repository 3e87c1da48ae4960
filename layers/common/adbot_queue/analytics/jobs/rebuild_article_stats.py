"""`rebuild-article-stats`: recounts the figures of articles."""

from __future__ import annotations

from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.processors.aggregates import RebuildArticleStats, rebuild_article_stats

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
