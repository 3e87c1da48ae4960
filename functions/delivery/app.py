"""Messages: delivery reports of providers, suppressions, browsers that get notifications."""

from __future__ import annotations

from adbot_queue.core.callers import ADMINS, CUSTOMERS, PUBLIC, SALES, STAFF
from adbot_queue.core.errors import BadSignature, Malformed, NotConfigured, NotFound, TooLarge, Unavailable
from adbot_queue.core.http import LARGE_BODY, Api, Request, Response
from adbot_queue.ledger import Actor
from adbot_queue.messaging import push_subscriptions as subscriptions
from adbot_queue.messaging import sendgrid_webhook as reception
from adbot_queue.messaging import sent_messages as messages
from adbot_queue.messaging import service, suppressions
from adbot_queue.messaging import twilio_webhook as callbacks
from adbot_queue.messaging.api import delivery_schemas
from adbot_queue.messaging.api import message_schemas as schemas
from adbot_queue.messaging.api import push_schemas as push
from adbot_queue.providers import sendgrid_webhook, web_push

api = Api("Messages")


@api.post(
    callbacks.PATH,
    roles=PUBLIC,
    raw={"application/x-www-form-urlencoded": {"type": "object", "additionalProperties": {"type": "string"}}},
    limit=callbacks.MAX_BYTES,
    status=204,
    summary="Receive a delivery report from Twilio (signed)",
    tag="Webhooks",
    raises=(BadSignature, Malformed, TooLarge, NotConfigured, Unavailable),
)
def receive_twilio_report(request: Request[None]) -> Response:
    """A repeated or late report changes nothing."""
    callbacks.receive(request.raw, request.query_string, request.domain, request.header("x-twilio-signature"))
    return Response(None)


@api.get(
    "/messages/{id}",
    roles=STAFF,
    returns=schemas.MessageView,
    summary="Get the delivery state of a text message",
    raises=(NotFound,),
)
def get_message(request: Request[None]) -> schemas.MessageView:
    """By the id of the provider or of the job. Kept for 30 days."""
    return schemas.MessageView.model_validate(messages.from_env().delivery(request.path["id"]))


@api.post(
    "/webhooks/sendgrid",
    roles=PUBLIC,
    raw={"application/json": {"type": "array", "items": {"type": "object"}}},
    limit=LARGE_BODY,
    returns=delivery_schemas.EventsReceived,
    summary="Receive mail events from SendGrid (signed)",
    tag="Webhooks",
    raises=(BadSignature, Malformed, TooLarge, NotConfigured, Unavailable),
)
def receive_sendgrid_events(request: Request[None]) -> delivery_schemas.EventsReceived:
    """200 means recorded; SendGrid sends the batch again after any other status."""
    signature, timestamp = request.header(sendgrid_webhook.SIGNATURE), request.header(sendgrid_webhook.TIMESTAMP)
    return delivery_schemas.EventsReceived.model_validate(
        reception.from_env().sendgrid(request.raw, signature, timestamp)
    )


@api.get(
    "/deliveries/{job_id}",
    roles=STAFF,
    returns=delivery_schemas.DeliveryPage,
    summary="List the messages that a job sent",
)
def list_deliveries(request: Request[None]) -> delivery_schemas.DeliveryPage:
    """Empty until a provider accepts one."""
    found = service.from_env().of_job(request.path["job_id"])
    return delivery_schemas.DeliveryPage(
        items=[delivery_schemas.DeliveryView.model_validate(delivery) for delivery in found]
    )


@api.get(
    "/suppressions",
    roles=STAFF,
    query=delivery_schemas.SuppressionsQuery,
    returns=delivery_schemas.SuppressionPage,
    summary="List the suppressions of an address",
    raises=(NotConfigured,),
)
def list_suppressions(request: Request[None]) -> delivery_schemas.SuppressionPage:
    """An entry can only be found by its address: the list stores a keyed hash of it."""
    found = suppressions.from_env().entries(request.query.channel, request.query.address)
    return delivery_schemas.SuppressionPage(
        items=[delivery_schemas.SuppressionView.model_validate(entry) for entry in found]
    )


@api.delete(
    "/suppressions/{id}",
    roles=ADMINS,
    query=delivery_schemas.RemoveSuppressionQuery,
    returns=delivery_schemas.SuppressionView,
    summary="Remove a suppression (SendGrid keeps a list of its own)",
    raises=(NotFound,),
)
def remove_suppression(request: Request[None]) -> delivery_schemas.SuppressionView:
    """Removing it twice changes nothing."""
    lifted = suppressions.from_env().remove(request.path["id"], request.query.reason, Actor.behind(request))
    return delivery_schemas.SuppressionView.model_validate(lifted)


@api.get(
    "/push/key",
    roles=STAFF | CUSTOMERS | SALES,
    returns=push.PushKey,
    summary="Get the public key that browsers subscribe with",
    tag="Push notifications",
    raises=(NotConfigured,),
)
def get_push_key(_request: Request[None]) -> push.PushKey:
    """A new key makes all existing subscriptions useless."""
    return push.PushKey(public_key=web_push.public_key())


@api.post(
    "/push/subscriptions",
    roles=STAFF | CUSTOMERS | SALES,
    body=push.PushSubscriptionBody,
    returns=push.PushSubscriptionView,
    status=201,
    summary="Subscribe a browser",
    tag="Push notifications",
)
def subscribe_browser(request: Request[push.PushSubscriptionBody]) -> push.PushSubscriptionView:
    """The same browser keeps its subscription. Of more than 20 the oldest is removed."""
    return push.PushSubscriptionView.model_validate(
        subscriptions.from_env().add(request.caller.id, request.body.browser())
    )


@api.delete(
    "/push/subscriptions/{id}",
    roles=STAFF | CUSTOMERS | SALES,
    returns=push.PushSubscriptionPage,
    summary="Unsubscribe a browser",
    tag="Push notifications",
)
def unsubscribe_browser(request: Request[None]) -> push.PushSubscriptionPage:
    """Returns the remaining subscriptions. Unsubscribing twice changes nothing."""
    known, user = subscriptions.from_env(), request.caller.id
    known.remove(user, request.path["id"])
    return push.PushSubscriptionPage(
        items=[push.PushSubscriptionView.model_validate(one) for one in known.of_user(user)]
    )


handler = api.handler
