"""Whether a job needs the owner, as its type says (`JobType.needs_owner`).

Every way to start a job asks here: jobs, batches and their callbacks, schedules, retries and replays. An amount that is
not known yet (a full refund, a workflow step's result) counts as above the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adbot_queue.core.errors import Forbidden
from adbot_queue.jobs import job_types
from adbot_queue.platform import owner_limit
from adbot_queue.platform.owner_limit import OwnerLimit

if TYPE_CHECKING:
    from adbot_queue.core.callers import Caller


def needs_owner(job_type: str, payload: Mapping[str, Any], limit: OwnerLimit | None = None) -> str | None:
    """Return why a job needs the owner, None if any admin may start it."""
    known = job_types.get(job_type)
    if known is None or known.needs_owner is None:
        return None
    return known.needs_owner(payload, limit or owner_limit.from_env())


def permitted(caller: Caller, job_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload as the caller may enqueue it (`JobType.as_admin`).

    Raises:
        Forbidden: the job needs the owner.
    """
    if caller.is_owner:
        return payload
    known = job_types.get(job_type)
    if known is not None and known.as_admin is not None:
        payload = known.as_admin(payload, owner_limit.from_env())
    check(caller, job_type, payload)
    return payload


def check(caller: Caller, job_type: str, payload: Mapping[str, Any]) -> None:
    """Reject a job, new or retried, that needs the owner.

    Raises:
        Forbidden: names the limit and what is needed.
    """
    if not caller.is_owner and (reason := needs_owner(job_type, payload)):
        raise Forbidden(reason)
