"""Who calls the routes of leads, and whose leads are meant."""

from __future__ import annotations

from typing import Any

from adbot_queue.core.errors import Invalid
from adbot_queue.core.http import Request
from adbot_queue.leads.service import ID, ID_IN_WORDS, Act
from adbot_queue.ledger import Actor


def act_of(request: Request[Any]) -> Act:
    """Return who acts, and whose leads the caller sees."""
    return Act(Actor.behind(request), request.caller.sees_only, request.idempotency_key, request.fingerprint)


def owner_of(request: Request[Any], owner_id: str | None, field: str = "owner_id") -> str:
    """Return whose leads are meant: the caller's unless another user is named, which `sales` may not.

    Raises:
        Invalid: another user than the caller may name.
    """
    caller = request.caller
    if owner_id and caller.sees_only not in {None, owner_id}:
        raise Invalid.field(field, "must be your own id")
    return owner_id or caller.id


def reference_id_of(request: Request[Any]) -> str:
    """Return the id in the path, of a client or project that may be new.

    Raises:
        Invalid: no id.
    """
    found = request.path["id"]
    if not ID.fullmatch(found):
        raise Invalid.field("id", f"must be {ID_IN_WORDS}")
    return found
