"""Validation of payloads: whether a type may be enqueued with one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from adbot_queue.core.errors import FieldError, Invalid
from adbot_queue.jobs import job_types
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import Job
from adbot_queue.providers import registry as providers

MAX_PAYLOAD = 64 * 1024
"""Bytes of a payload as JSON: DynamoDB bills every write of a row by its whole size."""


def wanted(name: str, payload: dict[str, Any]) -> JobType:
    """Return the declaration of a type that a caller may enqueue with this payload.

    Raises:
        Invalid: the type does not exist or is internal, or as `check_payload`.
        NotConfigured: the type, or a child type, needs a provider without credentials.
        Unavailable: as `providers.check`.
    """
    known = job_types.find(name)
    if known.internal:
        raise Invalid.field("type", "is internal: only the platform enqueues it")
    _check_providers(known)
    checked = check_payload(known, payload)
    for child in known.child_types(checked) if known.child_types else ():
        _check_providers(job_types.find(child))
    return known


def _check_providers(known: JobType) -> None:
    for provider in known.needs:
        providers.check(provider)


def check_payload(
    known: JobType, payload: dict[str, Any], before: Job | None = None, *, ignore_unknown: bool = False
) -> dict[str, Any]:
    """Return the payload as sent, if it is valid.

    The row stores what the caller sent, without defaults of this version: another version may not know them.

    Args:
        known: its type.
        payload: as sent.
        before: the job to retry with it.
        ignore_unknown: unknown fields pass: the payload was validated when it was enqueued.

    Raises:
        Invalid: names the fields as `payload.<field>`.
    """
    if before is not None and known.internal and not ignore_unknown:
        raise Invalid.field("payload", f"cannot be changed: only the platform enqueues {known.name}")
    from pydantic import ValidationError  # noqa: PLC0415  the sweeper starts without it

    from adbot_queue.core.field_errors import field_errors  # noqa: PLC0415

    text = _json(payload)
    try:
        model = known.read(payload) if ignore_unknown else known.payload.model_validate_json(text)
    except ValidationError as error:
        raise refusal(field_errors(error, known.payload, ("payload",))) from error
    if known.check and (broken := known.check(model, before)):
        raise refusal(broken)
    if (size := len(text)) > MAX_PAYLOAD:
        raise Invalid.field("payload", f"must have at most {MAX_PAYLOAD} bytes of JSON, has {size}")
    return payload


def _json(payload: dict[str, Any]) -> str:
    """Return the payload as stored: ASCII JSON.

    Raises:
        Invalid: it contains a number that JSON lacks.
    """
    try:
        return json.dumps(payload, separators=(",", ":"), allow_nan=False)
    except ValueError:
        place = next(_infinite(payload, "payload"), "payload")
        raise Invalid.field(place, "must be a finite number") from None


def _infinite(value: Any, place: str) -> Iterator[str]:
    """Yield the places of numbers that JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from _infinite(member, f"{place}.{name}")


def refusal(errors: Sequence[FieldError]) -> Invalid:
    """Return the error that names the fields."""
    return Invalid("; ".join(f"{entry.field}: {entry.message}" for entry in errors[:20]), errors=tuple(errors[:100]))
