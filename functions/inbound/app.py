"""What Twilio posts about leads: messages of persons, and reports on ours."""

from __future__ import annotations

from adbot_queue.core.callers import PUBLIC
from adbot_queue.core.errors import BadSignature, Malformed, NotConfigured, TooLarge, Unavailable
from adbot_queue.core.http import Api, Request, Response
from adbot_queue.leads import inbound, inbound_messages, reports, sending
from adbot_queue.messaging.twilio_webhook import MAX_BYTES, signed_form

FORM = {"application/x-www-form-urlencoded": {"type": "object", "additionalProperties": {"type": "string"}}}
PATH = "/webhooks/twilio/inbound"
NO_ANSWER = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
"""TwiML: Twilio sends nothing back by itself."""

api = Api("Webhooks")


@api.post(
    PATH,
    roles=PUBLIC,
    raw=FORM,
    limit=MAX_BYTES,
    produces="text/xml",
    summary="Receive a message of a person from Twilio (signed)",
    raises=(BadSignature, Malformed, TooLarge, NotConfigured, Unavailable),
)
def receive_twilio_message(request: Request[None]) -> Response:
    """SMS or WhatsApp. A repeated message changes nothing."""
    form = signed_form(request.raw, request.query_string, request.domain, request.header("x-twilio-signature"), PATH)
    inbound.from_env().receive(inbound_messages.read(form))
    return Response(NO_ANSWER, headers={"content-type": "text/xml"})


@api.post(
    reports.PATH,
    roles=PUBLIC,
    raw=FORM,
    limit=MAX_BYTES,
    status=204,
    summary="Receive a report on a message to a lead from Twilio (signed)",
    raises=(BadSignature, Malformed, TooLarge, NotConfigured, Unavailable),
)
def receive_lead_report(request: Request[None]) -> Response:
    """A repeated or late report changes nothing."""
    signature = request.header("x-twilio-signature")
    reports.receive(sending.from_env(), request.raw, request.query_string, request.domain, signature)
    return Response(None)


handler = api.handler
