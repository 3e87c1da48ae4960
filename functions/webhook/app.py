"""POST /webhooks/stripe: verify, record once, hand over, answer fast."""

from __future__ import annotations

from adbot_queue.core.errors import BadSignature, Malformed, NotConfigured, TooLarge, Unavailable
from adbot_queue.core.http import PUBLIC, Api, Request
from adbot_queue.payments import service, webhook_schemas

MOST_BYTES = 256 * 1024

api = Api()


@api.post(
    "/webhooks/stripe",
    roles=PUBLIC,
    raw="application/json",
    limit=MOST_BYTES,
    returns=webhook_schemas.Received,
    summary="What Stripe reports, under its signature",
    raises=(BadSignature, Malformed, TooLarge, NotConfigured, Unavailable),
)
def stripe(request: Request[None]) -> webhook_schemas.Received:
    """200 means recorded; anything else makes Stripe send it again."""
    receipt = service.from_env().receive(request.raw, request.header("stripe-signature"))
    return webhook_schemas.Received.model_validate(receipt, from_attributes=True)


handler = api.handler
