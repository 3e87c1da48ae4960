"""What a payment's metadata says was bought, for whom. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from adbot_queue.adbots.model import MAX_SESSIONS

_NUMBER = re.compile(r"[0-9]{1,3}")
_POOL = re.compile(r"[a-z][a-z0-9-]{0,31}")
PLAN_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
USER_ID = re.compile(r"[!#-\[\]-~]{1,128}")
"""The form of a user's id: 1 to 128 printable ASCII characters, no space, quotation mark or backslash."""
MAX_QUOTED = 12
"""Characters of a number that a reason quotes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the metadata says was bought, as far as it says it; `problem` is why no bot can be made of it."""

    user_id: str = ""
    pool: str | None = None
    required: int | None = None
    plan_id: str | None = None
    problem: str | None = None


def session_count(text: str) -> int | None:
    """The number of sessions that a text says; None: it says none that a bot may have."""
    number = int(text) if _NUMBER.fullmatch(text) else 0
    return number if 1 <= number <= MAX_SESSIONS else None


def wish_of(metadata: Mapping[str, str]) -> Wish:
    """Read the metadata that POST /checkout gave the payment.

    A pool or a number of sessions that is not named is None: the plan's. A problem names the field and the rule; what
    was found is quoted where it is a number, and the order itself has the rest: reasons are in lists and mails.
    """
    texts = {name: value.strip() for name, value in metadata.items()}
    user, pool, plan, number = (texts.get(name, "") for name in ("user_id", "pool", "plan_id", "required_sessions"))
    required = session_count(number)
    problem = None
    if not user:
        problem = "metadata.user_id is missing"
        # Payment links carry it: it says whose the order is, once a person has looked at it.
        reference = texts.get("client_reference_id", "")
        user = reference if USER_ID.fullmatch(reference) else ""
    elif not USER_ID.fullmatch(user):
        problem, user = "metadata.user_id is no user's id: 1 to 128 printable ASCII characters were expected", ""
    elif not plan:
        problem = "metadata.plan_id is missing"
    elif not PLAN_ID.fullmatch(plan):
        problem = "metadata.plan_id is no plan's id: 1 to 64 of a-z, 0-9, _ and - were expected"
    elif number and not required:
        found = f"found {number}, " if len(number) <= MAX_QUOTED and number.isprintable() else ""
        problem = f"metadata.required_sessions: {found}is not a number from 1 to {MAX_SESSIONS}"
    elif pool and not _POOL.fullmatch(pool):
        problem = "metadata.pool is no pool's name: 1 to 32 of a-z, 0-9 and -, a letter first, were expected"
    return Wish(
        user_id=user,
        pool=pool if _POOL.fullmatch(pool) else None,
        required=required,
        plan_id=plan if PLAN_ID.fullmatch(plan) else None,
        problem=problem,
    )
