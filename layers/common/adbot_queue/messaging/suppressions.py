"""Addresses that messages are not sent to any more, and which messages that ends.

    SUPPRESSED#<id>   S              a bounce, a complaint, a STOP: every message
    SUPPRESSED#<id>   S#marketing    an unsubscribe: marketing
    SUPPRESSED#<id>   S#group-<n>    an unsubscribe from one group: marketing of that group

each with channel, reason, at, job; removed_at after an operator removed it, or the recipient subscribed again.

An unsubscribe never ends what a customer has bought or asked for (receipts, tickets, passwords, codes). A complaint
ends everything: each further mail that a mailbox provider counts as spam harms the delivery of all others, and SendGrid
drops it anyway. An operator can remove it.

No address is stored: the id is an HMAC of it under a key of the installation's own (the template generates
it), because a plain hash is found by hashing likely addresses. With the address its entry is found; a copy of the
table alone reveals no address. With another key the list is empty.

The later of cause and removal counts, so a report that is repeated after a removal changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue import ledger as ledgers
from adbot_queue.core import aws, dynamodb, secrets
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.core.dynamodb import ConditionFailed, Item, Transaction
from adbot_queue.core.errors import NotFound
from adbot_queue.core.settings import MissingSetting, settings
from adbot_queue.core.telemetry import count
from adbot_queue.ledger import Actor, Ledger, LedgerEntry

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SETTING = "ADDRESS_KEY_ID"
TTL_MS = 30 * 86_400_000
"""How long a lifted one stays: longer than any provider repeats its reports."""


EVERYTHING, MARKETING = "everything", "marketing"
_UNSUBSCRIBES = {"unsubscribe", "group_unsubscribe"}


class MailKind(StrEnum):
    """What a message is for."""

    TRANSACTIONAL = "transactional"  # bought or asked for by its recipient
    MARKETING = "marketing"


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why an address is suppressed, and for which messages; in force unless it was lifted since.

    Attributes:
        id: the address's, with the scope behind it unless that is everything.
        at: when it happened, in ms.
    """

    id: str
    channel: str
    reason: str
    at: int
    job: str | None
    removed_at: int | None = None

    @property
    def in_force(self) -> bool:
        """Whether it ends messages now."""
        return self.removed_at is None or self.removed_at < self.at

    @property
    def group(self) -> int | None:
        """The only group whose messages it ends."""
        _, found, number = self.id.partition("-group-")
        return int(number) if found else None

    @property
    def scope(self) -> str:
        """`everything`, `marketing` or `group`."""
        if self.group is not None:
            return "group"
        # A row without a scope may be an unsubscribe of a version that knew one scope only.
        return MARKETING if self.reason in _UNSUBSCRIBES else EVERYTHING

    def ends(self, kind: MailKind, group: int | None) -> bool:
        """Whether a message of this kind (and group) is not sent."""
        if not self.in_force:
            return False
        if self.scope == EVERYTHING:
            return True
        return kind is MailKind.MARKETING and self.group in {None, group}


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

    def reason(
        self, channel: str, address: str, kind: MailKind = MailKind.MARKETING, group: int | None = None
    ) -> str | None:
        """Return why a message may not be sent; None when it may.

        Args:
            channel: `email`, `phone`.
            address: in any spelling; a phone in E.164.
            kind: a caller that does not say it is bound by every wish.
            group: of marketing, if it belongs to one.

        Raises:
            NotConfigured, Unavailable: as `secrets.read`.
        """
        return next((found.reason for found in self.entries(channel, address) if found.ends(kind, group)), None)

    def look_up(self, channel: str, address: str) -> Suppression | None:
        """Return the first of `entries`."""
        return next(iter(self.entries(channel, address)), None)

    def entries(self, channel: str, address: str) -> list[Suppression]:
        """Return the entries of an address, those in force first, the latest cause first; lifted ones for 30 days.

        Raises:
            NotConfigured, Unavailable: as `secrets.read`.
        """
        items = dynamodb.query(self._client, self._table, "pk = :pk", pk=_pk(self._id(channel, address)))
        found = [_suppression(item) for item in items if "at" in item]
        return sorted(found, key=lambda entry: (entry.in_force, entry.at), reverse=True)

    def add(self, channel: str, address: str, reason: str, at: int, job: str | None, group: int | None = None) -> None:
        """Suppress an address, unless something later is known of it.

        Args:
            channel: `email`, …
            address: as the provider tells it.
            reason: a word: `bounce`. `unsubscribe` and `group_unsubscribe` end marketing, all others everything.
            at: when it happened, in ms; not later than now counts.
            job: whose message caused it, if one of ours did.
            group: the one that was unsubscribed from; None for all.

        Raises:
            NotConfigured, Unavailable: as `secrets.read`.
        """
        written = self._write(
            self._entry(channel, address, reason, group),
            "SET #channel = :channel, #reason = :reason, #at = :at, #job = :job REMOVE expires_at",
            "(attribute_not_exists(#at) OR #at < :at) AND (attribute_not_exists(removed_at) OR removed_at < :at)",
            channel=channel,
            reason=reason,
            at=min(at, self._now()),
            job=job,
        )
        if written:
            count("AddressesSuppressed")

    def resubscribe(self, channel: str, address: str, reason: str, at: int, group: int | None = None) -> None:
        """Undo what a recipient wished (`group_unsubscribe`, `stop`), unless a later wish is known. It may come first.

        Raises:
            NotConfigured, Unavailable: as `secrets.read`.
        """
        at = min(at, self._now())
        self._write(
            self._entry(channel, address, reason, group),
            "SET #channel = :channel, removed_at = :at, expires_at = :expires",
            "(attribute_not_exists(#at) OR #at <= :at) AND (attribute_not_exists(removed_at) OR removed_at < :at)",
            channel=channel,
            at=at,
            expires=(self._now() + TTL_MS) // 1000,
        )

    def _write(self, key: Item, expression: str, condition: str, **values: Any) -> bool:
        """Write an entry; False when something later is known."""
        try:
            dynamodb.update_if(self._client, self._table, key, expression, condition=condition, answer=False, **values)
        except ConditionFailed:
            return False
        return True

    def remove(self, suppression_id: str, reason: str, actor: Actor) -> Suppression:
        """Let an address be written to again. Doing it twice changes nothing.

        Raises:
            NotFound: there is none. Unavailable: it kept changing.
        """

        def attempt() -> Suppression:
            item = dynamodb.get(self._client, self._table, _key(suppression_id))
            if item is None or "at" not in item:
                raise NotFound(f"there is no suppression {suppression_id}")
            before = _suppression(item)
            if not before.in_force:
                return before
            removed_at = max(self._now(), before.at)
            self._removal(before, removed_at, reason, actor).commit()
            return replace(before, removed_at=removed_at)

        return retry_on_conflict(attempt, CHANGED)

    def _removal(self, before: Suppression, removed_at: int, reason: str, actor: Actor) -> Transaction:
        """The entry (refused when its cause is a later one meanwhile) and the ledger's."""
        transaction = Transaction(self._client)
        transaction.update(
            "suppression",
            self._table,
            _key(before.id),
            "SET removed_at = :lifted, expires_at = :expires",
            condition="#at = :at AND (attribute_not_exists(removed_at) OR removed_at < #at)",
            at=before.at,
            lifted=removed_at,
            expires=(removed_at + TTL_MS) // 1000,
        )
        what = {"channel": before.channel, "reason": before.reason}
        entry = LedgerEntry(actor, "suppression.remove", f"suppression:{before.id}", before=what, reason=reason)
        self._ledger.sign(transaction, entry)
        return transaction

    def _entry(self, channel: str, address: str, reason: str, group: int | None) -> Item:
        scope = "" if reason not in _UNSUBSCRIBES else f"-{MARKETING}" if group is None else f"-group-{group}"
        return _key(self._id(channel, address) + scope)

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


def _pk(address_id: str) -> str:
    return f"SUPPRESSED#{address_id}"


def _key(suppression_id: str) -> Item:
    address_id, _, scope = suppression_id.partition("-")
    return {"pk": _pk(address_id), "sk": f"S#{scope}" if scope else "S"}


def _suppression(item: Item) -> Suppression:
    values: dict[str, Any] = {name: item.get(name) for name in ("channel", "reason", "at", "job", "removed_at")}
    scope = str(item["sk"]).removeprefix("S").replace("#", "-")
    return Suppression(str(item["pk"]).removeprefix(_pk("")) + scope, **values)


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
