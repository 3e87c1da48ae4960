"""`send-push`: a notification on a user's browsers, or on one.

A job for a user enqueues a job for each of the user's browsers, under its own key: each has its attempts and outcome,
and no browser is notified again because another failed. A browser that is gone is removed.

Push services have no idempotency keys: an attempt that dies between their answer and its own end sends again. The job's
key goes along as topic, by which a push service replaces what it has not delivered, and as tag, by which a browser
replaces what it shows; so a duplicate is seen once, unless the first was closed already.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http import HTTPStatus
from typing import Annotated, Any, Literal, Self

from pydantic import Field, HttpUrl, UrlConstraints, model_validator

from adbot_queue.core import outbound, telemetry
from adbot_queue.core.errors import AccountRefused, Reach
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError, Throttled, TransientError
from adbot_queue.jobs.job_types import HOUR_S, MINUTE_S, JobType
from adbot_queue.jobs.provider_call import calling
from adbot_queue.messaging import push_subscriptions as subscriptions
from adbot_queue.messaging.api.push_schemas import PushSubscriptionBody
from adbot_queue.messaging.push_subscriptions import Subscription
from adbot_queue.providers import web_push
from adbot_queue.providers.waiting import retry_after
from adbot_queue.providers.web_push import Browser

MAX_TOPIC = 32
"""Characters: RFC 8030, section 5.4."""

MAX_TTL_S = 28 * 86_400
"""Push services keep nothing longer: https://firebase.google.com/docs/cloud-messaging/customize-messages/setting-message-lifespan"""

Id = Annotated[str, Field(min_length=1, max_length=128)]
Link = Annotated[HttpUrl, UrlConstraints(max_length=1000, allowed_schemes=["https"])]

_COME_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}
_THROTTLES = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.NOT_ACCEPTABLE}
"""406 is what Windows' service throttles by:
https://learn.microsoft.com/windows/apps/design/shell/tiles-and-notifications/push-request-response-headers"""

_CLOSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_OLD_KEY = re.compile(rb"do not correspond|mismatch", re.IGNORECASE)
"""How Google's and Mozilla's services say that a subscription was made with another key than ours, and Apple's
(VapidPkHashMismatch): it concerns that browser alone."""

_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}


class SendPush(Input):
    """A notification for all browsers of a user, for one of them, or for a given subscription."""

    user_id: Id | None = None
    subscription_id: Id | None = Field(default=None, description="one of the user's")
    subscription: PushSubscriptionBody | None = None
    title: str = Field(min_length=1, max_length=200)
    body: str = Field(default="", max_length=2000)
    url: Link | None = Field(default=None, description="what a click opens")
    data: dict[str, Any] = Field(default_factory=dict, description="whatever else the page's service worker wants")
    ttl_seconds: int = Field(default=86_400, ge=0, le=MAX_TTL_S)
    urgency: Literal["very-low", "low", "normal", "high"] = "normal"
    topic: str | None = Field(
        default=None,
        pattern=rf"^[A-Za-z0-9_-]{{1,{MAX_TOPIC}}}$",
        description=f"1 to {MAX_TOPIC} of A-Z, a-z, 0-9, - and _",
    )

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if (self.user_id is None) is (self.subscription is None):
            raise ValueError("either user_id or subscription is needed")
        if self.subscription_id is not None and self.user_id is None:
            raise ValueError("subscription_id needs its user_id")
        if (size := len(self.message("x" * MAX_TOPIC))) > web_push.MAX_BYTES:
            raise ValueError(f"the notification has {size} bytes as JSON, the limit is {web_push.MAX_BYTES}")
        return self

    def message(self, tag: str) -> bytes:
        """What the page's service worker gets."""
        said = {
            "title": self.title,
            "body": self.body,
            "tag": tag,
            "data": {**self.data, **({"url": str(self.url)} if self.url else {})},
        }
        return json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()


