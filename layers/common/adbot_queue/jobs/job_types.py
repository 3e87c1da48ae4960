"""Job types: a module each, found by its name and imported when it is used.

`send-email` is `<capability>/jobs/send_email.py`: payload model, policy and handler together, declared as `JOB`.
Importing all of them would add 300 ms to a cold start: only `GET /job-types` and the API document do.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from adbot_queue.core.errors import Invalid
from adbot_queue.jobs.declaration import DAY_S, HOUR_S, MINUTE_S, Declaration
from adbot_queue.jobs.job_queues import QUEUES
from adbot_queue.jobs.retry import RetryPolicy

if TYPE_CHECKING:
    from pydantic import BaseModel

    from adbot_queue.jobs.context import Context

__all__ = ["CAPABILITIES", "DAY_S", "HOUR_S", "LOADED", "MINUTE_S", "JobType"]

CAPABILITIES = (
    "analytics",
    "dead_letters",
    "integrations",
    "leads",
    "messaging",
    "operations",
    "payments",
    "stock",
    "tickets",
    "workflow",
)
"""The packages that have job types, in `<package>/jobs/`."""

TOLERANT = {"unknown_fields": "ignored"}
"""The validation context of `read`, for validators that validate a nested value themselves."""

LOADED: dict[str, JobType] = {}
"""The types that this process has imported; tests add their own."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class JobType(Declaration):
    """A job type: what its module declares, and its name."""

    def retry_policy(self) -> RetryPolicy:
        """Return the type's policy, or its queue's, up to the type's horizon."""
        policy = self.policy or QUEUES[self.queue].policy
        return replace(policy, horizon_ms=self.horizon_s * 1000, cap_ms=self.cap_s * 1000)

    def run(self, payload: BaseModel, context: Context) -> dict[str, Any] | None:
        """Run a job and return its result. Raises what the handler raises."""
        return self.handler(payload, context)

    def read(self, payload: dict[str, Any]) -> BaseModel:
        """Return a payload that was accepted at the door, by this version or another; unknown fields are ignored.

        Raises:
            ValidationError: this version cannot read it.
        """
        return self.payload.model_validate_json(json.dumps(payload), extra="ignore", context=TOLERANT)


def get(name: str) -> JobType | None:
    """Return a job type, None when this version does not know it. Imports its module."""
    if (known := LOADED.get(name)) is not None:
        return known
    module = _module(name)
    if module is None:
        return None
    declared: JobType = import_module(module).JOB
    return LOADED.setdefault(name, replace(declared, name=name))


def find(name: str) -> JobType:
    """Return a job type.

    Raises:
        Invalid: it does not exist.
    """
    found = get(name)
    if found is None:
        raise Invalid.field("type", "does not exist: GET /job-types lists the job types")
    return found


def names() -> list[str]:
    """Return the names of all types, in order; imports none of their modules."""
    return sorted({name for capability in CAPABILITIES for name in names_of(capability)} | LOADED.keys())


def names_of(capability: str) -> list[str]:
    """Return the names of a capability's types."""
    return [module.name.replace("_", "-") for module in iter_modules(_package(capability).__path__)]


def public() -> list[JobType]:
    """Return the types that people may enqueue. Imports every type."""
    return [known for known in map(find, names()) if not known.internal]


def policy_of(type_name: str, queue_name: str) -> RetryPolicy:
    """Return the retry policy of a job, also of one whose type this version does not know or cannot import."""
    known = _importable(type_name)
    return known.retry_policy() if known else QUEUES[queue_name].policy


def spawns_jobs(type_name: str) -> bool:
    """Return whether jobs of the type enqueue jobs of their own."""
    known = _importable(type_name)
    return known is not None and known.child_types is not None


def _importable(name: str) -> JobType | None:
    """Return a job type, None when it is not known or its module cannot be imported: the job's attempt reports that."""
    try:
        return get(name)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  a native library's panic is no Exception
        return None


@lru_cache(maxsize=256)  # callers choose the names
def _module(name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return None
    for capability in CAPABILITIES:
        path = f"adbot_queue.{capability}.jobs.{name.replace('-', '_')}"
        if find_spec(path):
            return path
    return None


def _package(capability: str) -> Any:
    return import_module(f"adbot_queue.{capability}.jobs")
