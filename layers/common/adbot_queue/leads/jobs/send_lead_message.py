"""`send-lead-message`: the template of one entry of a day's queue, once at most.

The entry is claimed in one transaction right before Twilio is called. A take, a stop or an opt-out before that prevents
the message; after it no attempt sends again. An outcome that is unknown is `unsure`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from adbot_queue.core import telemetry
from adbot_queue.core.dynamodb import TransactionConflict, TransactionRejected
from adbot_queue.core.errors import NotConfigured, ProviderFailed, Unavailable
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import Cancelled, PermanentError, Snooze
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType
from adbot_queue.jobs.provider_call import calling, verdict
from adbot_queue.leads import reports
from adbot_queue.leads import sending as being_sent
from adbot_queue.leads.model import EntryKey, EntryState
from adbot_queue.leads.sending import Claimed, NotSent, Sending
from adbot_queue.leads.store import Case
from adbot_queue.messaging import opt_outs
from adbot_queue.providers import twilio

AGAIN_S = 1.0
"""When a claim that met another change is tried again."""

_HAS_IT = {EntryState.SENDING, EntryState.SENT, EntryState.DELIVERED, EntryState.READ}


class SendLeadMessage(BaseModel):
    """Which entry; as `EntryKey`."""

    owner_id: str
    date: str
    place: int
    lead_id: str

    def key(self) -> EntryKey:
        """Return the entry's key."""
        return EntryKey(self.owner_id, self.date, self.place, self.lead_id)


def send_lead_message(payload: SendLeadMessage, context: Context) -> dict[str, Any]:
    """Send the message unless something speaks against it now.

    Returns:
        sid: Twilio's id of the message; the entry and `GET /leads/{id}/messages` say how far it came.

    Raises:
        Cancelled: taken, replied, opted out, stopped, out of the window.
        PermanentError: refused, or it is unknown whether Twilio has it. TransientError: Twilio certainly has it not.
        Snooze, NotConfigured, Unavailable: as `calling`.
    """
    sending = being_sent.from_env()
    try:
        case = sending.look(payload.key(), context.job_id)
        lead = case.lead
        if lead and any(opt_outs.is_stopped(address) for address in (lead.phone, lead.wa_id) if address):
            sending.opted_out(case)
        sent = _send(sending, case, context)
    except NotSent as not_sent:
        entry = not_sent.entry
        if entry and entry.job_id == context.job_id and entry.sid and entry.state in _HAS_IT:
            return {"sid": entry.sid}  # an earlier attempt has sent it and died
        raise Cancelled(f"not sent: {not_sent.reason}") from None
    except ProviderFailed as error:
        if error.extra.get("uncertain"):
            raise PermanentError(f"it is not known whether Twilio has the message: {error.detail}") from error
        raise verdict(error) from error.__cause__ or error
    telemetry.count("WhatsAppsSent")
    return {"sid": sent.sid}


def _send(sending: Sending, case: Case, context: Context) -> twilio.Sent:
    """Claim the entry, call Twilio, and write what became of it."""
    with calling("twilio", twilio.TIMEOUT_S, context, "whatsapp") as seconds:
        try:
            claimed = sending.claim(case, context.job_id)
        except (TransactionRejected, TransactionConflict):
            raise Snooze("the lead has just changed", AGAIN_S) from None
        try:
            sent = twilio.send(_message(claimed), seconds)
        except (NotConfigured, Unavailable):
            sending.give_back(claimed)
            raise
        except ProviderFailed as error:
            _settle(sending, claimed, error)
            raise
    sending.taken(claimed, sent.sid, sent.status)
    return sent


def _settle(sending: Sending, claimed: Claimed, error: ProviderFailed) -> None:
    """Write what a failed call means for the entry."""
    if error.extra.get("uncertain"):
        sending.lost(claimed)
    elif error.extra.get("retryable"):
        sending.not_taken(claimed, error.extra.get("code"))
    else:
        sending.refused(claimed, error.extra.get("code"))


def _message(claimed: Claimed) -> twilio.Message:
    return twilio.Message(
        claimed.lead.phone,
        content_sid=claimed.entry.content_sid,
        content_variables=claimed.entry.variables,
        whatsapp=True,
        status_callback=reports.address(claimed.message, claimed.entry.key),
    )


JOB = JobType(
    queue="messages",
    payload=SendLeadMessage,
    handler=send_lead_message,
    timeout_s=15,
    horizon_s=HOUR_S,
    cap_s=5 * MINUTE_S,
    needs=("twilio",),
    internal=True,
)
