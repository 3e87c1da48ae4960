"""Workflows whose steps ask a provider that the test controls: payment, mint, mail and event, each on its queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from adbot_queue.jobs import job_queues, service
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.worker import worker as execute
from tests.builders import effects
from tests.builders.effects import Charge
from tests.builders.jobs import Jobs, known_types

QUEUES = ("workflow", "money", "email", "analytics")
TICKET = ("pay", "mint", "mail", "note")
SEEN: dict[str, Any] = {}
"""What the steps of each name were given by `seen`."""

REFUSALS: Counter[str] = Counter()
"""How often the provider will still say no to steps of each name, under whatever key."""


class Passed(Charge):
    """With something that the workflow passes on."""

    seen: Any = None
    number: int = 0


class Later(Passed):
    """As the next version has it."""

    colour: str = "red"


def charge(payload: Passed, context: Context) -> dict[str, Any]:
    if REFUSALS[payload.name] > 0:
        REFUSALS[payload.name] -= 1
        raise PermanentError("card declined")
    SEEN[payload.name] = payload.seen
    return effects.charge(payload, context) | {"list": [{"n": 7}], "seconds": context.seconds_left()}


def charging(name: str, queue: str = "money", **declared: Any) -> JobType:
    return JobType(queue, Passed, charge, name=name, **declared)


@contextmanager
def workflows(jobs: Jobs) -> Iterator[Jobs]:
    """These types exist, on few queues, and workflows lead the jobs of this platform."""
    SEEN.clear()
    REFUSALS.clear()
    few = {name: job_queues.QUEUES[name] for name in QUEUES}
    jobs.urls = {name: jobs.urls[name] for name in QUEUES}
    types = (charging("pay"), charging("mint"), charging("mail", "email"), charging("note", "analytics"))
    with (
        known_types(*types),
        patch.dict(job_queues.QUEUES, few, clear=True),
        patch.object(execute, "PARALLEL", 1),  # moto breaks when threads write at once
        patch.object(service, "from_env", lambda: jobs.service),
    ):
        yield jobs


def step(name: str, job_type: str | None = None, **declared: Any) -> dict[str, Any]:
    """Return a step named as its type and as its effect at the provider, by default."""
    if declared.keys() & {"wait_seconds", "set_status", "condition"}:
        return {"id": name, **declared}
    payload = {"name": name, **declared.pop("payload", {})}
    return {"id": name, "type": job_type or name, "payload": payload, **declared}


def ticket(**goes: list[str]) -> list[dict[str, Any]]:
    """Payment, mint, mail, event, one after the other; each tells the next what it got."""
    steps = [step(name, payload={"goes": goes.get(name, [])}) for name in TICKET]
    for earlier, later in zip(TICKET, steps[1:], strict=False):
        later["payload"]["seen"] = f"${{steps.{earlier}.result.charge}}"
    return steps


def workflow(*steps: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {"name": "test", "input": given, "steps": list(steps)}


def start(jobs: Jobs, *steps: dict[str, Any], key: str | None = None, **given: Any) -> Job:
    return jobs.enqueue("run-workflow", workflow(*steps, **given), key=key)


def states(job: Job) -> dict[str, str]:
    """Return the state of each step in the job's record."""
    return {entry["id"]: entry["state"] for entry in job.checkpoint["steps"]}


def job_of(jobs: Jobs, workflow_job: Job, name: str) -> Job:
    """The job of a step."""
    return jobs.get(next(entry["job"] for entry in jobs.get(workflow_job).checkpoint["steps"] if entry["id"] == name))