def send_push(payload: SendPush, context: Context) -> dict[str, Any]:
    """Send it.

    Returns:
        For a user: jobs, subscription -> the job that sends to it. For one browser: status, what its push service
        answered, and service, that one's host.

    Raises:
        PermanentError: the browser is gone, its address or keys are none, or its push service refused. TransientError:
            that one fails or was not reached. Throttled, ProviderClosed: it takes no more for now, or not with our key.
        NotConfigured, Unavailable: as `web_push.send`.
    """
    if payload.subscription:
        return _send(payload, payload.subscription.browser(), context)
    if payload.subscription_id is None:
        return _spread(payload, context)
    user, known = str(payload.user_id), subscriptions.from_env()
    found = known.get(user, payload.subscription_id)
    if found is None:
        raise PermanentError("the subscription is gone")
    try:
        return _send(payload, found.browser, context)
    except _Gone:
        known.remove(user, found.id)
        raise


def _spread(payload: SendPush, context: Context) -> dict[str, Any]:
    """A job for each browser. Repeated by another attempt it finds those that it made."""
    from adbot_queue import ledger  # noqa: PLC0415
    from adbot_queue.jobs import service  # noqa: PLC0415  the service knows the processors

    found = subscriptions.from_env().of_user(str(payload.user_id))
    news = [_one(payload, subscription, context, service.JobRequest) for subscription in found]
    outcomes = service.from_env().enqueue_many(news, ledger.SYSTEM) if news else []
    made = [
        outcome.job.id if isinstance(outcome, service.Enqueued) else outcome.extra.get("job_id") for outcome in outcomes
    ]
    return {"jobs": {subscription.id: job for subscription, job in zip(found, made, strict=True)}}


def _one(payload: SendPush, subscription: Subscription, context: Context, new: Any) -> Any:
    topic = payload.topic or _topic(context)  # of all of them: to a user it is one notification
    child = payload.model_dump(mode="json", exclude_unset=True) | {"subscription_id": subscription.id, "topic": topic}
    return new("send-push", child, key=f"{context.idempotency_key}#{subscription.id}")


class _Gone(PermanentError):
    """The browser has unsubscribed, or its subscription has expired."""


def _send(payload: SendPush, browser: Browser, context: Context) -> dict[str, Any]:
    topic = payload.topic or _topic(context)
    headers = {"ttl": str(payload.ttl_seconds), "urgency": payload.urgency, "topic": topic}
    try:
        host = outbound.from_env().place(browser.endpoint).host
        # By host: each is another operator's, and one outage must not stop the others.
        with calling("web-push", web_push.TIMEOUT_S, context, host) as seconds:
            status = _post(browser, payload.message(topic), headers, seconds, context)
    except outbound.BadAddress as error:
        raise PermanentError(f"the subscription's address {error}") from error
    except web_push.BadKey as error:
        raise PermanentError("the subscription's key is none") from error
    telemetry.count("PushesSent")
    return {"status": status, "service": host}


def _post(browser: Browser, message: bytes, headers: dict[str, str], seconds: float, context: Context) -> int:
    """Post to the push service: the status by which it took the message."""
    try:
        answer = web_push.send(browser, message, headers, seconds, context.now)
    except outbound.Unreachable as error:
        raise TransientError(f"the push service could not be reached: {error}") from error
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return status
    if status in _GONE:
        telemetry.count("PushSubscriptionsGone")
        raise _Gone(f"the subscription is gone (HTTP {status})")
    asked = retry_after(answer.headers, context.now)
    if status in _THROTTLES:
        raise Throttled(f"the push service answered HTTP {status}", asked, Reach.PART)
    if status in _CLOSED and not _OLD_KEY.search(answer.body):
        raise AccountRefused(
            f"the push service does not accept the key in the secret that WebPushSecretArn names (HTTP {status})",
            Reach.PART,
        )
    if status in _COME_AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransientError(f"the push service answered HTTP {status}", asked)
    raise PermanentError(f"the push service refused it (HTTP {status})")


def _topic(context: Context) -> str:
    digest = hashlib.sha256(context.idempotency_key.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:MAX_TOPIC]


JOB = JobType(
    queue="messages",
    payload=SendPush,
    handler=send_push,
    timeout_s=15,
    horizon_s=HOUR_S,
    cap_s=5 * MINUTE_S,
    needs=("web-push",),
    example={"user_id": "cara", "title": "Your bot is ready"},
)
