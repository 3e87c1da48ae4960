"""`deliver-webhook`: sends a job's result, signed as Standard Webhooks (https://www.standardwebhooks.com).

Two secrets may be valid at a time: everything is signed with both, so that receivers can change theirs at any time.

Each receiver (host and port) has a circuit of its own. A receiver that hangs, is not reached or answers 5xx opens it
after a few deliveries; further deliveries to it wait, spend no attempt, and delay no other receiver.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from pydantic import Field

from adbot_queue.core import outbound, telemetry
from adbot_queue.core.clock import iso
from adbot_queue.core.errors import NotFound
from adbot_queue.core.schema import Input
from adbot_queue.integrations import receivers
from adbot_queue.integrations.standard_webhooks import signed, signing_secrets
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.job_types import DAY_S, JobType
from adbot_queue.jobs.model import Job

TIMEOUT_S = 15.0
"""For all of a delivery, redirects included: what the standard advises."""


class DeliverWebhook(Input):
    """Which job's end to tell, that of which cycle of attempts, and whom."""

    url: str = Field(min_length=1, max_length=outbound.MAX_URL)
    job_id: str = Field(min_length=1, max_length=128)
    cycle: int = Field(default=0, ge=0)


def deliver(payload: DeliverWebhook, context: Context) -> dict[str, Any]:
    """Send it.

    Returns:
        status: of the receiver's answer; message_id: its `webhook-id`, the same at every attempt. Or `superseded`: the
            job was retried before this end was delivered, and another job delivers the next one.

    Raises:
        PermanentError: the receiver refuses, the address is not public, the job is gone.
        TransientError: no answer, or a request to retry. CircuitIsOpen: the receiver is failing, and was not called.
        NotConfigured, Unavailable: as `signing_secrets`.
    """
    job = _job(payload.job_id)
    if job.cycle != payload.cycle:
        return {"superseded": True}
    message_id = f"msg_{context.job_id}"
    body = json.dumps(message(job), separators=(",", ":"), allow_nan=False)
    headers = {
        "content-type": "application/json",
        "user-agent": "adbot-queue",
        **signed(message_id, context.now(), body, signing_secrets()),
    }
    answer = receivers.call(
        payload.url,
        TIMEOUT_S,
        context,
        lambda seconds: outbound.from_env().post(payload.url, body.encode(), headers, seconds),
    )
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        telemetry.count("WebhooksDelivered")
        return {"status": answer.status, "message_id": message_id}
    raise receivers.refusal(answer, context)


def message(job: Job) -> dict[str, Any]:
    """Return the message about an ended job."""
    failure = job.failure
    finished_at = job.finished_at or job.created_at
    return {
        "type": f"job.{job.state}",
        "timestamp": iso(finished_at),
        "data": {
            "job_id": job.id,
            "type": job.type,
            "queue": job.queue,
            "state": job.state.value,
            "result": job.result,
            "error": {"kind": failure.kind, "error": failure.error, "message": failure.message} if failure else None,
            "attempts": job.attempt,
            "created_at": iso(job.created_at),
            "finished_at": iso(finished_at),
            "tags": list(job.tags),
        },
    }


def _job(job_id: str) -> Job:
    from adbot_queue.jobs import service  # noqa: PLC0415  the service knows the processors

    try:
        return service.from_env().job(job_id)
    except NotFound as error:
        raise PermanentError("the job this webhook reports on no longer exists") from error


JOB = JobType(
    queue="webhooks",
    payload=DeliverWebhook,
    handler=deliver,
    horizon_s=DAY_S,
    internal=True,
)
