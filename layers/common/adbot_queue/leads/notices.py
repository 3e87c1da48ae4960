"""Jobs that a message of a person begins, each written in the transaction that writes the message."""

from __future__ import annotations

from adbot_queue.core.ids import derived_id
from adbot_queue.core.settings import variable
from adbot_queue.jobs.model import Job
from adbot_queue.leads.inbound_messages import WHATSAPP, Inbound
from adbot_queue.leads.model import Lead
from adbot_queue.messaging.opt_outs import Wish

NOTIFY, ANSWER = "notify-lead-reply", "answer-keyword"
HOUR_MS = 3_600_000
QUEUE = "messages"
"""The queue of both types; a test compares. Looking a type up imports what sends it."""

_TEXTS = {Wish.STOP: "OPT_OUT_REPLY", Wish.HELP: "HELP_REPLY"}
"""Setting of the answer to each; START has none."""


def notice(lead: Lead, message: Inbound, at: int, now: int) -> Job:
    """Return the job that notifies the user who works a lead of a message."""
    job_id = derived_id("note_", lead.id, message.sid)
    payload = {"lead_id": lead.id, "at": at, "ref": message.sid}
    return Job(job_id, NOTIFY, QUEUE, payload, now, tenant=lead.owner_id).waiting(now)


def answer(message: Inbound, at: int, now: int) -> Job | None:
    """Return the job that answers a STOP or a HELP on WhatsApp, where Twilio answers by itself only in part.

    A person's STOP opens WhatsApp's window as any message does, so the answer is free text. One HELP an hour is
    answered: two machines must not talk to each other.

    Returns:
        None: the message asks for neither, Twilio answers it, the person hides the phone, or the answer is empty.
    """
    setting = _TEXTS.get(message.wish) if message.wish else None
    if setting is None or message.phone is None or message.channel != WHATSAPP or message.is_answered:
        return None
    text = variable(setting).strip()
    if not text:
        return None
    once = (message.sid,) if message.wish is Wish.STOP else (message.phone, str(at // HOUR_MS))
    payload = {"to": message.phone, "text": text}
    return Job(derived_id("ans_", str(message.wish), *once), ANSWER, QUEUE, payload, now, tenant="system").waiting(now)
