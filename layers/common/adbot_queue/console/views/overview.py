"""Is anything wrong?"""

from __future__ import annotations

from adbot_queue.console import trend, trouble
from adbot_queue.console.charts import Band, Hour, Spark
from adbot_queue.console.request import Page, Reply, Visit
from adbot_queue.jobs.model import BAD_ENDS, JobState
from adbot_queue.platform.mode import ProcessingMode


def show(visit: Visit) -> Reply:
    """The whole system in figures, from the snapshot alone."""
    seen = visit.snapshot.figures
    queues = trouble.by_trouble(seen, visit.now)
    oldest = max((queue for queue, _ in queues if queue["oldest_at"]), key=lambda one: -one["oldest_at"], default=None)
    past = seen["hour"]
    hour = Hour.of(past["enqueued"], past["completed"], past["failed"], past["at"])
    incident, yesterday = trouble.incident(seen), trend.since_yesterday(seen, visit.now)
    return Page(
        "overview.html",
        "Overview",
        {
            "seen": seen,
            "alarms": trouble.alarms(seen, visit.now),
            "queues": queues,
            "sparks": {queue["name"]: Spark.of(queue["spark"], queue["spark_bad"]) for queue, _ in queues},
            "hour": hour,
            "band": Band.of(*incident, past["at"], hour.width) if incident else None,
            "waiting": sum(trouble.level(queue, JobState.WAITING) for queue, _ in queues),
            "active": sum(trouble.level(queue, JobState.ACTIVE) for queue, _ in queues),
            "dead": sum(trouble.level(queue, *BAD_ENDS) for queue, _ in queues),
            "dead_money": sum(trouble.level(queue, *BAD_ENDS) for queue, _ in queues if queue["money"]),
            "failed": sum(queue["failed"] for queue, _ in queues),
            "stopped": sum(reason.rank < trouble.SLOW for _, reason in queues),
            "oldest": oldest,
            "trend": {name: trend.words(yesterday.get(name)) for name in trend.NAMES},
            "other": next(one.value for one in ProcessingMode if one.value != seen["mode"]["name"]),
            "limits": {"job": trouble.MAX_WAIT_MS, "bot": trouble.MAX_BOT_WAIT_MS},
        },
    )
