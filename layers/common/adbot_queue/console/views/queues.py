"""Queues: all of them, one of them, and its switch."""

from __future__ import annotations

from adbot_queue.console import trouble
from adbot_queue.console.charts import Spark
from adbot_queue.console.request import Done, Page, Reply, Undo, Visit
from adbot_queue.core.errors import Invalid
from adbot_queue.jobs import job_queues
from adbot_queue.queues import pause as pauses

MAX_REASON = 500


def index(visit: Visit) -> Reply:
    """Every queue, trouble first."""
    queues = trouble.by_trouble(visit.snapshot.figures, visit.now)
    sparks = {queue["name"]: Spark.of(queue["spark"], queue["spark_bad"]) for queue, _ in queues}
    return Page("queues.html", "Queues", {"queues": queues, "sparks": sparks})


def show(visit: Visit) -> Reply:
    """One queue."""
    declared = job_queues.queue(visit.params["name"])
    seen = visit.snapshot.figures
    queue = next(one for one in seen["queues"] if one["name"] == declared.name)
    shown = {"declared": declared, "queue": queue, "reason": trouble.reason(queue, seen, visit.now)}
    return Page("queue.html", declared.name, shown)


def pause(visit: Visit) -> Reply:
    """Pause a queue; running jobs finish."""
    return _switch(visit, paused=True)


def resume(visit: Visit) -> Reply:
    """Resume a queue."""
    return _switch(visit, paused=False)


def _switch(visit: Visit, *, paused: bool) -> Reply:
    name = visit.params["name"]
    if not 1 <= len(visit.reason) <= MAX_REASON:
        raise Invalid.field("reason", f"must have 1 to {MAX_REASON} characters")
    control = pauses.from_env()
    (control.pause if paused else control.resume)(name, visit.reason, visit.actor)
    undo = Undo(
        f"/console/queues/{name}/{'resume' if paused else 'pause'}", {"reason": f"undone: {visit.reason}"[:MAX_REASON]}
    )
    page = f"/console/queues/{name}"
    if paused:
        return Done(f"Paused {name}. Running jobs finish; waiting jobs keep their place.", undo, page)
    return Done(f"Resumed {name}. Waiting jobs run again.", undo, page)
