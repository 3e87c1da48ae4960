"""One-time passwords: ask for one, show that one has it."""

from __future__ import annotations

from adbot_queue.core.errors import Invalid, NotConfigured, RateLimited, Unavailable
from adbot_queue.core.http import ADMINS, CUSTOMERS, Api, Request
from adbot_queue.otp import schemas, service

api = Api()


@api.post(
    "/otp",
    roles=ADMINS | CUSTOMERS,
    body=schemas.AskOtp,
    returns=schemas.OtpAsked,
    status=202,
    summary="Send a code of six digits to a phone: good once, for 5 minutes, with 5 tries",
    raises=(Invalid, RateLimited, NotConfigured, Unavailable),
)
def ask(request: Request[schemas.AskOtp]) -> schemas.OtpAsked:
    """A code that was sent before for the same purpose is worthless. The limits stand in `otp.service`."""
    body = request.body
    asked = service.from_env().ask(request.caller, body.purpose, body.to, request.time_left)
    return schemas.OtpAsked.of(asked)


@api.post(
    "/otp/verify",
    roles=ADMINS | CUSTOMERS,
    body=schemas.VerifyOtp,
    returns=schemas.OtpVerified,
    summary="Use a code up; 422 when it is wrong, used or too old",
    raises=(Invalid, NotConfigured, Unavailable),
)
def verify(request: Request[schemas.VerifyOtp]) -> schemas.OtpVerified:
    """Only who asked for a code can use it; those of staff are one another's."""
    body = request.body
    service.from_env().verify(request.caller, body.purpose, body.to, body.code)
    return schemas.OtpVerified()


handler = api.handler
