"""Stripe's refunds. A payment by `pm_card_pendingRefund` is given back later, one by `pm_card_refundFail` never."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from local.stand_ins.payment_intents import PaymentIntents, missing
from local.stand_ins.stripe_balance import Balances
from local.stand_ins.stripe_lists import page
from local.stand_ins.stripe_rules import StripeError, check_amount, check_metadata, read
from local.stand_ins.stub_response import Effects, Schema, StubResponse


class Refunds:
    """The refunds of an account."""

    def __init__(self, intents: PaymentIntents, balances: Balances, now: Callable[[], float], effects: Effects) -> None:
        self._refunds: list[dict[str, Any]] = []
        self._intents = intents
        self._balances = balances
        self._now = now
        self._effects = effects
        self._schema = Schema("stripe_refund.json")

    def create(self, body: str, key: str | None) -> StubResponse:
        """Give back.

        Raises:
            StripeError: the request breaks a rule. What the charge does not allow is an answer: Stripe remembers it.
        """
        params = read(body, self._schema)
        check_metadata(params.get("metadata") or {})
        charge = self._charge(params)
        left = charge["amount_captured"] - charge["amount_refunded"]
        amount = params.get("amount", left)
        if left <= 0:
            said = f"Charge {charge['id']} has already been refunded."
            return StripeError(said, code="charge_already_refunded").reply
        check_amount(amount, charge["currency"])
        if amount > left:
            said = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            return StripeError(said, param="amount").reply
        refund = self._made(params, charge, amount)
        fails = charge["payment_method"] == "pm_card_refundFail"
        # Such a refund is reported as succeeded, and fails later at the bank.
        later = {"status": "failed", "failure_reason": "unknown"} if fails else {}
        self._refunds.append(refund | later)
        if not fails:
            charge["amount_refunded"] += amount
            charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
            self._balances.refunded(charge["currency"], amount)
        self._effects.happened(key)
        return StubResponse(200, refund)

    def list(self, path: str, query: str) -> StubResponse:
        """Answer GET /v1/refunds.

        Raises:
            StripeError: as `page`.
        """
        return page(path, query, self._refunds, ("charge", "payment_intent"))

    def _charge(self, params: dict[str, Any]) -> dict[str, Any]:
        if charge_id := params.get("charge"):
            if charge_id not in self._intents.charges:
                raise missing("charge", charge_id, "charge")
            return self._intents.charges[charge_id]
        intent_id = params.get("payment_intent")
        if not intent_id:
            raise StripeError("One of `payment_intent` or `charge` should be provided.", code="parameter_missing")
        intent = self._intents.show(intent_id).body
        if not intent["latest_charge"]:
            said = f"This PaymentIntent ({intent_id}) does not have a successful charge to refund."
            raise StripeError(said, param="payment_intent")
        return self._intents.charges[intent["latest_charge"]]

    def _made(self, params: dict[str, Any], charge: dict[str, Any], amount: int) -> dict[str, Any]:
        pending = charge["payment_method"] == "pm_card_pendingRefund"
        return {
            "id": f"re_{secrets.token_hex(12)}",
            "object": "refund",
            "amount": amount,
            "balance_transaction": f"txn_{secrets.token_hex(12)}",
            "charge": charge["id"],
            "created": int(self._now()),
            "currency": charge["currency"],
            "metadata": params.get("metadata") or {},
            "payment_intent": charge["payment_intent"],
            "reason": params.get("reason"),
            "status": "pending" if pending else "succeeded",
        }
