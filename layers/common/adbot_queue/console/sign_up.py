"""Customers sign themselves up: a user of the pool, and the code that confirms the address.

For installations whose sign-in pages offer no sign-up. The user's name is the address, in lower case.
https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_SignUp.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.console import sign_in
from adbot_queue.core import aws
from adbot_queue.core.errors import AppError, Forbidden, Invalid, RateLimited, Unavailable
from adbot_queue.core.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

ADDRESS = re.compile(r"(?=.{1,128}$)[^@\s]{1,64}@[^@\s]+\.[^@\s]{2,63}")
"""At most 128 characters: the user's name in the pool has no more."""

MIN_PASSWORD = 12
"""As the pool's password policy."""

MAX_PASSWORD = 256
CODE = re.compile(r"\d{6}")


def name_of(email: str) -> str:
    """Return the name of the user who has an address.

    Raises:
        Invalid: it cannot be one.
    """
    name = email.strip().lower()
    if not ADDRESS.fullmatch(name):
        raise Invalid.field("email", "must be one email address of at most 128 characters")
    return name


class SignUp:
    """Signs strangers up with the console's app client."""

    def __init__(self, client: CognitoIdentityProviderClient, client_id: str, secret: str) -> None:
        self._client = client
        self._client_id = client_id
        self._secret = secret

    def begin(self, email: str, password: str) -> str:
        """Create a user and have a code sent to the address. Returns the user's name.

        Raises:
            Invalid: the address or the password cannot be one, or the address has a user.
            Forbidden: this installation invites people. RateLimited, Unavailable: the user pool says so.
        """
        name = name_of(email)
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise Invalid.field("password", f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        try:
            self._client.sign_up(
                ClientId=self._client_id,
                SecretHash=self._hash(name),
                Username=name,
                Password=password,
                UserAttributes=[{"Name": "email", "Value": name}],
            )
        except (ClientError, BotoCoreError) as error:
            raise _refusal(error) from error
        return name

    def confirm(self, email: str, code: str) -> None:
        """Confirm the address by the code that it received.

        Raises:
            Invalid: no address; the code is wrong or too old. RateLimited, Unavailable: the user pool says so.
        """
        name, code = name_of(email), code.strip()
        if not CODE.fullmatch(code):
            raise Invalid.field("code", "must be the 6 digits of the mail")
        try:
            self._client.confirm_sign_up(
                ClientId=self._client_id, SecretHash=self._hash(name), Username=name, ConfirmationCode=code
            )
        except (ClientError, BotoCoreError) as error:
            raise _refusal(error) from error

    def resend(self, email: str) -> None:
        """Have another code sent; the older ones are void. Raises as `confirm`."""
        name = name_of(email)
        try:
            self._client.resend_confirmation_code(ClientId=self._client_id, SecretHash=self._hash(name), Username=name)
        except (ClientError, BotoCoreError) as error:
            raise _refusal(error) from error

    def _hash(self, name: str) -> str:
        digest = hmac.new(self._secret.encode(), (name + self._client_id).encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode()


REFUSALS: dict[str, AppError] = {
    "UsernameExistsException": Invalid.field("email", "has an account already; sign in instead"),
    "AliasExistsException": Invalid.field("email", "has an account already; sign in instead"),
    "InvalidPasswordException": Invalid.field("password", "needs upper and lower case letters and a digit"),
    "CodeMismatchException": Invalid.field("code", "is not the code of the latest mail"),
    "ExpiredCodeException": Invalid.field("code", "is too old; have another one sent"),
    "UserNotFoundException": Invalid.field("code", "is not the code of the latest mail"),
    "NotAuthorizedException": Forbidden("this installation invites people, or this account is confirmed already"),
    "LimitExceededException": RateLimited("too many codes were sent to this address; try again in an hour"),
    "TooManyRequestsException": RateLimited("too many people sign up at this moment; try again in a minute"),
    "TooManyFailedAttemptsException": RateLimited("too many wrong codes; try again in an hour"),
}
"""What each refusal of the user pool means to the person."""


def _refusal(error: ClientError | BotoCoreError) -> AppError:
    code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else type(error).__name__
    if code in REFUSALS:
        return REFUSALS[code]
    logger.warning("sign-up refused", code=code)
    return Unavailable("the sign-in service is busy; try again in a moment")


def from_env() -> SignUp:
    """The sign-up of this installation."""
    return SignUp(aws.cognito_for_strangers(), sign_in.credential("client_id"), sign_in.credential("client_secret"))
