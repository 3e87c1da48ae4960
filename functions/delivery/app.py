"""What providers report of messages: POST /webhooks/twilio, GET /messages/{id}."""

from __future__ import annotations

from adbot_queue.core.errors import BadSignature, Malformed, NotConfigured, NotFound, TooLarge, Unavailable
from adbot_queue.core.http import PUBLIC, STAFF, Api, Request, Response
from adbot_queue.delivery import callbacks, messages, schemas

api = Api()


@api.post(
    callbacks.PATH,
    roles=PUBLIC,
    raw="application/x-www-form-urlencoded",
    limit=callbacks.MOST_BYTES,
    status=204,
    summary="How far a message came, as Twilio reports it under its signature",
    raises=(BadSignature, Malformed, TooLarge, NotConfigured, Unavailable),
)
def twilio(request: Request[None]) -> Response:
    """What comes twice or too late changes nothing."""
    callbacks.receive(request.raw, request.query_string, request.domain, request.header("x-twilio-signature"))
    return Response(None)


@api.get(
    "/messages/{id}",
    roles=STAFF,
    returns=schemas.DeliveryView,
    summary="How far a message came, by the provider's id or by its job's",
    raises=(NotFound,),
)
def show(request: Request[None]) -> schemas.DeliveryView:
    """Known for 30 days."""
    return schemas.DeliveryView.of(messages.from_env().delivery(request.path["id"]))


handler = api.handler
