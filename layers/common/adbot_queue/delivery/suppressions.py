"""Addresses that nothing is sent to any more: they bounced, complained, or do not want it.

    SUPPRESSED#<id>   S   channel, reason, at, job; lifted_at when a person has lifted it

An address is nowhere written: the id is an HMAC of it under a key of the installation's own (the template generates
it), because a plain hash of an address is found by hashing those that one can think of. Whoever has the address finds
its entry; a copy of the table alone gives no address away. With another key the list is empty.

What counts is which was later, the cause or the lifting, so a report that is repeated after a lifting changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws, dynamodb, secrets
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Contended, Item, Refused, Transaction
from adbot_queue.core.errors import NotFound
from adbot_queue.core.settings import MissingSetting, settings
from adbot_queue.core.telemetry import count
from adbot_queue.ledger import Actor, Entry, Ledger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SETTING = "ADDRESS_KEY_ID"
KEPT_MS = 30 * 86_400_000
"""How long a lifted one stays: longer than any provider repeats its reports."""

RACES = 5


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why nothing is sent to an address; in force unless it was lifted since."""

    id: str
    channel: str
    reason: str
    at: int
    job: str | None
    lifted_at: int | None = None

    @property
    def in_force(self) -> bool:
        """Nothing is sent there."""
        return self.lifted_at is None or self.lifted_at < self.at


class Suppressions:
    """The list. `key` is asked for when an address is looked at."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        ledger: Ledger,
        key: Callable[[], bytes],
        now: Clock = system_clock,
    ) -> None:
        self._client = client
        self._table = table
        self._ledger = ledger
        self._address_key = key
        self._now = now

    def reason(self, channel: str, address: str) -> str | None:
        """Why nothing may be sent there; None when it may.

        Raises:
            NotConfigured, Unavailable: as `secrets.read`.
        """
        found = self.look_up(channel, address)
        return found.reason if found and found.in_force else None

    def look_up(self, channel: str, address: str) -> Suppression | None:
        """The entry of an address, also one that was lifted a short while ago.

        Raises:
            NotConfigured, Unavailable: as `secrets.read`.
        """
        item = dynamodb.get(self._client, self._table, _key(self._id(channel, address)))
        return _suppression(item) if item else None

    def add(self, channel: str, address: str, reason: str, at: int, job: str | None) -> None:
        """Send nothing there any more, unless something later is known of the address.

        Args:
            channel: `email`, …
            address: as the provider tells it.
            reason: a word: `bounce`.
            at: when it happened, in ms; not later than now counts.
            job: whose message caused it, if one of ours did.

        Raises:
            NotConfigured, Unavailable: as `secrets.read`.
        """
        try:
            dynamodb.update_if(
                self._client,
                self._table,
                _key(self._id(channel, address)),
                "SET #channel = :channel, #reason = :reason, #at = :at, #job = :job REMOVE expires_at",
                condition="(attribute_not_exists(#at) OR #at < :at) "
                "AND (attribute_not_exists(lifted_at) OR lifted_at < :at)",
                answer=False,
                channel=channel,
                reason=reason,
                at=min(at, self._now()),
                job=job,
            )
        except ConditionFailed:
            return
        count("AddressesSuppressed")

    def lift(self, suppression_id: str, reason: str, actor: Actor) -> Suppression:
        """Let an address be written to again. Doing it twice changes nothing.

        Raises:
            NotFound: there is none. Contended: it kept changing.
        """
        for _ in range(RACES):
            item = dynamodb.get(self._client, self._table, _key(suppression_id))
            if item is None:
                raise NotFound(f"there is no suppression {suppression_id}")
            before = _suppression(item)
            if not before.in_force:
                return before
            lifted_at = max(self._now(), before.at)
            try:
                self._lifting(before, lifted_at, reason, actor).commit()
            except Refused:
                continue
            return Suppression(before.id, before.channel, before.reason, before.at, before.job, lifted_at)
        raise Contended("suppression")

    def _lifting(self, before: Suppression, lifted_at: int, reason: str, actor: Actor) -> Transaction:
        """The entry (refused when its cause is a later one meanwhile) and the ledger's."""
        transaction = Transaction(self._client)
        transaction.update(
            "suppression",
            self._table,
            _key(before.id),
            "SET lifted_at = :lifted, expires_at = :expires",
            condition="#at = :at AND (attribute_not_exists(lifted_at) OR lifted_at < #at)",
            at=before.at,
            lifted=lifted_at,
            expires=(lifted_at + KEPT_MS) // 1000,
        )
        what = {"channel": before.channel, "reason": before.reason}
        entry = Entry(actor, "suppression.lift", f"suppression:{before.id}", before=what, reason=reason)
        self._ledger.sign(transaction, entry)
        return transaction

    def _id(self, channel: str, address: str) -> str:
        text = f"{channel}\x1f{normalized(address)}"
        return hmac.new(self._address_key(), text.encode(), hashlib.sha256).hexdigest()[:32]


def normalized(address: str) -> str:
    """Return the one spelling of a mail address, as senders and providers write it in many.

    Case, surrounding and invisible characters, Unicode's ways to write one letter, a dot at the end of the domain and
    its two spellings (`münchen.de`, `xn--mnchen-3ya.de`) make no difference.
    """
    text = "".join(letter for letter in address if unicodedata.category(letter) != "Cf")
    local, at, domain = unicodedata.normalize("NFC", text).strip().lower().rpartition("@")
    domain = domain.rstrip(".")
    if not domain.isascii():
        with suppress(UnicodeError):
            domain = domain.encode("idna").decode()
    return f"{local}{at}{domain}"


def _key(suppression_id: str) -> Item:
    return {"pk": f"SUPPRESSED#{suppression_id}", "sk": "S"}


def _suppression(item: Item) -> Suppression:
    told: dict[str, Any] = {name: item.get(name) for name in ("channel", "reason", "at", "job", "lifted_at")}
    return Suppression(str(item["pk"]).removeprefix("SUPPRESSED#"), **told)


def address_key() -> bytes:
    """The key under which addresses are hashed.

    Raises:
        NotConfigured, Unavailable: as `secrets.read`.
    """
    secret_id = os.environ.get(SETTING)
    if secret_id is None:
        raise MissingSetting(f"environment variables are not set: {SETTING}")
    return str(secrets.read(secret_id, "key", SETTING)).encode()


@lru_cache(maxsize=1)
def from_env() -> Suppressions:
    """The list as this process knows it."""
    return Suppressions(aws.dynamodb(), settings().system_table, ledgers.from_env(), address_key)
