"""What a job type declares. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from adbot_queue.jobs.retry import RetryPolicy

if TYPE_CHECKING:
    from pydantic import BaseModel

    from adbot_queue.core.errors import FieldError
    from adbot_queue.jobs.context import Context
    from adbot_queue.jobs.model import Job
    from adbot_queue.platform.owner_limit import OwnerLimit

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


class Handler(Protocol):
    """Runs a job. Raises `PermanentError`, `TransientError`, `Snooze` or `Cancelled` (`jobs.errors`)."""

    def __call__(self, payload: Any, context: Context) -> dict[str, Any] | None:
        """Return the job's result: JSON, without secrets."""


class Check(Protocol):
    """Checks a payload that fits its model."""

    def __call__(self, payload: Any, before: Job | None) -> Sequence[FieldError]:
        """Return the rules that it breaks; `before` is the job that is to be retried with it."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the module of a job type declares. Its name is its module's: `send_email` -> `send-email`.

    Attributes:
        queue: where it runs (`jobs.job_queues`).
        payload: its payload's model.
        handler: runs it.
        timeout_s: longest run; at most its queue's `max_run_s`.
        window_s: for how long an idempotency key means the same job.
        is_once: a second effect of the same payload is never wanted: equal payloads of a tenant are one job without a
            key, too, unless the first one failed, or was cancelled before it ran.
        policy: another one than the queue's.
        horizon_s: how long after its first run a job is retried while a provider is down (`jobs.retry`); 0: as long as
            its quick tries take.
        cap_s: the longest delay between two of those tries.
        parallel: several of a batch may run at once in one process.
        cancellable: its handler stops when a running job is cancelled.
        internal: only the platform itself enqueues it.
        long_running: its handler works in slices (`jobs.long_running`).
        child_types: returns the types of the jobs that it enqueues for a payload. A handler that enqueues jobs stops
            them when it is cancelled.
        check: rules that the payload's model does not know.
        needs_owner: returns why a payload needs the owner, None where it does not; the payload may be any JSON object.
        as_admin: returns the payload as a caller without the role owner may enqueue it.
        needs: providers (`providers.registry`) without whose credentials no such job is accepted.
        example: a payload, for people.
    """

    queue: str
    payload: type[BaseModel]
    handler: Handler
    timeout_s: int = 20
    window_s: int = DAY_S
    is_once: bool = False
    policy: RetryPolicy | None = None
    horizon_s: int = 0
    cap_s: int = HOUR_S
    parallel: bool = True
    cancellable: bool = False
    internal: bool = False
    long_running: bool = False
    child_types: Callable[[Mapping[str, Any]], Iterable[str]] | None = None
    check: Check | None = None
    needs_owner: Callable[[Mapping[str, Any], OwnerLimit], str | None] | None = None
    as_admin: Callable[[dict[str, Any], OwnerLimit], dict[str, Any]] | None = None
    needs: tuple[str, ...] = ()
    example: Mapping[str, Any] | None = None
    name: str = ""
