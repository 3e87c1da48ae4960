"""Enqueueing one job by hand: a type, its payload, a tag."""

from __future__ import annotations

from adbot_queue.console.request import Done, Page, Reply, Visit, checked
from adbot_queue.console.views import jobs
from adbot_queue.core.errors import Invalid
from adbot_queue.jobs import job_types, service
from adbot_queue.jobs.api.permission import permitted
from adbot_queue.jobs.api.schemas import EnqueueJob
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import JobMode


def show(visit: Visit) -> Reply:
    """The form for one type, with the type's example as payload."""
    known = job_types.public()
    wanted = visit.query.get("type")
    chosen = next((one for one in known if one.name == wanted), None)
    if wanted and chosen is None:
        raise Invalid.field("type", "does not exist")
    shown = {"types": [one.name for one in known], "chosen": chosen, "example": _example(chosen)}
    return Page("enqueue.html", "Enqueue a job", shown)


def _example(chosen: JobType | None) -> str:
    return jobs.pretty(dict(chosen.example or {})) if chosen else ""


def enqueue(visit: Visit) -> Reply:
    """Enqueue the job of the form; the form's key is its idempotency key."""
    tags = visit.form.get("tags", "").split()
    payload = jobs.parsed(visit.form.get("payload", ""))
    asked = checked(EnqueueJob, {"type": visit.form.get("type", ""), "payload": payload, "tags": tags})
    service_of_jobs, user = service.from_env(), visit.session.user
    (new,) = permitted(service_of_jobs, visit.caller, [asked.new(user, visit.form_key("enqueue", visit.form["key"]))])
    rate_limit = service_of_jobs.acquire(user)
    job = service_of_jobs.enqueue(new, visit.actor, visit.time_left, rate_limit).job
    if job.is_terminal:
        how = "in direct mode" if job.mode is JobMode.SYNC_DIRECT else "because the queue refused it"
        text = f"201 Created: {job.type} ran within the request {how} and is {job.state.value}."
    else:
        text = f"202 Accepted: {job.type} is {job.state.value} in {job.queue}."
    return Done(text, open=f"/console/jobs/{job.id}")
