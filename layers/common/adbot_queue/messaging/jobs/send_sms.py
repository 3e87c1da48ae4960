"""`send-sms`: one text to one phone through Twilio (`messaging.phone_messages`)."""

from __future__ import annotations

from typing import Any

from adbot_queue.core import telemetry
from adbot_queue.core.schema import Input, Phone
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType
from adbot_queue.messaging import segments
from adbot_queue.messaging.phone_messages import Text, callback_url, send_once
from adbot_queue.providers import twilio


class SendSms(Input):
    """A text to a phone. The sender is the installation's."""

    to: Phone
    text: Text


def send_sms(payload: SendSms, context: Context) -> dict[str, Any]:
    """Send the text.

    Returns:
        sid: Twilio's id of the message; status: as Twilio took it, `GET /messages/{sid}` tells how far it came;
        encoding and segments: what is paid for.

    Raises:
        PermanentError: refused for what was asked. TransientError: Twilio is busy or was not reached.
        NotConfigured, Unavailable: as `twilio.send`.
    """
    size = segments.count(payload.text)
    sent = send_once(twilio.Message(payload.to, payload.text, status_callback=callback_url(context)), context)
    telemetry.count("SmsSegments", size.number)
    return {"sid": sent.sid, "status": sent.status, "encoding": size.encoding, "segments": size.number}


JOB = JobType(
    queue="messages",
    payload=SendSms,
    handler=send_sms,
    timeout_s=15,
    horizon_s=HOUR_S,
    cap_s=5 * MINUTE_S,
    needs=("twilio",),
    example={"to": "+4915112345678", "text": "Your order is on its way."},
)
