"""Checks the identity token that the user pool's token endpoint answers.

https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from adbot_queue.console.sessions import Person
from adbot_queue.core.errors import Unauthenticated

if TYPE_CHECKING:
    from jwt import PyJWK

ALGORITHM = "RS256"
"""The one that user pools sign with; a token that names another one, or none, is refused."""

LEEWAY_S = 10


class IdTokens:
    """Verifies tokens of one user pool for one app client.

    Args:
        issuer: `https://cognito-idp.<region>.amazonaws.com/<pool>`.
        audience: the app client's id.
        fetch: reads the pool's public keys, a JSON Web Key Set.
    """

    def __init__(self, issuer: str, audience: str, fetch: Callable[[], str]) -> None:
        self._issuer = issuer
        self._audience = audience
        self._fetch = fetch
        self._keys: dict[str, PyJWK] = {}

    def verify(self, token: str, nonce: str) -> Person:
        """Return who signed in.

        Raises:
            Unauthenticated: the token is forged, expired, of another pool or client, not for this sign-in, or no
                identity token.
        """
        import jwt  # noqa: PLC0415  a sign-in needs it, and no other page

        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != ALGORITHM:
                raise Unauthenticated("sign-in failed: the token is not signed as user pools sign")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(str(header.get("kid"))),
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated("sign-in failed: the token is not valid here") from error
        if claims.get("token_use") != "id":
            raise Unauthenticated("sign-in failed: an identity token is needed")
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise Unauthenticated("sign-in failed: the token belongs to another sign-in")
        username = str(claims.get("cognito:username", claims["sub"]))
        return Person(claims["sub"], username, str(claims.get("name") or username))

    def _key(self, kid: str) -> PyJWK:
        """The public key of this name; keys are read again when a name is new, as it is after a rotation."""
        from jwt import PyJWKSet  # noqa: PLC0415

        if kid not in self._keys:
            keys = PyJWKSet.from_dict(json.loads(self._fetch())).keys
            self._keys = {key.key_id: key for key in keys if key.key_id}
        if kid not in self._keys:
            raise Unauthenticated("sign-in failed: the token's key is not the pool's")
        return self._keys[kid]
