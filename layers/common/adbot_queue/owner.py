"""What the owner alone may have done: money above the limit, and discarding many dead letters.

Money is a refund, a payout or the end of an order. Every door at which a person can have it sent asks here: jobs,
batches and their callbacks, workflows, schedules, retries and replays. What is not known at the door, the amount of a
full refund or one that a workflow's step will answer, counts as above the limit. The limit is in the smallest unit of
the installation's currency; other currencies always need the owner, because nothing here knows their rate.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core.errors import Forbidden
from adbot_queue.providers import stripe_currencies as currencies
from adbot_queue.system import limits
from adbot_queue.system.limits import Rate
from adbot_queue.workflow.references import Absent, NoReference, Reference, follow, resolved

if TYPE_CHECKING:
    from adbot_queue.core.http import Caller

SETTING = "OWNER_LIMIT"
"""The parameters `OwnerAmount` and `Currency`, as in `100000 eur`."""

DISCARDS = Rate(100 / 86_400, 100)
"""Dead letters that one caller without the role may discard."""

OWNER = "owner"
REPLAY = "replay-dead-letters"
REFUND, PAYOUT, WORKFLOW = "refund-process", "payout-process", "run-workflow"
_MOVES = {REFUND: "a refund", PAYOUT: "a payout"}


@dataclass(frozen=True, slots=True)
class OwnerLimit:
    """What whoever is no owner may move at once. `amount` is in the currency's smallest unit."""

    amount: int
    currency: str

    def reason(self, what: str, amount: Any, currency: Any) -> str | None:
        """Why moving an amount needs the owner; None: it does not.

        Args:
            what: as in "a refund".
            amount: anything but a whole number is not known.
            currency: the same for anything but the installation's.
        """
        bound = currencies.text(self.amount, self.currency)
        if type(amount) is not int:
            found = f"{what} whose amount is not known beforehand"
        elif currency != self.currency:
            found = f"{what} in another currency than {self.currency.upper()}, or in one that is not known beforehand,"
        elif amount > self.amount:
            found = f"{what} of {currencies.text(amount, self.currency)}"
        else:
            return None
        return f"{found} needs the role owner; without it the limit is {bound} (parameter OwnerAmount)"


def needs_owner(job_type: str, payload: Mapping[str, Any], limit: OwnerLimit | None = None) -> str | None:
    """Why a job needs the owner; None: any admin may enqueue it, or run it again.

    A replay that the owner began moves what the owner may move, so that the owner alone resumes it.
    """
    if job_type == REPLAY and (payload.get("started_by") or {}).get("role") == OWNER:
        return "a replay that the owner began needs the role owner"
    bound = limit or from_env()
    return next(filter(None, (bound.reason(*move) for move in _moves(job_type, payload))), None)


def permitted(caller: Caller, job_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload as the caller may have it enqueued.

    A part of a payment is refunded in the payment's own currency, whichever that is. For anybody but the owner a
    refund that names none is therefore taken as one in the installation's: the job compares it with the payment's.

    Raises:
        Forbidden: it needs the owner.
    """
    if caller.is_owner:
        return payload
    if job_type == REFUND and payload.get("amount") is not None and payload.get("currency") is None:
        payload = {**payload, "currency": from_env().currency}
    check(caller, job_type, payload)
    return payload


def check(caller: Caller, job_type: str, payload: Mapping[str, Any]) -> None:
    """Refuse a job, new or to be run again, that needs the owner.

    Raises:
        Forbidden: names the limit and what is needed.
    """
    if not caller.is_owner and (reason := needs_owner(job_type, payload)):
        raise Forbidden(reason)


def check_end(caller: Caller, kept: int, currency: str) -> None:
    """Refuse to end an order whose kept money needs the owner.

    Args:
        caller: who asks for it.
        kept: what was paid and not given back.
        currency: of the order; empty for one that cost nothing.

    Raises:
        Forbidden: names the limit and what is needed.
    """
    if not caller.is_owner and kept > 0 and (reason := from_env().reason("the end of an order", kept, currency)):
        raise Forbidden(reason)


def check_discard(caller: Caller) -> None:
    """Spend one of the caller's discards: letters are discarded one by one, and can be many all the same.

    Raises:
        Forbidden: names the limit and what is needed.
        Contended: as `Limits.take`.
    """
    if not caller.is_owner and not limits.from_env().take(f"discards:{caller.id}", DISCARDS).allowed:
        raise Forbidden(f"discarding more than {DISCARDS.burst} dead letters a day needs the role owner")


def _moves(job_type: str, payload: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What a job moves, and those that it leads: what it is, its amount and currency as far as they are known now."""
    if what := _MOVES.get(job_type):
        yield what, payload.get("amount"), payload.get("currency")
    if job_type != WORKFLOW:
        return
    steps = payload.get("steps")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and (what := _MOVES.get(str(step.get("type")))):
            asked = step.get("payload")
            known = asked if isinstance(asked, dict) else {}
            yield what, *(_known(known.get(name), payload.get("input")) for name in ("amount", "currency"))


def _known(value: Any, given: Any) -> Any:
    """A value of a step's payload, filled in from the workflow's input; a reference to another step stays a text."""

    def look_up(reference: Reference) -> Any:
        if reference.step is None:
            return follow(given, reference.path or (), reference.text)
        return f"${{{reference.text}}}"

    try:
        return resolved(value, look_up)
    except (Absent, NoReference):
        return None


@lru_cache(maxsize=1)
def from_env() -> OwnerLimit:
    """The installation's limit; the template's own default where a function has none."""
    amount, _, currency = os.environ.get(SETTING, "100000 eur").partition(" ")
    return OwnerLimit(int(amount), currency)
