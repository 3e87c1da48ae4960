"""HTTP models of push subscriptions; jobs name a browser with the same body."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from adbot_queue.core import outbound
from adbot_queue.core.schema import Input, Moment, View
from adbot_queue.providers.web_push import AUTH, POINT, Browser, decode


def _bytes(text: str, length: int) -> bytes:
    try:
        found = decode(text)
    except ValueError:
        found = b""
    if len(found) != length:
        raise ValueError(f"must be {length} bytes, base64url")
    return found


def _point(text: str) -> str:
    if _bytes(text, POINT)[0] != 4:  # noqa: PLR2004  uncompressed
        raise ValueError("must be an uncompressed point")
    return text


def _secret(text: str) -> str:
    _bytes(text, AUTH)
    return text


def _endpoint(url: str) -> str:
    try:
        outbound.from_env().place(url)
    except outbound.BadAddress as error:
        raise ValueError(str(error)) from error
    return url


class PushKeys(Input):
    """Keys of a browser that messages to it are encrypted with."""

    p256dh: Annotated[str, Field(max_length=100), AfterValidator(_point)]
    auth: Annotated[str, Field(max_length=40), AfterValidator(_secret)]


class PushSubscriptionBody(Input):
    """The `PushSubscription` of a browser, as its `toJSON()` returns it."""

    endpoint: Annotated[str, Field(min_length=1, max_length=outbound.MAX_URL), AfterValidator(_endpoint)]
    keys: PushKeys
    expires: float | None = Field(default=None, alias="expirationTime", exclude=True)

    def browser(self) -> Browser:
        """Return the browser."""
        return Browser(self.endpoint, decode(self.keys.p256dh), decode(self.keys.auth))


class PushSubscriptionView(View):
    """A subscribed browser. Its address and keys are not shown: they are all it takes to send to it."""

    subscription_id: str = Field(validation_alias="id")
    created_at: Moment


class PushSubscriptionPage(View):
    """The browsers of a user, newest first."""

    items: list[PushSubscriptionView]


class PushKey(View):
    """Public key that a browser subscribes with: `applicationServerKey`."""

    public_key: str
