"""What the owner alone may do: move money above the limit, and discard many dead letters.

The limit is in the smallest unit of the installation's currency; other currencies always need the owner, because
nothing here knows their rate. Which jobs move money their types say (`jobs.enqueue.owner_check`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from adbot_queue.core.errors import Forbidden
from adbot_queue.platform import rate_limits as limits
from adbot_queue.platform.rate import Rate
from adbot_queue.providers import stripe_currencies as currencies

if TYPE_CHECKING:
    from adbot_queue.core.callers import Caller

SETTING = "OWNER_LIMIT"
"""The parameters `OwnerAmount` and `Currency`, as in `100000 eur`."""

DISCARDS = Rate(100 / 86_400, 100)
"""Dead letters that one caller without the role may discard."""

OWNER = "owner"


@dataclass(frozen=True, slots=True)
class OwnerLimit:
    """What a caller without the role may move at once. `amount` is in the currency's smallest unit."""

    amount: int
    currency: str

    def reason(self, what: str, amount: Any, currency: Any) -> str | None:
        """Return why moving an amount needs the owner; None: it does not.

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


def check_end(caller: Caller, kept: int, currency: str) -> None:
    """Refuse to end an order whose kept money needs the owner.

    Args:
        caller: who asks for it.
        kept: what was paid and not given back.
        currency: of the order; empty for a free order.

    Raises:
        Forbidden: names the limit and what is needed.
    """
    if not caller.is_owner and kept > 0 and (reason := from_env().reason("the end of an order", kept, currency)):
        raise Forbidden(reason)


def check_discard(caller: Caller, number: int = 1) -> None:
    """Spend some of the caller's discards: dead letters that are discarded one by one can be many all the same.

    Raises:
        Forbidden: names the limit and what is needed.
        TransactionConflict: as `Limits.take`.
    """
    if caller.is_owner or not number:
        return
    if number > DISCARDS.burst or not limits.from_env().acquire(f"discards:{caller.id}", DISCARDS, number).allowed:
        raise Forbidden(f"discarding more than {DISCARDS.burst} dead letters a day needs the role owner")


@lru_cache(maxsize=1)
def from_env() -> OwnerLimit:
    """The installation's limit; the template's own default where a function has none."""
    amount, _, currency = os.environ.get(SETTING, "100000 eur").partition(" ")
    return OwnerLimit(int(amount), currency)
