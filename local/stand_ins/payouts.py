"""Stripe's transfers to connected accounts, and payouts of an account's balance to its bank."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from local.stand_ins.payment_intents import missing
from local.stand_ins.stripe_balance import PLATFORM, Balances, is_account, too_low
from local.stand_ins.stripe_lists import page
from local.stand_ins.stripe_rules import check_amount, check_currency, check_metadata, read
from local.stand_ins.stub_response import Effects, Schema, StubResponse

DAY_S = 86_400
BANK_DAYS = 2


class Payouts:
    """Where money goes from an account and those that are connected to it."""

    def __init__(self, balances: Balances, now: Callable[[], float], effects: Effects) -> None:
        self._transfers: list[dict[str, Any]] = []
        self._payouts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._balances = balances
        self._now = now
        self._effects = effects
        self._transfer_schema = Schema("stripe_transfer.json")
        self._payout_schema = Schema("stripe_payout.json")

    def transfer(self, body: str, key: str | None) -> StubResponse:
        """Move money to a connected account.

        Raises:
            StripeError: the request breaks a rule. Too low a balance is an answer: Stripe remembers it under the key.
        """
        params = self._read(body, self._transfer_schema)
        to = params["destination"]
        if not is_account(to):
            raise missing("destination", to, "destination")
        if not self._balances.take(PLATFORM, params["currency"], params["amount"]):
            return too_low()
        self._balances.give(to, params["currency"], params["amount"])
        transfer = self._made("tr", "transfer", params) | {
            "amount_reversed": 0,
            "destination": to,
            "destination_payment": f"py_{secrets.token_hex(12)}",
            "reversals": {"object": "list", "data": [], "has_more": False, "url": ""},
            "reversed": False,
            "source_transaction": params.get("source_transaction"),
            "transfer_group": params.get("transfer_group"),
        }
        self._transfers.append(transfer)
        self._effects.happened(key)
        return StubResponse(200, transfer)

    def payout(self, body: str, key: str | None, account: str) -> StubResponse:
        """Pay an account's balance out to its bank.

        Raises:
            StripeError: as `transfer`.
        """
        params = self._read(body, self._payout_schema)
        if not self._balances.take(account, params["currency"], params["amount"]):
            return too_low()
        arrives = (int(self._now()) // DAY_S + BANK_DAYS) * DAY_S
        payout = self._made("po", "payout", params) | {
            "arrival_date": arrives,
            "automatic": False,
            "destination": params.get("destination", f"ba_{secrets.token_hex(12)}"),
            "failure_code": None,
            "failure_message": None,
            "method": params.get("method", "standard"),
            "reconciliation_status": "not_applicable",
            "statement_descriptor": params.get("statement_descriptor"),
            "status": "pending",
            "type": "bank_account",
        }
        self._payouts[account].append(payout)
        self._effects.happened(key)
        return StubResponse(200, payout)

    def transfers(self, path: str, query: str) -> StubResponse:
        """Answer GET /v1/transfers.

        Raises:
            StripeError: as `page`.
        """
        return page(path, query, self._transfers, ("destination", "transfer_group"))

    def payouts(self, path: str, query: str, account: str) -> StubResponse:
        """Answer GET /v1/payouts.

        Raises:
            StripeError: as `page`.
        """
        return page(path, query, self._payouts[account], ("status", "destination"))

    def _read(self, body: str, schema: Schema) -> dict[str, Any]:
        params = read(body, schema)
        check_metadata(params.get("metadata", {}))
        check_currency(params["currency"])
        check_amount(params.get("amount", 0), params["currency"])
        return params

    def _made(self, prefix: str, kind: str, params: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": f"{prefix}_{secrets.token_hex(12)}",
            "object": kind,
            "amount": params["amount"],
            "balance_transaction": f"txn_{secrets.token_hex(12)}",
            "created": int(self._now()),
            "currency": params["currency"],
            "description": params.get("description"),
            "livemode": False,
            "metadata": params.get("metadata", {}),
            "source_type": params.get("source_type", "card"),
        }
