"""Queues: all of them, one of them with its jobs, its switch, and cleaning it."""

from __future__ import annotations

from typing import Any

from adbot_queue.console import figures, job_words, trouble
from adbot_queue.console.charts import Band, Percentiles, Spark
from adbot_queue.console.formats import duration, number
from adbot_queue.console.request import Done, Page, Reply, Undo, Visit, checked
from adbot_queue.console.trouble import Figures
from adbot_queue.console.views import jobs
from adbot_queue.core.clock import iso
from adbot_queue.core.errors import Conflict, Invalid
from adbot_queue.jobs import job_queues, service
from adbot_queue.jobs.api import purge
from adbot_queue.jobs.api.list_schemas import CleanQuery, QueueJobsQuery
from adbot_queue.jobs.api.purge import Cleaned
from adbot_queue.jobs.job_queues import Queue
from adbot_queue.jobs.model import BAD_ENDS, Job, JobState
from adbot_queue.jobs.retry import RetryPolicy
from adbot_queue.queues import pause as pauses
from adbot_queue.queues import service as queue_service
from adbot_queue.queues.statistics import MINUTE_MS, RUN, WAIT, Histogram, summed

CLEANABLE = ("completed", "failed", "cancelled")
AGES = (("any time", "0"), ("1 h", "3600"), ("1 d", "86400"), ("7 d", "604800"))
"""Choices of how long ago jobs ended that are to be deleted."""

PAGE_SIZE = 20
"""Rows of a page: as many as a refresh of 4 kB holds."""

STEP = 2
"""Minutes of a point of the charts of wait and run."""

AGE_NAMES = {JobState.WAITING: "Waits", JobState.DELAYED: "Waits", JobState.ACTIVE: "Runs for"}
EMPTY = {
    "waiting": "Every job was taken by a worker. POST /jobs enqueues one.",
    "active": "No worker is busy with a job of this queue.",
    "completed": "Completed jobs stay here for 7 days.",
    "failed": "No provider has refused a job for good.",
    "delayed": "No job waits for its time, for another job, or for its next attempt.",
    "dead": "No job has spent all its attempts.",
    "cancelled": "Cancelled jobs stay here for 90 days.",
}


def index(visit: Visit) -> Reply:
    """Every queue, trouble first."""
    queues = trouble.by_trouble(visit.snapshot.figures, visit.now)
    if visit.query.get("sort") == "name":
        queues.sort(key=lambda row: str(row[0]["name"]))
    sparks = {queue["name"]: Spark.of(queue["spark"], queue["spark_bad"]) for queue, _ in queues}
    policies = {queue["name"]: retries(job_queues.queue(queue["name"]).policy) for queue, _ in queues}
    sums = {
        "waiting": sum(trouble.level(queue, JobState.WAITING) for queue, _ in queues),
        "active": sum(trouble.level(queue, JobState.ACTIVE) for queue, _ in queues),
        "per_minute": round(sum(queue["per_minute"] for queue, _ in queues), 1),
        "failed": sum(queue["failed"] for queue, _ in queues),
        "dead": sum(trouble.level(queue, *BAD_ENDS) for queue, _ in queues),
    }
    return Page("queues.html", "Queues", {"queues": queues, "sparks": sparks, "policies": policies, "sums": sums})


def show(visit: Visit) -> Reply:
    """One queue: its figures, and its jobs in one state. Three reads, six with a filter; three more a drawer."""
    declared = job_queues.queue(visit.params["name"])
    if visit.drawer_only:
        return Page("queue.html", declared.name, {"opened": jobs.opened(visit)})
    seen = visit.snapshot.figures
    queue = next(one for one in seen["queues"] if one["name"] == declared.name)
    asked = visit.query_as(QueueJobsQuery)
    limit = asked.limit if visit.query.get("limit") else PAGE_SIZE
    found, following = service.from_env().page(declared.name, asked.state, limit, asked.cursor, asked.wanted())
    shown = {
        "queue": queue,
        "policy": policy_words(declared),
        "reason": trouble.reason(queue, seen, visit.now),
        "circuit": trouble.circuit_of(declared.name, seen),
        "cards": _cards(queue, visit.now),
        "tabs": _tabs(visit, queue, asked.state),
        "state": asked.state.value,
        "icons": job_words.STATE_ICONS,
        "age_name": AGE_NAMES.get(asked.state, "Ended"),
        "jobs": [(job, job_words.why(job, seen, visit.now)) for job in found],
        "attempts": _attempts(found),
        "unreadable": found.unreadable,
        "filtered": bool(asked.type or asked.tag or asked.user_id),
        "following": following,
        "empty_text": EMPTY[asked.state],
        "opened": jobs.opened(visit),
        "cleanable": CLEANABLE,
        **_durations(visit, declared.name),
        **_cleaning(visit, declared, asked.state),
    }
    return Page("queue.html", declared.name, shown)


