"""What is asked for when a job is enqueued, and the rules it must keep. Nothing is written here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from adbot_queue.core.errors import FieldError, Invalid
from adbot_queue.core.ids import derived_id, fingerprint
from adbot_queue.jobs import registry
from adbot_queue.jobs.creation import Memory
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.registry import JobType
from adbot_queue.providers import registry as providers

MOST_PAYLOAD = 64 * 1024
"""Bytes of a payload as JSON: every write of a job's row is billed by its whole size."""

LONGEST_DELAY_MS = 366 * 86_400_000
MOST_PARENTS = 100
MOST_BATCH = 100


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is to be enqueued.

    Attributes:
        tenant: whom it is for; tenants are served fairly.
        key: idempotency key; without one it is derived from type and payload, where the type has a window.
        priority: -100 to 100, higher first.
        run_at: not before this, in ms.
        depends_on: jobs that must end first; without `tolerant` all of them must complete.
        webhook_url: is told how the job ended.
    """

    type: str
    payload: dict[str, Any]
    tenant: str = "system"
    key: str | None = None
    priority: int = 0
    run_at: int | None = None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    tolerant: bool = False
    webhook_url: str | None = None
    batch: str | None = None

    def after(self, parents: tuple[str, ...]) -> NewJob:
        """The same, to run when these have ended, however they did."""
        return replace(self, depends_on=parents, tolerant=True)


@dataclass(frozen=True, slots=True)
class Checked:
    """A job that keeps the rules: its type, and its payload with the defaults filled in."""

    new: NewJob
    type: JobType
    payload: dict[str, Any]

    def memory(self, now: int) -> Memory | None:
        """What the job is remembered by; nothing when neither caller nor type ask for it."""
        if self.new.key is None and not self.type.window_s:
            return None
        text = json.dumps(self.payload, sort_keys=True, separators=(",", ":"))
        if self.new.key:
            key = memory_key(self.new.tenant, self.type.name, self.new.key)
        else:
            key = derived_id("IDEM#", self.new.tenant, self.type.name, "payload", text)
        window = self.type.window_s or registry.DAY_S
        return Memory(key, fingerprint(text), now + window * 1000)


def memory_key(tenant: str, job_type: str, key: str) -> str:
    """Where it is remembered which job an idempotency key that somebody gave means."""
    return derived_id("IDEM#", tenant, job_type, "given", key)


def check_all(news: Sequence[NewJob], now: int, *, internal: bool, prefix: str = "") -> list[Checked]:
    """Every job with its type and its checked payload; `internal` allows types that only the platform enqueues.

    Raises:
        Invalid: of all jobs together; every field's name begins with the prefix, in which `{}` is the job's index.
        NotConfigured: a person wants what needs a provider without credentials. Unavailable: as `providers.check`.
    """
    checked: list[Checked] = []
    wrong: list[FieldError] = []
    for index, new in enumerate(news):
        try:
            _check(new, now)
            if internal:
                known = registry.job_type(new.type)
                checked.append(Checked(new, known, check_payload(known, new.payload)))
            else:
                checked.append(Checked(new, *wanted(new.type, new.payload)))
        except Invalid as error:
            wrong += [FieldError(prefix.format(index) + entry.field, entry.message) for entry in error.errors]
    if wrong:
        raise _invalid(wrong)
    return checked


def wanted(name: str, payload: dict[str, Any]) -> tuple[JobType, dict[str, Any]]:
    """The declaration of a type that a person wants to run, and the payload with its defaults filled in.

    Raises:
        Invalid: there is no such type, only the platform itself enqueues it, or as `check_payload`.
        NotConfigured: it, or a job that it leads, needs a provider that has no credentials here.
        Unavailable: as `providers.check`.
    """
    known = registry.job_type(name)
    if known.internal:
        raise Invalid.field("type", "is the platform's own")
    _check_providers(known)
    checked = check_payload(known, payload)
    for led in known.led(checked):
        _check_providers(registry.job_type(led))
    return known, checked


def _check_providers(known: JobType) -> None:
    for provider in known.needs:
        providers.check(provider)


def _check(new: NewJob, now: int) -> None:
    if new.webhook_url is not None:
        from adbot_queue.processors.webhook import check_url  # noqa: PLC0415  few jobs have one

        check_url(new.webhook_url)
    if new.run_at is not None and new.run_at - now > LONGEST_DELAY_MS:
        raise Invalid.field("run_at", "at most a year from now")
    if new.run_at is not None and new.depends_on:
        raise Invalid.field("run_at", "a job that depends on others runs when they are done")
    if len(new.depends_on) > MOST_PARENTS:
        raise Invalid.field("depends_on", f"at most {MOST_PARENTS} jobs")
    if len(set(new.depends_on)) != len(new.depends_on):
        raise Invalid.field("depends_on", "names a job twice")


def check_payload(known: JobType, payload: dict[str, Any], before: Job | None = None) -> dict[str, Any]:
    """The payload with its defaults filled in; `before` is the job that is to be retried with it.

    Raises:
        Invalid: names the fields as `payload.<field>`.
    """
    try:
        model = known.load_payload().model_validate_json(json.dumps(payload))
    except ValidationError as error:
        found = tuple(
            FieldError(".".join(["payload", *map(str, entry["loc"])]), entry["msg"])
            for entry in error.errors(include_url=False, include_input=False)[:20]
        )
        raise _invalid(found) from error
    check = known.load_check()
    if check and (broken := check(model, before)):
        raise _invalid(broken)
    checked: dict[str, Any] = model.model_dump(mode="json", exclude_none=True)
    size = len(json.dumps(checked, separators=(",", ":")).encode())
    if size > MOST_PAYLOAD:
        raise Invalid.field("payload", f"has {size} bytes, the limit is {MOST_PAYLOAD}")
    return checked


def _invalid(errors: Sequence[FieldError]) -> Invalid:
    return Invalid("; ".join(f"{entry.field}: {entry.message}" for entry in errors[:20]), errors=tuple(errors[:100]))
