"""One-time passwords: ask for one, show that one has it."""

from __future__ import annotations

from adbot_queue.core.callers import ADMINS, CUSTOMERS
from adbot_queue.core.errors import Invalid, NotConfigured, RateLimited, Unavailable
from adbot_queue.core.http import Api, Request
from adbot_queue.messaging import otp_service as service
from adbot_queue.messaging.api import otp_schemas as schemas

api = Api("One-time codes")


@api.post(
    "/otp",
    roles=ADMINS | CUSTOMERS,
    body=schemas.SendOtp,
    returns=schemas.OtpSent,
    status=202,
    summary="Send a one-time code to a phone (valid for 5 minutes, 5 tries)",
    raises=(Invalid, RateLimited, NotConfigured, Unavailable),
)
def send_otp(request: Request[schemas.SendOtp]) -> schemas.OtpSent:
    """Sending again for the same purpose invalidates the earlier code."""
    body = request.body
    asked = service.from_env().ask(request.caller, body.purpose, body.to, request.time_left)
    return schemas.OtpSent.of(asked)


@api.post(
    "/otp/verify",
    roles=ADMINS | CUSTOMERS,
    body=schemas.VerifyOtp,
    returns=schemas.OtpVerified,
    summary="Verify a code (single use)",
    raises=(Invalid, NotConfigured, Unavailable),
)
def verify_otp(request: Request[schemas.VerifyOtp]) -> schemas.OtpVerified:
    """422 if the code is wrong, used or expired. It is valid for the caller who requested it; staff share theirs."""
    body = request.body
    service.from_env().verify(request.caller, body.purpose, body.to, body.code)
    return schemas.OtpVerified()


handler = api.handler