def _durations(visit: Visit, name: str) -> dict[str, Any]:
    """How long jobs waited and ran over the last hour: one read."""
    found = queue_service.from_env().stats(name, figures.MINUTES)[2]
    starts = [iso(visit.now - back * MINUTE_MS)[:16] for back in range(figures.MINUTES - 1, -1, -1)]
    steps = [summed(found.get(start, {}) for start in starts[at : at + STEP]) for at in range(0, len(starts), STEP)]

    def chart(what: str) -> Percentiles:
        measured = [Histogram.of(what, numbers) for numbers in steps]
        half, most = ([one.percentile(percent) for one in measured] for percent in (50, 95))
        return Percentiles.of(half, most, visit.now - (STEP - 1) * MINUTE_MS, STEP)

    incident = trouble.incident(visit.snapshot.figures, name)
    return {
        "durations": [("wait", "Wait", chart(WAIT)), ("run", "Run", chart(RUN))],
        "band": Band.of(*incident, visit.now, len(steps) - 1, STEP) if incident else None,
        "step": STEP,
    }


def _cleaning(visit: Visit, declared: Queue, state: JobState) -> dict[str, Any]:
    """The dry run behind the dialog, for the owner who opens it."""
    older = visit.query.get("older", "86400")
    asks = visit.query.get("open") == "clean" and visit.caller.is_owner and not visit.is_tick
    counted = _clean(visit, declared.name, state.value, older_than_seconds=older) if asks else None
    return {"clean": counted, "older": older, "ages": AGES}


def clean(visit: Visit) -> Reply:
    """Delete the ended jobs that the person has counted."""
    name, state = visit.params["name"], visit.form.get("state", "")
    if visit.form.get("confirm") != "delete":
        raise Invalid.field("confirm", "must be delete")
    jobs.reason_of(visit)
    cut_off, count = visit.form.get("cut_off", ""), visit.form.get("confirm_count", "")
    try:
        done = _clean(visit, name, state, cut_off=cut_off, confirm=count)
    except Conflict as changed:
        now = changed.extra["count"]
        key = visit.form_key("clean", name, state, now, cut_off)
        rearm = {"confirm_count": str(now), "key": key}
        text = f"{number(now)} jobs match now, not {count}: nothing was deleted. Send again to delete {number(now)}."
        raise Conflict(text, rearm=rearm, count=now) from changed
    left = " More are left." if done.more else ""
    return Done(f"Deleted {number(done.deleted)} {state} jobs of {name}.{left}", back=f"/console/queues/{name}")


def _clean(visit: Visit, name: str, state: str, **asked: str) -> Cleaned:
    wanted = checked(CleanQuery, {"state": state, "reason": visit.reason, **asked})
    return purge.clean(service.from_env(), name, wanted, visit.actor, visit.time_left)


def pause(visit: Visit) -> Reply:
    """Pause a queue; running jobs finish."""
    return _switch(visit, paused=True)


def resume(visit: Visit) -> Reply:
    """Resume a queue."""
    return _switch(visit, paused=False)


def _switch(visit: Visit, *, paused: bool) -> Reply:
    name, reason = visit.params["name"], jobs.reason_of(visit)
    control = pauses.from_env()
    (control.pause if paused else control.resume)(name, reason, visit.actor)
    inverse = "resume" if paused else "pause"
    undo = Undo(f"/console/queues/{name}/{inverse}", {"reason": f"undone: {reason}"[: jobs.MAX_REASON]})
    page = f"/console/queues/{name}"
    if paused:
        return Done(f"Paused {name}. Running jobs finish; waiting jobs keep their place.", undo, page)
    return Done(f"Resumed {name}. Waiting jobs run again.", undo, page)


def _cards(queue: Figures, now: int) -> dict[str, tuple[str, str]]:
    """Text below the count of each state: the fact, and its context."""
    oldest = f"oldest {duration(now - queue['oldest_at'])}" if queue["oldest_at"] else "none waits"
    return {
        "waiting": (oldest, "could run now"),
        "active": ("a worker has them", ""),
        "completed": (f"{number(queue['per_minute'])} a minute", "kept for 7 days"),
        "failed": ("refused for good", "kept until someone decides"),
        "delayed": ("wait for a time or a job", ""),
    }


def _tabs(visit: Visit, queue: Figures, current: JobState) -> list[tuple[str, str, bool, int]]:
    return [
        (
            state.value.title(),
            visit.here(state=state.value, cursor=None, job=None),
            state is current,
            trouble.level(queue, state),
        )
        for state in job_words.STATE_ICONS
    ]


def _attempts(found: list[Job]) -> dict[str, int]:
    return {job.type: job_words.max_attempts(job) for job in found}


def policy_words(declared: Queue) -> str:
    """`3 attempts, 5 s apart, 10 a second`."""
    rate = f", {declared.rate.per_second:g} a second" if declared.rate else ", no rate limit"
    return f"{retries(declared.policy)}{rate}"


def retries(policy: RetryPolicy) -> str:
    """`5 attempts, 10 s doubling`."""
    growth = {1: "apart", 2: "doubling"}.get(policy.factor, f"times {policy.factor}")
    return f"{policy.attempts} attempts, {policy.base_ms / 1000:g} s {growth}"
