"""`send-otp`: one code to one phone. The job knows neither: it names the code's item, and the code is drawn here.

Each attempt draws a new code, so a message whose answer was lost is followed by another one, and the last one counts.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from adbot_queue.core import telemetry
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.job_types import MINUTE_S, JobType
from adbot_queue.messaging import otp_codes as codes
from adbot_queue.messaging import segments
from adbot_queue.messaging import twilio_webhook as callbacks
from adbot_queue.messaging.phone_messages import send
from adbot_queue.providers import twilio

TEXT = "Your AdBot Queue code is {code}. It is good for {minutes} min. Do not share it."


class SendOtp(Input):
    """Which code, and which asking for it."""

    otp: str = Field(min_length=1, max_length=64)
    issue: str = Field(min_length=1, max_length=64)


def send_otp(payload: SendOtp, context: Context) -> dict[str, Any]:
    """Draw the code and send it.

    Returns:
        sid, status, segments: as `send_sms`; or skipped: why there was nothing to send.

    Raises:
        PermanentError: refused for what was asked, or its five minutes are over.
        TransientError: Twilio is busy or was not reached.
        NotConfigured, Unavailable: as `twilio.send`, `codes.pepper`.
    """
    try:
        armed = codes.from_env().arm(payload.otp, payload.issue)
    except codes.Superseded:
        return {"skipped": "the code was used, or a newer one was asked for"}
    except codes.TooLate as error:
        raise PermanentError("the code's time was over before it could be sent") from error
    text = TEXT.format(code=armed.code, minutes=-(-armed.seconds // 60))
    message = twilio.Message(
        armed.recipient,
        text,
        status_callback=callbacks.address(context.job_id, context.idempotency_key),
        valid_s=armed.seconds,
    )
    sent = send(message, context)
    size = segments.count(text)
    telemetry.count("OtpsSent")
    telemetry.count("SmsSegments", size.number)
    return {"sid": sent.sid, "status": sent.status, "segments": size.number}


JOB = JobType(
    queue="codes",
    payload=SendOtp,
    handler=send_otp,
    timeout_s=15,
    horizon_s=5 * MINUTE_S,
    cap_s=30,
    internal=True,
    needs=("twilio",),
)
