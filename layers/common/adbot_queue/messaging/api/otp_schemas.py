"""HTTP models of one-time codes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Phone, View
from adbot_queue.messaging.otp_service import RESEND_S, Asked

Purpose = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$", description="1 to 32 of a-z, 0-9 and -, a letter first")
]


class SendOtp(Input):
    """Phone and purpose of a code: `login`, `confirm-payout`."""

    to: Phone
    purpose: Purpose


class VerifyOtp(SendOtp):
    """The code to verify."""

    code: str = Field(pattern=r"^[0-9]{6}$", description="six digits")


class OtpSent(View):
    """A code is on its way, sent by `job_id`; another can be requested after `resend_after_seconds`."""

    job_id: str
    expires_at: str
    resend_after_seconds: int

    @classmethod
    def of(cls, asked: Asked) -> OtpSent:
        """Return the view of a code that was sent."""
        return cls(job_id=asked.job, expires_at=iso(asked.ends_at), resend_after_seconds=RESEND_S)


class OtpVerified(View):
    """The code was right; it cannot be used again."""

    verified: bool = True
