"""POST /webhooks/stripe: verify, record once, hand over, answer fast."""

from __future__ import annotations

from adbot_queue.core.callers import PUBLIC
from adbot_queue.core.errors import BadSignature, Malformed, NotConfigured, TooLarge, Unavailable
from adbot_queue.core.http import Api, Request
from adbot_queue.payments import service, webhook_schemas

MAX_BYTES = 256 * 1024

api = Api("Webhooks")


@api.post(
    "/webhooks/stripe",
    roles=PUBLIC,
    raw={"application/json": {"type": "object"}},
    limit=MAX_BYTES,
    returns=webhook_schemas.StripeEventReceived,
    summary="Receive an event from Stripe (signed)",
    raises=(BadSignature, Malformed, TooLarge, NotConfigured, Unavailable),
)
def receive_stripe_event(request: Request[None]) -> webhook_schemas.StripeEventReceived:
    """200 means recorded; Stripe sends the event again after any other status."""
    receipt = service.from_env().receive(request.raw, request.header("stripe-signature"))
    return webhook_schemas.StripeEventReceived.model_validate(receipt, from_attributes=True)


handler = api.handler
