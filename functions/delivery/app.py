"""Messages to people: what providers report of them, whom nothing is sent to any more, and on which browsers."""

from __future__ import annotations

from adbot_queue.core.errors import BadSignature, Malformed, NotConfigured, NotFound, TooLarge, Unavailable
from adbot_queue.core.http import ADMINS, CUSTOMERS, PUBLIC, STAFF, Api, Request
from adbot_queue.delivery import delivery_schemas as schemas
from adbot_queue.delivery import reception, service, suppressions
from adbot_queue.ledger import Actor
from adbot_queue.providers import sendgrid_webhook, web_push
from adbot_queue.push import schemas as push
from adbot_queue.push import subscriptions

MOST_BYTES = 4 * 1024 * 1024

api = Api()


@api.post(
    "/webhooks/sendgrid",
    roles=PUBLIC,
    raw="application/json",
    limit=MOST_BYTES,
    returns=schemas.Received,
    summary="What SendGrid reports of mails, under its signature",
    raises=(BadSignature, Malformed, TooLarge, NotConfigured, Unavailable),
)
def sendgrid(request: Request[None]) -> schemas.Received:
    """200 means written down; anything else makes SendGrid send the batch again."""
    signature, timestamp = request.header(sendgrid_webhook.SIGNATURE), request.header(sendgrid_webhook.TIMESTAMP)
    return schemas.Received.model_validate(reception.from_env().sendgrid(request.raw, signature, timestamp))


@api.get(
    "/deliveries/{job}",
    roles=STAFF,
    returns=schemas.DeliveryList,
    summary="The messages that a job sent, and what became of them",
)
def of_job(request: Request[None]) -> schemas.DeliveryList:
    """Empty until a provider took one."""
    found = service.from_env().of_job(request.path["job"])
    return schemas.DeliveryList(items=[schemas.DeliveryView.of(delivery) for delivery in found])


@api.get(
    "/suppressions",
    roles=STAFF,
    query=schemas.AddressQuery,
    returns=schemas.SuppressionList,
    summary="Whether, and why, nothing is sent to an address",
    raises=(NotConfigured,),
)
def look_up(request: Request[None]) -> schemas.SuppressionList:
    """By the address: the list itself does not know it."""
    found = suppressions.from_env().look_up(request.query.channel, request.query.address)
    return schemas.SuppressionList(items=[schemas.SuppressionView.of(found)] if found else [])


@api.delete(
    "/suppressions/{id}",
    roles=ADMINS,
    query=schemas.LiftQuery,
    returns=schemas.SuppressionView,
    summary="Let an address be written to again; SendGrid's own list is apart from this one",
    raises=(NotFound,),
)
def lift(request: Request[None]) -> schemas.SuppressionView:
    """Doing it twice changes nothing."""
    lifted = suppressions.from_env().lift(request.path["id"], request.query.reason, Actor.behind(request))
    return schemas.SuppressionView.of(lifted)


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
