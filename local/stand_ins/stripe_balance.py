"""Stripe's balances: of the platform, and of the accounts that are connected to it."""

from __future__ import annotations

import re
from collections import Counter

from local.stand_ins.stripe_rules import StripeError
from local.stand_ins.stub_response import StubResponse

PLATFORM = ""
_ACCOUNT = re.compile(r"acct_[A-Za-z0-9]{8,}")


class Balances:
    """What each account has by currency. What cards pay is pending first, as at Stripe; transfers are available."""

    def __init__(self) -> None:
        self._available: Counter[tuple[str, str]] = Counter()
        self._pending: Counter[tuple[str, str]] = Counter()

    def charged(self, currency: str, amount: int, *, available: bool) -> None:
        """A customer paid the platform."""
        (self._available if available else self._pending)[PLATFORM, currency] += amount

    def refunded(self, currency: str, amount: int) -> None:
        """The platform gave back: of what is pending first; Stripe lets the rest go below zero."""
        pending = min(amount, self._pending[PLATFORM, currency])
        self._pending[PLATFORM, currency] -= pending
        self._available[PLATFORM, currency] -= amount - pending

    def give(self, account: str, currency: str, amount: int) -> None:
        """Add to what an account may spend."""
        self._available[account, currency] += amount

    def take(self, account: str, currency: str, amount: int) -> bool:
        """Take from what an account may spend; False: it has too little."""
        if self._available[account, currency] < amount:
            return False
        self._available[account, currency] -= amount
        return True

    def show(self, account: str) -> StubResponse:
        """Answer GET /v1/balance."""
        return StubResponse(
            200,
            {
                "object": "balance",
                "available": _funds(self._available, account),
                "pending": _funds(self._pending, account),
                "livemode": False,
            },
        )


def too_low() -> StubResponse:
    """The refusal of a transfer or a payout that is not covered."""
    return StripeError("You have insufficient funds in your Stripe account.", code="balance_insufficient").reply


def is_account(name: str) -> bool:
    """Whether there may be such a connected account: all whose ids look like one."""
    return _ACCOUNT.fullmatch(name) is not None


def _funds(funds: Counter[tuple[str, str]], account: str) -> list[dict[str, object]]:
    return [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for (owner, currency), amount in sorted(funds.items())
        if owner == account
    ]
