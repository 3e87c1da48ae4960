"""`admin-digest`: mails what happened in a minute to the admin."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from adbot_queue.core import telemetry
from adbot_queue.core.errors import ProviderFailed
from adbot_queue.core.schema import Input
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import logger
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.jobs.provider_call import calling, verdict
from adbot_queue.operations import admin_digest as notices
from adbot_queue.providers import sendgrid_mail


class AdminDigest(Input):
    """The minute, in UTC (`2025-11-22T00:05`)."""

    minute: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$")


def admin_digest(payload: AdminDigest, context: Context) -> dict[str, Any]:
    """Send the mail of a minute. Without an address its notices are counted and logged instead.

    Raises:
        NotConfigured: there is an address, and no sender or no key.
        PermanentError, TransientError: SendGrid refused, or was not reached.
    """
    address, (counts, samples) = settings().admin_email, notices.from_env().of(payload.minute)
    if address and counts:
        mail = notices.compose(payload.minute, counts, samples)
        message = sendgrid_mail.Message(
            address, mail.subject, mail.text, mail.html, {"minute": payload.minute}, ("adbot-queue-notices",)
        )
        try:
            with calling("sendgrid", sendgrid_mail.TIMEOUT_S, context) as seconds:
                sendgrid_mail.send(message, seconds)
        except ProviderFailed as error:
            raise verdict(error) from error.__cause__ or error
    logger.info("notices", minute=payload.minute, mailed=bool(address and counts), counts=dict(counts))
    telemetry.count("NoticeVolume", counts.total())
    return {"mailed": bool(address and counts), "counts": dict(counts)}


JOB = JobType(
    queue="email",
    payload=AdminDigest,
    handler=admin_digest,
    timeout_s=15,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    internal=True,
)
