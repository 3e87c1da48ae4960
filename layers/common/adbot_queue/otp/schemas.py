"""One-time passwords over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Phone, View
from adbot_queue.otp.service import RESEND_S, Asked

Purpose = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class AskOtp(Input):
    """Who gets a code, and what it is good for: `login`, `confirm-payout`."""

    to: Phone = Field(description="E.164: +4915112345678")
    purpose: Purpose


class VerifyOtp(AskOtp):
    """The code that came."""

    code: str = Field(pattern=r"^[0-9]{6}$")


class OtpAsked(View):
    """A code is on its way; another one may be asked for after so many seconds. `job` sends it."""

    job: str
    expires_at: str
    resend_after_seconds: int

    @classmethod
    def of(cls, asked: Asked) -> OtpAsked:
        """Of what was asked for."""
        return cls(job=asked.job, expires_at=iso(asked.ends_at), resend_after_seconds=RESEND_S)


class OtpVerified(View):
    """The code was right, and is used up."""

    verified: bool = True
