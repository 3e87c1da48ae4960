"""`send-lead-text`: free text that a person wrote to a lead, while WhatsApp's window is open."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import Cancelled, PermanentError
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType
from adbot_queue.leads import reports
from adbot_queue.leads import sending as being_sent
from adbot_queue.leads.messages import NOT_SENT, MessageKey
from adbot_queue.leads.model import Status
from adbot_queue.leads.sending import NO_LEAD, OPTED_OUT, Report
from adbot_queue.messaging import opt_outs
from adbot_queue.messaging.phone_messages import send_once
from adbot_queue.providers import twilio

WINDOW_CLOSED = "window_closed"


class SendLeadText(BaseModel):
    """Which message, and its text."""

    lead_id: str
    at: int
    text: str


def send_lead_text(payload: SendLeadText, context: Context) -> dict[str, Any]:
    """Send the text unless the window has closed or the person opted out meanwhile.

    Returns:
        sid: Twilio's id of the message; `GET /leads/{id}/messages` says how far it came.

    Raises:
        Cancelled: it is not sent. Others: as `phone_messages.send_once`.
    """
    sending = being_sent.from_env()
    key = MessageKey(payload.lead_id, payload.at, context.job_id)
    lead = sending.store.lead(payload.lead_id)
    reason = None
    if lead is None:
        reason = NO_LEAD
    elif lead.status is Status.OPTED_OUT or (lead.wa_id and opt_outs.is_stopped(lead.wa_id)):
        reason = OPTED_OUT
    elif (lead.window_until or 0) <= context.now():
        reason = WINDOW_CLOSED
    if lead is None or reason:
        sending.withhold(key, NOT_SENT)
        raise Cancelled(f"not sent: {reason}")
    message = twilio.Message(lead.phone, payload.text, whatsapp=True, status_callback=reports.address(key, None))
    try:
        sent = send_once(message, context)
    except PermanentError:
        sending.report(Report(key, None, "failed", ""))
        raise
    sending.report(Report(key, None, sent.status, sent.sid))
    return {"sid": sent.sid}


JOB = JobType(
    queue="messages",
    payload=SendLeadText,
    handler=send_lead_text,
    timeout_s=15,
    horizon_s=HOUR_S,
    cap_s=5 * MINUTE_S,
    needs=("twilio",),
    internal=True,
)
