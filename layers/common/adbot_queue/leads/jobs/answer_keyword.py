"""`answer-keyword`: confirms a STOP, or answers a HELP, on WhatsApp. The opt-out does not end it: it is asked for."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from adbot_queue.core import telemetry
from adbot_queue.core.schema import Phone
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType
from adbot_queue.messaging.phone_messages import Text, callback_url, send_once
from adbot_queue.providers import twilio


class AnswerKeyword(BaseModel):
    """To whom, and the text."""

    to: Phone
    text: Text


def answer_keyword(payload: AnswerKeyword, context: Context) -> dict[str, Any]:
    """Send the answer.

    Returns:
        sid: Twilio's id of the message; `GET /messages/{sid}` says how far it came.

    Raises:
        As `phone_messages.send`.
    """
    message = twilio.Message(payload.to, payload.text, whatsapp=True, status_callback=callback_url(context))
    sent = send_once(message, context, even_if_opted_out=True)
    telemetry.count("KeywordsAnswered")
    return {"sid": sent.sid}


JOB = JobType(
    queue="messages",
    payload=AnswerKeyword,
    handler=answer_keyword,
    timeout_s=15,
    horizon_s=HOUR_S,
    cap_s=5 * MINUTE_S,
    needs=("twilio",),
    internal=True,
)
