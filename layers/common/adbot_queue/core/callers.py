"""Who calls an API: a person's groups or a machine's scopes, from the claims that API Gateway has verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adbot_queue.core import events
from adbot_queue.core.errors import Unauthenticated

PUBLIC: frozenset[str] = frozenset()
"""Anybody, without a token."""
OWNERS = frozenset({"owner"})
ADMINS = frozenset({"owner", "admin"})
STAFF = frozenset({"owner", "admin", "viewer"})
CUSTOMERS = frozenset({"customer"})
SALES = frozenset({"owner", "admin", "sales"})
"""Those who work leads; a caller in `sales` alone sees his own."""
LEAD_READERS = SALES | STAFF

SCOPES = "adbot-queue/"
"""What the user pool's resource server puts before the name of a scope."""
_ROLES = ("owner", "admin", "viewer", "sales", "customer")  # the first that a caller has names the role in the ledger


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Caller:
    """Who calls: a person with groups, or a machine with scopes.

    Attributes:
        id: the token's subject; of a machine, its app client.
        groups: of a person. One in no group is a customer: only people with a confirmed address can sign in.
        scopes: of a machine, without their resource server; None: a person calls.
    """

    id: str
    groups: frozenset[str] = frozenset()
    scopes: frozenset[str] | None = None

    @property
    def role(self) -> str:
        """The highest of the caller's roles; `machine`, or `none` for a person whose groups give none."""
        if self.scopes is not None:
            return "machine"
        return next((role for role in _ROLES if role in self.groups), "none")

    @property
    def is_staff(self) -> bool:
        """May see everybody's things."""
        return bool(self.groups & STAFF)

    @property
    def sees_only(self) -> str | None:
        """Whose things the caller may see: only those of this user, or (None) everybody's."""
        return None if self.is_staff else self.id

    @property
    def is_owner(self) -> bool:
        """May do what admins may not: money above the limit, the kill switch, deleting many at once."""
        return bool(self.groups & OWNERS)

    @property
    def is_admin(self) -> bool:
        """May change everybody's things."""
        return bool(self.groups & ADMINS)


def caller_of(event: dict[str, Any]) -> Caller | None:
    """Return who calls, by the claims that API Gateway has verified; None: there are none.

    Raises:
        Unauthenticated: the token is no access token.
    """
    claims: Any = event["requestContext"]
    for name in ("authorizer", "jwt", "claims"):
        claims = claims.get(name) if isinstance(claims, dict) else None
    if not isinstance(claims, dict) or not (subject := claims.get("sub")) or not events.is_text(subject):
        return None
    if claims.get("token_use") != "access":
        raise Unauthenticated("an access token is needed; an id token gives no access")
    if subject == claims.get("client_id"):
        return Caller(subject, scopes=_scopes_of(claims.get("scope")))
    return Caller(subject, groups_of(claims.get("cognito:groups")))


def _scopes_of(claim: Any) -> frozenset[str]:
    """The scopes of our resource server in a token of client credentials."""
    names = claim.split(" ") if isinstance(claim, str) else []
    return frozenset(name.removeprefix(SCOPES) for name in names if name.startswith(SCOPES) and name != SCOPES)


def groups_of(claim: Any) -> frozenset[str]:
    """The groups of a person, by their exact names: the customers where there are none, none when they cannot be read.

    Cognito leaves the claim out where there are none. API Gateway hands a list over as one text, `[owner admin]`.
    Cognito allows brackets and commas in a group's name, and no white space: so one pair of brackets is the list's,
    and a space is all that separates names.
    https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateGroup.html
    """
    if claim in (None, "[]", []):
        return CUSTOMERS
    if isinstance(claim, str) and claim.startswith("[") and claim.endswith("]") and len(claim) > 1:
        claim = claim[1:-1].split(" ")
    if not isinstance(claim, list) or not all(isinstance(name, str) and name.split() == [name] for name in claim):
        return frozenset()
    return frozenset(claim)
