"""Who is signed in: a row of the system table for each session, found by the hash of its cookie.

    SESSION#<sha256 of the id>   S   user, name, username, groups, csrf, created_at, seen_at, checked_at, expires_at
    PERSON#<user>                P   name: of each person who ever signed in, for pages that say who did something

The browser holds the id alone, 256 bits of chance; the table holds its hash alone. Tokens of the sign-in are thrown
away. Groups come from the user pool: every five minutes, and at once for what only owners may do. While the pool
cannot be asked, a session whose groups are due gets no page but public ones, stays, and can be ended.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from adbot_queue.core import aws, dynamodb
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.callers import groups_of
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import ConditionFailed, Item, Table
from adbot_queue.core.errors import Unavailable
from adbot_queue.core.settings import settings, variable

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

MAX_AGE_MS = 12 * 3_600_000
MAX_IDLE_MS = 3_600_000
CHECK_MS = 300_000
"""How old the groups of a session get."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Session:
    """A signed-in person.

    Attributes:
        key: hash of the session's id.
        user: the pool's subject, which names the person in the ledger.
        username: the pool's name for the user.
        csrf: token that every form carries.
        checked_at: when the groups were read, in ms.
    """

    key: str
    user: str
    username: str
    name: str
    groups: frozenset[str]
    csrf: str
    created_at: int
    seen_at: int
    checked_at: int

    def is_over(self, now: int) -> bool:
        """Whether it is too old, or was not used for too long."""
        return now - self.created_at > MAX_AGE_MS or now - self.seen_at > MAX_IDLE_MS


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Person:
    """Someone whose sign-in was verified."""

    user: str
    username: str
    name: str


class Groups(Protocol):
    """The groups of a user; None: the user was deleted or disabled."""

    def __call__(self, username: str, user: str) -> frozenset[str] | None:
        """Read them now."""
        ...


class Sessions(Table):
    """Starts, finds and ends sessions."""

    def __init__(self, client: Any, table: str, groups: Groups, now: Clock = system_clock) -> None:
        super().__init__(client, table, now)
        self._groups = groups

    def start(self, person: Person) -> str | None:
        """Start a session and return its id, for the cookie; None: the user was deleted or disabled."""
        groups = self._groups(person.username, person.user)
        if groups is None:
            return None
        made = secrets.token_urlsafe(32)
        now = self.now()
        session = Session(
            hash_of(made), person.user, person.username, person.name, groups, secrets.token_urlsafe(24), now, now, now
        )
        dynamodb.put_if(self.client, self.table, _item(session), condition="attribute_not_exists(pk)")
        self.client.put_item(TableName=self.table, Item=encode({**_person(person.user), "name": person.name}))
        return made

    def names(self, users: Iterable[str | None]) -> dict[str, str]:
        """Return the names of those users who ever signed in here: one read of up to 100."""
        wanted = [_person(user) for user in {user for user in users if user}]
        found = dynamodb.get_many(self.client, self.table, wanted, consistent=False) if wanted else []
        return {str(item["pk"]).removeprefix("PERSON#"): item["name"] for item in found}

    def find(self, session_id: str, *, fresh_for: frozenset[str] = frozenset(), check: bool = True) -> Session | None:
        """Return the session of a cookie: one read, and every `CHECK_MS` the groups and one write.

        As `find_with`, which explains the rest.
        """
        return self.find_with(session_id, (), fresh_for=fresh_for, check=check)[0]

    def find_with(
        self,
        session_id: str,
        also: Sequence[Item],
        *,
        fresh_for: frozenset[str] = frozenset(),
        check: bool = True,
    ) -> tuple[Session | None, list[Item]]:
        """Return the session of a cookie, and other items of the table that the same call reads.

        Args:
            session_id: what the cookie holds.
            also: keys of the other items.
            fresh_for: groups whose members' groups are read again, whenever that was last done.
            check: whether groups that are due are read again; without, the pool is not asked at all.

        Raises:
            Unavailable: the groups are due, and the pool cannot be asked.
        """
        if not session_id:
            return None, []
        key = _key(hash_of(session_id))
        found = dynamodb.get_many(self.client, self.table, [key, *also])
        others = [item for item in found if item["pk"] != key["pk"]]
        session = next((_session(item) for item in found if item["pk"] == key["pk"]), None)
        now = self.now()
        if session is None or session.is_over(now):
            return None, others
        if check and (session.groups & fresh_for or abs(now - session.checked_at) >= CHECK_MS):
            session = self._check(session, now)
        return session, others

    def _check(self, session: Session, now: int) -> Session | None:
        groups = self._groups(session.username, session.user)
        if groups is None:
            self.end(session)
            return None
        checked = replace(session, groups=groups, seen_at=now, checked_at=now)
        try:
            dynamodb.put_if(self.client, self.table, _item(checked), condition="attribute_exists(pk)")
        except ConditionFailed:  # signed out in another tab at this moment
            return None
        return checked

    def end(self, session: Session) -> None:
        """End a session, in every tab."""
        self.client.delete_item(TableName=self.table, Key=encode(_key(session.key)))


def hash_of(session_id: str) -> str:
    """Return what the table knows of a session's id."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def _person(user: str) -> Item:
    return {"pk": f"PERSON#{user}", "sk": "P"}


def _key(key: str) -> Item:
    return {"pk": f"SESSION#{key}", "sk": "S"}


def _item(session: Session) -> Item:
    return {
        **_key(session.key),
        "user": session.user,
        "username": session.username,
        "name": session.name,
        "groups": sorted(session.groups),
        "csrf": session.csrf,
        "created_at": session.created_at,
        "seen_at": session.seen_at,
        "checked_at": session.checked_at,
        "expires_at": (session.created_at + MAX_AGE_MS) // 1000,
    }


def _session(item: Item) -> Session:
    return Session(
        key=str(item["pk"]).removeprefix("SESSION#"),
        user=item["user"],
        username=item["username"],
        name=item["name"],
        groups=frozenset(item["groups"]),
        csrf=item["csrf"],
        created_at=item["created_at"],
        seen_at=item["seen_at"],
        checked_at=item["checked_at"],
    )


BUSY = frozenset(
    {"TooManyRequestsException", "ThrottlingException", "LimitExceededException", "InternalErrorException"}
)
"""Refusals of the user pool that pass."""


class PoolGroups:
    """Reads the groups of a user from the user pool."""

    def __init__(self, client: CognitoIdentityProviderClient, pool: str) -> None:
        self._client = client
        self._pool = pool

    def __call__(self, username: str, user: str) -> frozenset[str] | None:
        """Two calls: a disabled user keeps its groups. A new user of the same name is another one.

        Raises:
            Unavailable: the pool is busy, or cannot be reached.
        """
        try:
            found = self._client.admin_get_user(UserPoolId=self._pool, Username=username)
            subject = next((one["Value"] for one in found["UserAttributes"] if one["Name"] == "sub"), None)
            if not found.get("Enabled", True) or subject != user:
                return None
            listed = self._client.admin_list_groups_for_user(UserPoolId=self._pool, Username=username, Limit=60)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if code == "UserNotFoundException":
                return None
            if code in BUSY:
                raise Unavailable("the sign-in service is busy; try again in a moment") from error
            raise
        return groups_of([group["GroupName"] for group in listed["Groups"]])


@lru_cache(maxsize=1)
def from_env() -> Sessions:
    """The sessions of this process."""
    return Sessions(aws.dynamodb(), settings().system_table, PoolGroups(aws.cognito(), variable("USER_POOL_ID")))
