"""A request to enqueue a job, and its validation. Nothing is written here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from adbot_queue.core import idempotency
from adbot_queue.core.errors import FieldError, Invalid
from adbot_queue.core.idempotency import IdempotencyRecord
from adbot_queue.core.ids import fingerprint
from adbot_queue.jobs import job_types
from adbot_queue.jobs.enqueue.payloads import check_payload, refusal, wanted
from adbot_queue.jobs.job_types import JobType

MAX_DELAY_MS = 366 * 86_400_000
MAX_PARENTS = 100
MAX_BATCH = 100


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job to enqueue.

    Attributes:
        key: the caller's idempotency key.
        tenant: the user it is for: fairness, rates and keys are per tenant.
        priority: -100 to 100; higher runs first.
        run_at: earliest start, in ms.
        delay_ms: earliest start, counted from when it is enqueued.
        depends_on: parent jobs; all must complete, unless `run_if_parents_fail`.
        webhook_url: receives the result of each cycle.
        accepted: the payload was validated before, by this version or another: unknown fields pass.
    """

    type: str
    payload: dict[str, Any]
    tenant: str = "system"
    key: str | None = None
    priority: int = 0
    run_at: int | None = None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    run_if_parents_fail: bool = False
    webhook_url: str | None = None
    batch: str | None = None
    delay_ms: int | None = None
    accepted: bool = False

    def after(self, parents: tuple[str, ...]) -> JobRequest:
        """Return the request, to run when these jobs have ended in any way."""
        return replace(self, depends_on=parents, run_if_parents_fail=True)

    def time(self, now: int) -> int | None:
        """Return the earliest start in ms, None for now."""
        return self.run_at if self.delay_ms is None else now + self.delay_ms

    @property
    def fingerprint(self) -> str:
        """Identifies the request under its idempotency key.

        Fields with their default values are left out, so that a field which a newer version adds changes nothing.
        """
        said = {
            spec.name: value
            for spec in fields(self)
            if spec.name not in _NOT_ASKED and (value := getattr(self, spec.name)) != spec.default
        }
        return fingerprint(_canonical(said))


_NOT_ASKED = {"tenant", "key", "batch", "accepted"}
"""Fields that say whose request it is, not what it asks for. (A batch compares itself as a whole: `batches`.)"""


@dataclass(frozen=True, slots=True)
class ValidatedRequest:
    """A valid request with its job type."""

    new: JobRequest
    type: JobType

    def key_record(self, now: int) -> IdempotencyRecord | None:
        """Return the row that makes the request idempotent; None if neither the caller nor the type asks for it."""
        new = self.new
        until = now + self.type.window_s * 1000
        if new.key is not None:
            return IdempotencyRecord(given_key(new.tenant, new.key), new.fingerprint, until)
        if self.type.is_once:
            return IdempotencyRecord(derived_key(new.tenant, self.type, new.payload), new.fingerprint, until)
        return None


def given_key(tenant: str, key: str) -> str:
    """Return the partition key of an idempotency key that a caller sent."""
    return idempotency.key_of(tenant, "given", key)


def derived_key(tenant: str, known: JobType, payload: dict[str, Any]) -> str:
    """Return the partition key of a payload, for a type whose equal payloads are one job.

    An explicit default equals an omitted one.
    """
    said = known.read(payload).model_dump(mode="json", exclude_defaults=True)
    return idempotency.key_of(tenant, known.name, "payload", _canonical(said))


def _canonical(said: dict[str, Any]) -> str:
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


def validate(requests: Sequence[JobRequest], now: int, *, internal: bool, prefix: str = "") -> list[ValidatedRequest]:
    """Return every request with its type; `internal` allows types that only the platform enqueues.

    Raises:
        Invalid: errors of all jobs; each field name begins with the prefix, in which `{}` is the job's index.
        NotConfigured: the type needs a provider without credentials. Unavailable: as `providers.check`.
    """
    checked: list[ValidatedRequest] = []
    wrong: list[FieldError] = []
    for index, new in enumerate(requests):
        try:
            _check(new, now)
            if internal:
                known = job_types.find(new.type)
                check_payload(known, new.payload, ignore_unknown=new.accepted)
            else:
                known = wanted(new.type, new.payload)
            checked.append(ValidatedRequest(new, known))
        except Invalid as error:
            wrong += [FieldError(prefix.format(index) + entry.field, entry.message) for entry in error.errors]
    if wrong:
        raise refusal(wrong)
    return checked


def _check(new: JobRequest, now: int) -> None:
    if new.webhook_url is not None:
        from adbot_queue.core.outbound import check_url  # noqa: PLC0415  few jobs have one

        check_url(new.webhook_url)
    run_at = new.time(now)
    if run_at is not None and run_at - now > MAX_DELAY_MS:
        raise Invalid.field("run_at", "must be at most one year from now")
    if run_at is not None and new.depends_on:
        raise Invalid.field("run_at", "not allowed together with depends_on")
    if len(new.depends_on) > MAX_PARENTS:
        raise Invalid.field("depends_on", f"must have at most {MAX_PARENTS} items")
    if len(set(new.depends_on)) != len(new.depends_on):
        raise Invalid.field("depends_on", "must not contain a job twice")
