"""Idempotency keys: a request under a used key is answered as the first, and refused if it is another request.

One row per key, in the table of what the request makes and in the same transaction:

    IDEM#<hash>   I   subject: the id of what was made; fingerprint: of the whole request; until: in ms

`until` ends the window to the millisecond; TTL deletes the row days later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import Item, Transaction
from adbot_queue.core.errors import IdempotencyMismatch
from adbot_queue.core.ids import derived_id

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TAG = "key"
"""A record's name in its transaction, unless the caller gives it another."""


@dataclass(frozen=True, slots=True)
class DuplicateOf:
    """What a key names already; `same` tells whether it was the same request."""

    subject: str
    same: bool

    def checked(self) -> str:
        """Return the id of what the first request made.

        Raises:
            IdempotencyMismatch: it was another request.
        """
        if not self.same:
            raise IdempotencyMismatch("this Idempotency-Key was used with another request")
        return self.subject


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A request under its key, and until when (ms) the key belongs to it."""

    key: str
    fingerprint: str
    until: int

    def find(self, client: DynamoDBClient, table: str, now: int) -> DuplicateOf | None:
        """Read what the key names; None if it is free."""
        found = stored(client, table, self.key)
        return self.duplicate_of(found) if found and found["until"] > now else None

    def add(
        self,
        transaction: Transaction,
        table: str,
        subject: str,
        now: int,
        *,
        tag: str = TAG,
        resumes: bool = False,
        instead_of: str | None = None,
    ) -> None:
        """Add the record to the transaction that makes `subject`: refuses while the key names something.

        Args:
            transaction: all of it, or nothing.
            table: where the subject is.
            subject: what the key names from now on.
            now: in ms.
            tag: names the record in `TransactionRejected.failed`.
            resumes: the same request may be written again: it goes on where it died.
            instead_of: the subject that the key may be taken from.
        """
        condition, values = "attribute_not_exists(pk) OR #until <= :now", dict[str, Any](now=now)
        if resumes:
            condition, values["same"] = condition + " OR fingerprint = :same", self.fingerprint
        if instead_of is not None:
            condition, values["former"] = condition + " OR subject = :former", instead_of
        item: Item = {
            **_key(self.key),
            "subject": subject,
            "fingerprint": self.fingerprint,
            "until": self.until,
            "expires_at": self.until // 1000,
        }
        transaction.put(tag, table, item, condition=condition, **values)

    def duplicate_of(self, found: Item) -> DuplicateOf:
        """Return what the key names, given its row."""
        return DuplicateOf(found["subject"], found["fingerprint"] == self.fingerprint)


def key_of(*parts: str) -> str:
    """Return the name of a key's record: the same key means something else to another caller, or for another action."""
    return derived_id("IDEM#", *parts)


def stored(client: DynamoDBClient, table: str, key: str) -> Item | None:
    """Read the record of a key, also of one whose window is over."""
    return dynamodb.get(client, table, _key(key))


def _key(key: str) -> Item:
    return {"pk": key, "sk": "I"}
