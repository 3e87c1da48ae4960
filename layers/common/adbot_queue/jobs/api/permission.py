"""What a caller may enqueue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adbot_queue.core.callers import Caller
from adbot_queue.jobs.enqueue import owner_check
from adbot_queue.jobs.service import JobRequest, JobService


def permitted(jobs: JobService, caller: Caller, requests: Sequence[JobRequest], prefix: str = "") -> list[JobRequest]:
    """Return the jobs as the caller may enqueue them; `prefix` as in `JobService.check`.

    Raises:
        Invalid, Forbidden: as `JobService.check`, `owner_check.permitted`. Nothing is spent or written.
    """
    jobs.check(requests, prefix)
    return [replace(new, payload=owner_check.permitted(caller, new.type, new.payload)) for new in requests]
