"""Messages to people: what providers report of them, whom nothing is sent to any more, and on which browsers."""

from __future__ import annotations

from adbot_queue.core.errors import BadSignature, Malformed, NotConfigured, NotFound, TooLarge, Unavailable
from adbot_queue.core.http import ADMINS, CUSTOMERS, PUBLIC, STAFF, Api, Request, Response
from adbot_queue.delivery import callbacks, delivery_schemas, messages, reception, schemas, service, suppressions
from adbot_queue.ledger import Actor
from adbot_queue.providers import sendgrid_webhook, web_push
from adbot_queue.push import schemas as push
from adbot_queue.push import subscriptions

MOST_BYTES = 4 * 1024 * 1024

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
    returns=schemas.MessageView,
    summary="How far a message came, by the provider's id or by its job's",
    raises=(NotFound,),
)
def show(request: Request[None]) -> schemas.MessageView:
    """Known for 30 days."""
    return schemas.MessageView.of(messages.from_env().delivery(request.path["id"]))


@api.post(
    "/webhooks/sendgrid",
    roles=PUBLIC,
    raw="application/json",
    limit=MOST_BYTES,
    returns=delivery_schemas.EventsReceived,
    summary="What SendGrid reports of mails, under its signature",
    raises=(BadSignature, Malformed, TooLarge, NotConfigured, Unavailable),
)
def sendgrid(request: Request[None]) -> delivery_schemas.EventsReceived:
    """200 means written down; anything else makes SendGrid send the batch again."""
    signature, timestamp = request.header(sendgrid_webhook.SIGNATURE), request.header(sendgrid_webhook.TIMESTAMP)
    return delivery_schemas.EventsReceived.model_validate(
        reception.from_env().sendgrid(request.raw, signature, timestamp)
    )


@api.get(
    "/deliveries/{job}",
    roles=STAFF,
    returns=delivery_schemas.DeliveryList,
    summary="The messages that a job sent, and what became of them",
)
def of_job(request: Request[None]) -> delivery_schemas.DeliveryList:
    """Empty until a provider took one."""
    found = service.from_env().of_job(request.path["job"])
    return delivery_schemas.DeliveryList(items=[delivery_schemas.DeliveryView.of(delivery) for delivery in found])


@api.get(
    "/suppressions",
    roles=STAFF,
    query=delivery_schemas.AddressQuery,
    returns=delivery_schemas.SuppressionList,
    summary="Look up for which messages an address is suppressed, and why",
    raises=(NotConfigured,),
)
def look_up(request: Request[None]) -> delivery_schemas.SuppressionList:
    """By the address: the list itself does not know it."""
    found = suppressions.from_env().entries(request.query.channel, request.query.address)
    return delivery_schemas.SuppressionList(items=[delivery_schemas.SuppressionView.of(entry) for entry in found])


@api.delete(
    "/suppressions/{id}",
    roles=ADMINS,
    query=delivery_schemas.LiftQuery,
    returns=delivery_schemas.SuppressionView,
    summary="Let an address be written to again; SendGrid's own list is apart from this one",
    raises=(NotFound,),
)
def lift(request: Request[None]) -> delivery_schemas.SuppressionView:
    """Doing it twice changes nothing."""
    lifted = suppressions.from_env().lift(request.path["id"], request.query.reason, Actor.behind(request))
    return delivery_schemas.SuppressionView.of(lifted)


@api.get(
    "/push/key",
    roles=STAFF | CUSTOMERS,
    returns=push.PushKey,
    summary="What a browser subscribes to notifications with",
    raises=(NotConfigured,),
)
def push_key(_request: Request[None]) -> push.PushKey:
    """With another key all subscriptions are worthless."""
    return push.PushKey(public_key=web_push.public_key())


@api.post(
    "/push/subscriptions",
    roles=STAFF | CUSTOMERS,
    body=push.BrowserBody,
    returns=push.SubscriptionView,
    status=201,
    summary="Have a browser of one's own notified",
)
def subscribe(request: Request[push.BrowserBody]) -> push.SubscriptionView:
    """The same browser again is the same subscription; of more than 20 the oldest goes."""
    return push.SubscriptionView.of(subscriptions.from_env().add(request.caller.id, request.body.browser()))


@api.delete(
    "/push/subscriptions/{id}",
    roles=STAFF | CUSTOMERS,
    returns=push.SubscriptionList,
    summary="Have a browser of one's own notified no more",
)
def unsubscribe(request: Request[None]) -> push.SubscriptionList:
    """Answers with those that are left. Doing it twice changes nothing."""
    known, user = subscriptions.from_env(), request.caller.id
    known.remove(user, request.path["id"])
    return push.SubscriptionList(items=[push.SubscriptionView.of(one) for one in known.of_user(user)])


handler = api.handler
