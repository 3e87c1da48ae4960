"""The one code of a recipient for a purpose.

    OTP#<hmac of scope, purpose, recipient>   O   issue, recipient, tries, ends_at, code_hash, used_at

    asked for --armed by the job that sends it--> armed --right guess--> used
                (again at each attempt)            |  5 wrong guesses, 5 minutes, or asked for again: worthless

The clear code exists in the worker that draws it and in the message only: a repeated attempt draws a new one, so of two
messages the last counts. The row holds an HMAC under a secret of the installation (the pepper), because a million codes
are tried in a second; the key is an HMAC because phone numbers are few as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from adbot_queue.core import attribute_values, aws, dynamodb
from adbot_queue.core import secrets as kept_secrets
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item
from adbot_queue.core.settings import MissingSetting, settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DIGITS = 6
LIFE_MS = 300_000
"""Counted from the request: a stalled queue prolongs nothing."""

MAX_TRIES = 5
SETTING = "OTP_SECRET_ID"


class TooLate(Exception):
    """The code's time was over before it was sent."""


class Superseded(Exception):
    """The code was used, or a newer one was asked for: there is nothing to send."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Armed:
    """What is to be sent, to whom, and for how many seconds it is good. Never stored, never logged."""

    recipient: str
    code: str
    seconds: int


def draw() -> str:
    """Six digits, each set of them as likely as any other."""
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"


class Codes:
    """The items of codes."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        pepper: Callable[[], bytes],
        now: Clock = system_clock,
        drawn: Callable[[], str] = draw,
    ) -> None:
        self._client = client
        self._table = table
        self._pepper = pepper
        self._now = now
        self._drawn = drawn

    def name(self, *parts: str) -> str:
        """Return a name that reveals nothing of its parts without the pepper.

        Raises:
            NotConfigured, Unavailable: the pepper cannot be read.
        """
        digest = hmac.digest(self._pepper(), "\x1f".join(parts).encode(), hashlib.sha256)
        return base64.b32encode(digest).decode().lower()[:32]

    def open(self, name: str, issue: str, recipient: str) -> int:
        """Request a code; an earlier one of this name becomes worthless.

        Args:
            name: of scope, purpose and recipient.
            issue: id of this request.
            recipient: where it will be sent.

        Returns:
            When the code expires, in ms.
        """
        ends_at = self._now() + LIFE_MS
        item = {
            **_key(name),
            "issue": issue,
            "recipient": recipient,
            "tries": 0,
            "ends_at": ends_at,
            "expires_at": ends_at // 1000 + 1,
        }
        self._client.put_item(TableName=self._table, Item=attribute_values.encode(item))
        return ends_at

    def arm(self, name: str, issue: str) -> Armed:
        """Draw the code that is sent next; one that was drawn before for the same asking is worthless from now on.

        Raises:
            TooLate, Superseded: there is nothing to send. NotConfigured, Unavailable: as `name`.
        """
        code, now = self._drawn(), self._now()
        try:
            item = dynamodb.update_if(
                self._client,
                self._table,
                _key(name),
                "SET code_hash = :hash",
                condition="issue = :issue AND ends_at > :now AND attribute_not_exists(used_at)",
                hash=self.name(name, issue, code),
                issue=issue,
                now=now,
            )
        except ConditionFailed as failed:
            found = failed.item
            if found and found["issue"] == issue and "used_at" not in found:
                raise TooLate from failed
            raise Superseded from failed
        return Armed(item["recipient"], code, max(1, (item["ends_at"] - now) // 1000))

    def use(self, name: str, code: str) -> bool:
        """Return whether the code is right; a right code works once, however many guess it at the same time.

        Raises:
            NotConfigured, Unavailable: as `name`.
        """
        item = self._try(name)
        if item is None:
            return False
        right = self.name(name, item["issue"], code)
        if not hmac.compare_digest(right.encode(), item["code_hash"].encode()):
            return False
        try:
            dynamodb.update_if(
                self._client,
                self._table,
                _key(name),
                "SET used_at = :now",
                # Refuses a second right guess, and one for a code that was replaced since the try was taken.
                condition="code_hash = :hash AND attribute_not_exists(used_at)",
                answer=False,
                now=self._now(),
                hash=right,
            )
        except ConditionFailed:
            return False
        return True

    def _try(self, name: str) -> Item | None:
        """Spend a try before anything is compared, so that guesses at the same time spend one each."""
        try:
            return dynamodb.update_if(
                self._client,
                self._table,
                _key(name),
                "SET tries = tries + :one",
                condition="attribute_exists(code_hash) AND tries < :most AND ends_at > :now "
                "AND attribute_not_exists(used_at)",
                one=1,
                most=MAX_TRIES,
                now=self._now(),
            )
        except ConditionFailed:
            return None


def _key(name: str) -> Item:
    return {"pk": f"OTP#{name}", "sk": "O"}


def pepper() -> bytes:
    """The installation's pepper.

    Raises:
        NotConfigured, Unavailable: as `secrets.read`.
    """
    try:
        secret_id = os.environ[SETTING]
    except KeyError:
        raise MissingSetting(f"environment variables are not set: {SETTING}") from None
    return str(kept_secrets.read(secret_id, "pepper", SETTING)).encode()


@lru_cache(maxsize=1)
def from_env() -> Codes:
    """The codes of this process."""
    return Codes(aws.dynamodb(), settings().system_table, pepper)
