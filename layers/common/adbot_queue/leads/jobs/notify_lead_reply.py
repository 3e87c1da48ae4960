"""`notify-lead-reply`: notifies the user who works a lead of a reply: a push at once, a mail if it stays unread.

The notice names neither the person nor the words: those stay where they can be erased.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from adbot_queue import ledger
from adbot_queue.core.errors import IdempotencyMismatch, NotConfigured, ProviderFailed
from adbot_queue.core.settings import variable
from adbot_queue.core.telemetry import count
from adbot_queue.jobs import service as job_service
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import Cancelled
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType
from adbot_queue.jobs.provider_call import calling, verdict
from adbot_queue.jobs.service import JobRequest
from adbot_queue.leads import store as lead_store
from adbot_queue.leads.model import Lead
from adbot_queue.leads.notices import NOTIFY
from adbot_queue.providers import cognito

UNREAD_MS = 5 * 60_000
"""How long a reply stays unread before a mail is sent."""

TITLE = "A lead replied"


class NotifyLeadReply(BaseModel):
    """Which message: of a lead, received at a time (ms), and Twilio's id of it."""

    lead_id: str
    at: int
    ref: str
    by: Literal["push", "mail"] = "push"


def notify_lead_reply(payload: NotifyLeadReply, context: Context) -> dict[str, Any]:
    """Push and come back in five minutes; then mail, once for all replies since the conversation was last read.

    Returns:
        jobs: what was enqueued; empty: the user has no address.

    Raises:
        Cancelled: the message is read, or the lead was taken since.
        TransientError, PermanentError, Snooze: as `calling`.
    """
    lead = lead_store.from_env().lead(payload.lead_id)
    if lead is None:
        raise Cancelled("not sent: no_lead")
    if (lead.read_at or 0) >= payload.at:
        raise Cancelled("not sent: read")
    if lead.taken_at and lead.taken_at >= payload.at:
        raise Cancelled("not sent: taken")
    requests = _push(lead, payload, context) if payload.by == "push" else _mail(lead, context)
    jobs = [_enqueued(request) for request in requests]
    count("LeadRepliesNotified", len(jobs))
    return {"jobs": jobs}


def _enqueued(request: JobRequest) -> str:
    """Return the job of a request; under its key an earlier attempt may have enqueued it in other words."""
    try:
        return job_service.from_env().enqueue(request, ledger.SYSTEM).job.id
    except IdempotencyMismatch as error:
        return str(error.extra["job_id"])


def _push(lead: Lead, payload: NotifyLeadReply, context: Context) -> list[JobRequest]:
    url = _url(lead)
    notice = {"user_id": lead.worked_by, "title": TITLE, "data": {"lead_id": lead.id}}
    if url.startswith("https:"):
        notice |= {"url": url}
    later = payload.model_dump() | {"by": "mail"}
    return [
        JobRequest("send-push", notice, lead.owner_id, f"{context.idempotency_key}#push"),
        JobRequest(
            NOTIFY, later, tenant=lead.owner_id, key=f"{context.idempotency_key}#mail", run_at=payload.at + UNREAD_MS
        ),
    ]


def _mail(lead: Lead, context: Context) -> list[JobRequest]:
    try:
        with calling("cognito", cognito.TIMEOUT_S, context):
            address = cognito.email_of(lead.worked_by)
    except ProviderFailed as error:
        raise verdict(error) from error.__cause__ or error
    except NotConfigured:
        address = None
    if address is None:
        return []
    text = f"A lead replied and the message is unread.\n\n{_url(lead)}\n"
    key = f"lead-reply#{lead.id}#{lead.read_at or 0}"
    mail = {"to": address, "subject": TITLE, "text": text}
    return [JobRequest("send-email", mail, lead.owner_id, key)]


def _url(lead: Lead) -> str:
    return f"{variable('CONSOLE_URL')}/console/leads/{lead.id}"


JOB = JobType(
    queue="messages",
    payload=NotifyLeadReply,
    handler=notify_lead_reply,
    horizon_s=HOUR_S,
    cap_s=5 * MINUTE_S,
    internal=True,
)
