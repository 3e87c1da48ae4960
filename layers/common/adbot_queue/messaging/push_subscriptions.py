"""Push subscriptions in the System table: the browsers on which a user wants notifications.

    PUSH#<user>   <id>   endpoint, p256dh, auth, created_at

The id is made of user and endpoint, so that a browser has one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from adbot_queue.core import attribute_values, aws, dynamodb
from adbot_queue.core.dynamodb import Item, Table
from adbot_queue.core.ids import derived_id
from adbot_queue.core.settings import settings
from adbot_queue.providers.web_push import Browser

MAX_SUBSCRIPTIONS = 20
"""Browsers of a user; one more takes the place of the oldest."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Subscription:
    """A user's browser."""

    id: str
    browser: Browser
    created_at: int


class Subscriptions(Table):
    """Reads and writes them."""

    def add(self, user: str, browser: Browser) -> Subscription:
        """Subscribe a browser; a repeated call renews its keys and its place."""
        added = Subscription(derived_id("sub_", user, browser.endpoint), browser, self.now())
        item: Item = {
            **_key(user, added.id),
            "endpoint": browser.endpoint,
            "p256dh": browser.p256dh.hex(),
            "auth": browser.auth.hex(),
            "created_at": added.created_at,
        }
        self.client.put_item(TableName=self.table, Item=attribute_values.encode(item))
        for surplus in self.of_user(user)[MAX_SUBSCRIPTIONS:]:
            self.remove(user, surplus.id)
        return added

    def of_user(self, user: str) -> list[Subscription]:
        """A user's, the newest first."""
        found = dynamodb.query(self.client, self.table, "pk = :pk", pk=_pk(user))
        return sorted(map(_subscription, found), key=lambda one: (one.created_at, one.id), reverse=True)

    def get(self, user: str, subscription_id: str) -> Subscription | None:
        """One of a user's, if it is there."""
        item = dynamodb.get(self.client, self.table, _key(user, subscription_id))
        return _subscription(item) if item else None

    def remove(self, user: str, subscription_id: str) -> None:
        """Tell a browser nothing any more; one that is not there is none, too."""
        self.client.delete_item(TableName=self.table, Key=attribute_values.encode(_key(user, subscription_id)))


def _pk(user: str) -> str:
    return f"PUSH#{user}"


def _key(user: str, subscription_id: str) -> Item:
    return {"pk": _pk(user), "sk": subscription_id}


def _subscription(item: Item) -> Subscription:
    browser = Browser(item["endpoint"], bytes.fromhex(item["p256dh"]), bytes.fromhex(item["auth"]))
    return Subscription(item["sk"], browser, item["created_at"])


@lru_cache(maxsize=1)
def from_env() -> Subscriptions:
    """The subscriptions of this installation."""
    return Subscriptions(aws.dynamodb(), settings().system_table)
