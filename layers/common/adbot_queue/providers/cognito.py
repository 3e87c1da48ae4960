"""The user pool, as far as accounts are made in it. Every call may be repeated."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import aws
from adbot_queue.core.error_codes import THROTTLED
from adbot_queue.core.errors import AccountRefused, ProviderFailed, Reach
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import registry
from adbot_queue.providers.aws_codes import CALLER_REFUSED
from adbot_queue.providers.waiting import retry_after, throttled

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 7
"""For one call: 2 s to connect and 5 s to wait, as in `core.aws`."""

MARK = "custom:job"
"""Attribute that says which job made a user; it cannot be changed."""

SERVER_ERROR = 500
_TAKEN = {"UsernameExistsException", "AliasExistsException"}
_COME_AGAIN = {"InternalErrorException"}
_CLOSED = dict.fromkeys([*CALLER_REFUSED, "NotAuthorizedException"], Reach.PROVIDER) | {
    "ResourceNotFoundException": Reach.JOB,  # the pool, or only a group that one job wants
}
TOO_MANY = 429


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class User:
    """A user of the pool.

    Attributes:
        id: what tokens call it (`sub`).
        mark: of the job that made it; empty: no job did.
        is_new: has not had a password of its own yet.
    """

    id: str
    mark: str
    is_new: bool


class Taken(Exception):
    """There is a user of this name or address."""


def create(username: str, email: str, mark: str) -> User:
    """Make a user to whom Cognito writes nothing.

    Raises:
        Taken: there is one of this name or address. NotConfigured, ProviderFailed: as `_calling`.
    """
    attributes = {"email": email, "email_verified": "true", MARK: mark}
    with _calling():
        made = aws.cognito().admin_create_user(
            UserPoolId=_pool(),
            Username=username,
            UserAttributes=[{"Name": name, "Value": value} for name, value in attributes.items()],
            TemporaryPassword=_password(),
            MessageAction="SUPPRESS",
        )["User"]
    return _user({one["Name"]: one.get("Value", "") for one in made.get("Attributes", [])}, made.get("UserStatus"))


def find(username: str) -> User | None:
    """A user by name; None: there is none.

    Raises:
        NotConfigured, ProviderFailed: as `_calling`.
    """
    with _calling():
        try:
            found = aws.cognito().admin_get_user(UserPoolId=_pool(), Username=username)
        except ClientError as error:
            if _code(error) == "UserNotFoundException":
                return None
            raise
    return _user({one["Name"]: one.get("Value", "") for one in found["UserAttributes"]}, found.get("UserStatus"))


def has_user(pool: str, sub: str) -> bool:
    """Whether the pool has a user whom tokens call `sub`, whatever its name is.

    Args:
        pool: its id.
        sub: without quotation marks and backslashes.

    Raises:
        NotConfigured, ProviderFailed: as `_calling`.
    """
    with _calling():
        found = aws.cognito().list_users(UserPoolId=pool, Filter=f'sub = "{sub}"', Limit=1)["Users"]
    return any(one["Name"] == "sub" and one.get("Value") == sub for user in found for one in user["Attributes"])


def email_of(sub: str) -> str | None:
    """Return the verified address of a user whom tokens call `sub`; None: no such user or address.

    Args:
        sub: without quotation marks and backslashes.

    Raises:
        NotConfigured, ProviderFailed: as `_calling`.
    """
    with _calling():
        found = aws.cognito().list_users(UserPoolId=_pool(), Filter=f'sub = "{sub}"', Limit=1)["Users"]
    known = [{one["Name"]: one.get("Value", "") for one in user["Attributes"]} for user in found]
    verified = (user for user in known if user.get("sub") == sub and user.get("email_verified") == "true")
    return next((user["email"] for user in verified if user.get("email")), None)


def add_to_group(username: str, group: str) -> None:
    """Put a user into a group; nothing happens to one that is in it.

    Raises:
        NotConfigured, ProviderFailed: as `_calling`.
    """
    with _calling():
        aws.cognito().admin_add_user_to_group(UserPoolId=_pool(), Username=username, GroupName=group)


def confirm(username: str) -> None:
    """Give a new user a random password, unknown to all: Cognito resets a password only if there is one.

    Raises:
        NotConfigured, ProviderFailed: as `_calling`.
    """
    with _calling():
        aws.cognito().admin_set_user_password(
            UserPoolId=_pool(), Username=username, Password=_password(), Permanent=True
        )


@contextmanager
def _calling() -> Iterator[None]:
    """Tells failures apart.

    Raises:
        Taken: as `create`. NotConfigured: no pool is set. AccountRefused: it or its group is not there or not ours to
        change. ProviderFailed: refused or not reached.
    """
    try:
        yield
    except ClientError as error:
        raise _refusal(error) from error
    except BotoCoreError as error:
        raise ProviderFailed(f"Cognito could not be reached ({type(error).__name__})", retryable=True) from error


def _refusal(error: ClientError) -> Exception:
    code, answered = _code(error), error.response.get("ResponseMetadata", {})
    if code in _TAKEN:
        return Taken(code)
    logger.warning("Cognito refused", code=code, request=answered.get("RequestId"))
    if code in _CLOSED:
        return AccountRefused(f"the user pool does not let us make users: {code}", _CLOSED[code])
    sentence, status = f"Cognito refused ({code})", int(answered.get("HTTPStatusCode", 0))
    if code in THROTTLED or status == TOO_MANY:
        return throttled(sentence, answered.get("HTTPHeaders"))
    return ProviderFailed(
        sentence,
        retryable=code in _COME_AGAIN or status >= SERVER_ERROR,
        retry_after=retry_after(answered.get("HTTPHeaders")),
    )


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _pool() -> str:
    return registry.setting("cognito", "pool")


def _password() -> str:
    """288 bits of chance; the prefix has one of each kind that the pool's policy asks for."""
    return f"Aa1-{secrets.token_urlsafe(36)}"


def _user(attributes: Mapping[str, str], status: str | None) -> User:
    return User(attributes.get("sub", ""), attributes.get(MARK, ""), status == "FORCE_CHANGE_PASSWORD")
