"""Messages that went out, and how far they came.

    SENDING#<key>   M   begun_at, sid       one for each effect of a job: written before Twilio is asked
    MESSAGE#<sid>   M   effect, job, state  one for each message at Twilio

The first is why an attempt whose predecessor died, or never heard Twilio's answer, knows that it must look before it
sends again. The second belongs to the effect that wrote it first, and its state never goes back: providers' reports
come twice and in any order. Neither holds a phone number. Both go after 30 days.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.dynamodb import ConditionFailed, Item, Table
from adbot_queue.core.errors import NotFound
from adbot_queue.core.settings import settings

TTL_S = 30 * 86_400

STEPS = {
    "accepted": 0,
    "scheduled": 0,
    "queued": 1,
    "sending": 2,
    "sent": 3,
    "delivered": 4,
    "partially_delivered": 4,
    "undelivered": 4,
    "failed": 4,
    "canceled": 4,
    "read": 5,
}
"""Twilio's states and how far each is: https://www.twilio.com/docs/messaging/api/message-resource#message-status-values.
Of those that end a message the first that is reported stays."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An effect that an earlier attempt has begun: when (ms), and Twilio's id of the message if it is known."""

    begun_at: int
    sid: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message at its provider. `changed_at` in ms; `error_code` is the provider's."""

    sid: str
    job: str
    effect: str
    state: str
    changed_at: int
    error_code: int | None = None


class Messages(Table):
    """The items of sent messages."""

    def begin(self, effect: str) -> Begun | None:
        """Note that a message is about to be sent.

        Returns:
            None: it is the first attempt. Otherwise what is known of the earlier ones.
        """
        now = self.now()
        item = {**_sending(effect), "begun_at": now, "expires_at": _expires(now)}
        try:
            dynamodb.put_if(self.client, self.table, item, condition="attribute_not_exists(pk)")
        except ConditionFailed as failed:
            found = failed.item or {}
            return Begun(found.get("begun_at", now), found.get("sid"))
        return None

    def sent(self, sid: str, state: str, effect: str, job: str) -> bool:
        """The message of an effect is this one.

        Returns:
            False: it is another effect's.
        """
        _, item = self._further(sid, state, effect, job, None)
        if item["effect"] != effect:
            return False
        self._name(effect, sid)
        return True

    def reported(self, sid: str, state: str, effect: str, job: str, error_code: int | None = None) -> bool:
        """What the provider says of a message.

        Returns:
            Whether it is news: what is no further than what is known changes nothing.
        """
        news, item = self._further(sid, state, effect, job, error_code)
        if item["effect"] == effect:
            self._name(effect, sid)  # who sent it may never have heard the answer
        return news

    def delivery(self, message: str) -> Delivery:
        """A message, by its provider's id or by the id of its job.

        Raises:
            NotFound: there is none, or its 30 days are over.
        """
        item = self._get(_message(message))
        if item is None:
            begun = self._get(_sending(message))
            item = self._get(_message(begun["sid"])) if begun and "sid" in begun else None
        if item is None:
            raise NotFound(f"nothing is known of a message {message}")
        return _delivery(item)

    def owner(self, sid: str) -> tuple[str, str] | None:
        """Return the job and the effect of a message, from its sender or an earlier report."""
        item = self._get(_message(sid))
        return (item["job"], item["effect"]) if item and "effect" in item else None

    def _further(self, sid: str, state: str, effect: str, job: str, error_code: int | None) -> tuple[bool, Item]:
        """Whether this is news, and the message's item as it is then."""
        now = self.now()
        try:
            return True, dynamodb.update_if(
                self.client,
                self.table,
                _message(sid),
                "SET effect = :effect, job = :job, #state = :state, step = :step, changed_at = :now, "
                "error_code = :error, expires_at = :expires",
                # Refuses what is another effect's, what comes twice and what comes too late.
                condition="attribute_not_exists(pk) OR (effect = :effect AND step < :step)",
                effect=effect,
                job=job,
                state=state,
                step=STEPS[state],
                now=now,
                error=error_code,
                expires=_expires(now),
            )
        except ConditionFailed as failed:
            if failed.item is None:
                raise
            return False, failed.item

    def _name(self, effect: str, sid: str) -> None:
        now = self.now()
        with suppress(ConditionFailed):
            dynamodb.update_if(
                self.client,
                self.table,
                _sending(effect),
                "SET sid = :sid, begun_at = if_not_exists(begun_at, :now), expires_at = :expires",
                condition="attribute_not_exists(sid)",
                answer=False,
                sid=sid,
                now=now,
                expires=_expires(now),
            )

    def _get(self, key: Item) -> Item | None:
        return dynamodb.get(self.client, self.table, key)


def _sending(effect: str) -> Item:
    return {"pk": f"SENDING#{effect}", "sk": "M"}


def _message(sid: str) -> Item:
    return {"pk": f"MESSAGE#{sid}", "sk": "M"}


def _expires(now: int) -> int:
    return now // 1000 + TTL_S


def _delivery(item: Item) -> Delivery:
    names = ("job", "effect", "state", "changed_at", "error_code")
    return Delivery(item["pk"].removeprefix("MESSAGE#"), **{name: item.get(name) for name in names})  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def from_env() -> Messages:
    """The messages of this process."""
    return Messages(aws.dynamodb(), settings().system_table)
