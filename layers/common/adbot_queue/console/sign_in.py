"""Signing in and out: the user pool's authorization code flow with PKCE; the code is exchanged on the server.

https://docs.aws.amazon.com/cognito/latest/developerguide/authorization-endpoint.html
https://datatracker.ietf.org/doc/html/rfc9700#section-2.1.1
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlencode

from adbot_queue.console.id_token import IdTokens
from adbot_queue.console.sessions import MAX_AGE_MS, Person
from adbot_queue.core import aws
from adbot_queue.core import secrets as credentials
from adbot_queue.core.errors import Unauthenticated, Unavailable
from adbot_queue.core.settings import variable
from adbot_queue.core.telemetry import logger

CALLBACK = "/console/signed-in"
SIGNED_OUT = "/console/signed-out"
HOME = "/console"
ATTEMPT_S = 600
"""How long a sign-in may take."""

_OURS = re.compile(r"/(?:console|my)(?:[/?][\w\-./?=&%:+,~#@!$'()*;]*)?", re.ASCII)
MAX_TARGET = 1_000
"""Characters of the page to return to; a longer one is the overview."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that has begun; the browser keeps it in a cookie until it comes back."""

    state: str
    nonce: str
    verifier: str
    target: str

    @classmethod
    def new(cls, target: str) -> Attempt:
        """Begin one that returns to `target`, if that is a page of ours."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), own_page(target))

    @classmethod
    def of_cookie(cls, value: str) -> Attempt | None:
        """Read a cookie; None: this module did not write it."""
        try:
            state, nonce, verifier, target = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
        except (ValueError, TypeError):
            return None
        parts = (state, nonce, verifier, target)
        if not all(isinstance(part, str) and part for part in parts):
            return None
        return cls(state, nonce, verifier, own_page(target))

    def cookie_value(self) -> str:
        """Return it as a cookie's value."""
        text = json.dumps([self.state, self.nonce, self.verifier, self.target])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @property
    def challenge(self) -> str:
        """The verifier's hash, PKCE method S256."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def own_page(target: str) -> str:
    """Return `target` if it is the address of a page of ours without a host, else the overview."""
    return target if len(target) <= MAX_TARGET and _OURS.fullmatch(target) and ".." not in target else HOME


class Exchange(Protocol):
    """Sends a form to the token endpoint: status and body."""

    def __call__(self, url: str, form: dict[str, str], client_id: str, secret: str) -> tuple[int, bytes]:
        """Authenticate with the client's secret."""
        ...


class SignIn:
    """The flow, for one user pool and app client."""

    def __init__(self, base: str, client_id: str, secret: str, tokens: IdTokens, exchange: Exchange) -> None:
        self._base = base
        self._client_id = client_id
        self._secret = secret
        self._tokens = tokens
        self._exchange = exchange

    def authorize_url(self, attempt: Attempt, base_url: str) -> str:
        """Return the address of the pool's sign-in page."""
        return f"{self._base}/oauth2/authorize?" + urlencode(
            {
                "response_type": "code",
                "client_id": self._client_id,
                "redirect_uri": base_url + CALLBACK,
                "scope": "openid profile",
                "state": attempt.state,
                "nonce": attempt.nonce,
                "code_challenge": attempt.challenge,
                "code_challenge_method": "S256",
            }
        )

    def logout_url(self, base_url: str) -> str:
        """Return the address that ends the pool's own session and comes back."""
        return f"{self._base}/logout?" + urlencode({"client_id": self._client_id, "logout_uri": base_url + SIGNED_OUT})

    def finish(self, attempt: Attempt | None, query: Any, base_url: str) -> Person:
        """Exchange the code and return who signed in.

        Raises:
            Unauthenticated: the state is not that of this browser, or the pool refuses the code or its token.
            Unavailable: the pool cannot be reached.
        """
        state, code = query.get("state", ""), query.get("code", "")
        if attempt is None or not hmac.compare_digest(attempt.state.encode(), state.encode()):
            raise Unauthenticated("sign-in failed: it was not begun in this browser, or more than 10 minutes ago")
        if not code:
            raise Unauthenticated("sign-in failed: the sign-in page sent no code")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": base_url + CALLBACK,
            "code_verifier": attempt.verifier,
            "client_id": self._client_id,
        }
        status, body = self._exchange(f"{self._base}/oauth2/token", form, self._client_id, self._secret)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable("the sign-in service is busy; try again in a moment")
        try:
            token = json.loads(body)["id_token"] if status == HTTPStatus.OK else ""
        except (ValueError, KeyError, TypeError):
            token = ""
        if not isinstance(token, str) or not token:
            logger.warning("code refused", status=status)
            raise Unauthenticated("sign-in failed: the code is used, expired or not for this browser")
        return self._tokens.verify(token, attempt.nonce)


def _post(url: str, form: dict[str, str], client_id: str, secret: str) -> tuple[int, bytes]:
    import urllib3  # noqa: PLC0415  a sign-in needs it, and no other page

    basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    headers = {"authorization": f"Basic {basic}", "content-type": "application/x-www-form-urlencoded"}
    timeout = urllib3.Timeout(connect=2, read=5)
    try:
        answer = urllib3.request(
            "POST", url, body=urlencode(form), headers=headers, timeout=timeout, retries=False, redirect=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable("the sign-in service cannot be reached; try again in a moment") from error
    return answer.status, answer.data


def _fetch_keys() -> str:
    import urllib3  # noqa: PLC0415

    url = f"{aws.cognito().meta.endpoint_url}/{variable('USER_POOL_ID')}/.well-known/jwks.json"
    try:
        answer = urllib3.request("GET", url, timeout=urllib3.Timeout(connect=2, read=5), retries=False, redirect=False)
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable("the sign-in service cannot be reached; try again in a moment") from error
    if answer.status != HTTPStatus.OK:
        raise Unavailable("the sign-in service is busy; try again in a moment")
    return answer.data.decode()


def cookie_name() -> str:
    """The name of the session's cookie: all ports of localhost share a jar, so it names the stack."""
    return f"__Host-s-{variable('STACK_NAME')}"


def attempt_cookie_name() -> str:
    """The name of the cookie of a sign-in that has begun."""
    return f"__Host-a-{variable('STACK_NAME')}"


def cookie(name: str, value: str, max_age_s: int) -> str:
    """Return a Set-Cookie line; an age of 0 deletes the cookie.

    Lax: with Strict the browser sends no cookie after the way back from the sign-in page.
    """
    return f"{name}={value}; Path=/; Max-Age={max_age_s}; Secure; HttpOnly; SameSite=Lax"


def session_cookie(session_id: str) -> str:
    """Return the cookie of a new session; an empty id deletes it."""
    return cookie(cookie_name(), session_id, MAX_AGE_MS // 1000 if session_id else 0)


@lru_cache(maxsize=1)
def _tokens() -> IdTokens:
    pool = variable("USER_POOL_ID")
    issuer = f"https://cognito-idp.{pool.partition('_')[0]}.{variable('URL_SUFFIX')}/{pool}"
    return IdTokens(issuer, credential("client_id"), _fetch_keys)


def credential(field: str) -> str:
    """Return `client_id` or `client_secret` of the console's app client.

    Raises:
        NotConfigured: its secret is not filled in.
    """
    return str(credentials.read(f"{variable('STACK_NAME')}_console-client", field, "ConsoleClientSecret"))


def from_env() -> SignIn:
    """The flow of this installation.

    Raises:
        NotConfigured: the secret of the app client is not filled in.
    """
    return SignIn(variable("SIGN_IN_BASE"), credential("client_id"), credential("client_secret"), _tokens(), _post)
