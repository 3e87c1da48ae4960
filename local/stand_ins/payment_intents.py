"""Stripe's PaymentIntents: created and confirmed in one request, with Stripe's test cards.

https://docs.stripe.com/testing: `pm_card_visa` pays, `pm_card_chargeDeclined…` is declined, and one whose name begins
with `pm_card_threeDSecure` or `pm_card_authenticationRequired` waits for the customer. What `pm_card_bypassPending`
pays is available at once.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from typing import Any

from local.stand_ins.stripe_balance import Balances
from local.stand_ins.stripe_lists import search
from local.stand_ins.stripe_rules import StripeError, check_amount, check_currency, check_metadata, read
from local.stand_ins.stub_response import Effects, Schema, StubResponse

MIN_AMOUNT, MAX_AMOUNT = 50, 99_999_999
DECLINED = "pm_card_chargeDeclined"
DECLINES = {
    "": ("card_declined", "generic_decline"),
    "InsufficientFunds": ("card_declined", "insufficient_funds"),
    "LostCard": ("card_declined", "lost_card"),
    "StolenCard": ("card_declined", "stolen_card"),
    "ExpiredCard": ("expired_card", "expired_card"),
    "IncorrectCvc": ("incorrect_cvc", "incorrect_cvc"),
    "ProcessingError": ("processing_error", "processing_error"),
}
AVAILABLE = "pm_card_bypassPending"
CHALLENGED = ("pm_card_threeDSecure", "pm_card_authenticationRequired")


class PaymentIntents:
    """The payments of an account. `challenge` makes the bank's page out of a payment's id."""

    def __init__(
        self, challenge: Callable[[str], str], now: Callable[[], float], effects: Effects, balances: Balances
    ) -> None:
        self.charges: dict[str, dict[str, Any]] = {}
        self._balances = balances
        self._intents: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str | None] = {}
        self._challenge = challenge
        self._now = now
        self._effects = effects
        self._schema = Schema("stripe_payment_intent.json")
        self._lock = threading.Lock()

    def create(self, body: str, key: str | None) -> StubResponse:
        """Create a payment, and confirm it if that is asked for.

        Raises:
            StripeError: the request breaks a rule. A decline is an answer: Stripe remembers it under the key.
        """
        params = read(body, self._schema)
        _check(params)
        intent = self._made(params)
        with self._lock:
            self._intents[intent["id"]] = intent
            self._keys[intent["id"]] = key
        if not params.get("confirm"):
            intent["status"] = "requires_confirmation" if intent["payment_method"] else "requires_payment_method"
            return StubResponse(200, intent)
        return self._confirm(intent, params.get("return_url"))

    def show(self, intent_id: str) -> StubResponse:
        """A payment.

        Raises:
            StripeError: there is none.
        """
        intent = self._intents.get(intent_id)
        if intent is None:
            raise missing("payment_intent", intent_id, "intent", 404)
        return StubResponse(200, intent)

    def show_charge(self, charge_id: str) -> StubResponse:
        """The charge of a payment.

        Raises:
            StripeError: there is none.
        """
        charge = self.charges.get(charge_id)
        if charge is None:
            raise missing("charge", charge_id, "id", 404)
        return StubResponse(200, charge)

    def search(self, path: str, query: str) -> StubResponse:
        """Answer GET /v1/payment_intents/search.

        Raises:
            StripeError: as `stripe_lists.search`.
        """
        return search(path, query, self._intents.values())

    def authenticate(self, intent_id: str) -> str | None:
        """The customer has convinced the bank: the money moves. Answers where to go from there.

        Raises:
            KeyError: there is no such payment.
        """
        with self._lock:
            intent = self._intents[intent_id]
            action = intent["next_action"] or {}
            if intent["status"] == "requires_action":
                self._pay(intent)
        return (action.get("redirect_to_url") or {}).get("return_url")

    def _confirm(self, intent: dict[str, Any], return_url: str | None) -> StubResponse:
        method = str(intent["payment_method"])
        if method.startswith(CHALLENGED):
            redirect = {"url": self._challenge(intent["id"]), "return_url": return_url}
            action = {"type": "redirect_to_url", "redirect_to_url": redirect}
            if return_url is None:
                action = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
            intent |= {"status": "requires_action", "next_action": action}
            return StubResponse(200, intent)
        if method.startswith(DECLINED):
            code, decline = DECLINES.get(method.removeprefix(DECLINED), DECLINES[""])
            error = {
                "type": "card_error",
                "code": code,
                "decline_code": decline,
                "message": "Your card was declined.",
                "param": "",
            }
            intent |= {"status": "requires_payment_method", "payment_method": None, "last_payment_error": error}
            return StubResponse(402, {"error": {**error, "payment_intent": intent}})
        self._pay(intent)
        return StubResponse(200, intent)

    def _pay(self, intent: dict[str, Any]) -> None:
        charge_id = f"ch_{secrets.token_hex(12)}"
        amount, currency = intent["amount"], intent["currency"]
        intent |= {
            "status": "succeeded",
            "amount_received": amount,
            "latest_charge": charge_id,
            "next_action": None,
        }
        self.charges[charge_id] = {
            "id": charge_id,
            "object": "charge",
            "amount": amount,
            "amount_captured": amount,
            "amount_refunded": 0,
            "captured": True,
            "created": int(self._now()),
            "currency": currency,
            "disputed": False,
            "livemode": False,
            "metadata": intent["metadata"],
            "paid": True,
            "payment_intent": intent["id"],
            "payment_method": intent["payment_method"],
            "refunded": False,
            "status": "succeeded",
        }
        self._balances.charged(currency, amount, available=intent["payment_method"] == AVAILABLE)
        self._effects.happened(self._keys[intent["id"]])

    def _made(self, params: dict[str, Any]) -> dict[str, Any]:
        intent_id = f"pi_{secrets.token_hex(12)}"
        return {
            "id": intent_id,
            "object": "payment_intent",
            "amount": params["amount"],
            "amount_received": 0,
            "capture_method": "automatic",
            "client_secret": f"{intent_id}_secret_{secrets.token_hex(12)}",
            "confirmation_method": "automatic",
            "created": int(self._now()),
            "currency": params["currency"],
            "customer": params.get("customer"),
            "description": params.get("description"),
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": False,
            "metadata": params.get("metadata", {}),
            "next_action": None,
            "payment_method": params.get("payment_method"),
            "payment_method_types": params.get("payment_method_types", ["card"]),
        }


def missing(kind: str, name: str, param: str, status: int = 400) -> StripeError:
    """The refusal of a name that nothing has."""
    return StripeError(f"No such {kind}: '{name}'", status, code="resource_missing", param=param)


def _check(params: dict[str, Any]) -> None:
    """Rules that Stripe's schema does not tell, in the words of its errors."""
    amount, currency = params["amount"], params["currency"]
    check_currency(currency)
    check_amount(amount, currency)
    if amount < MIN_AMOUNT:
        raise StripeError("Amount must be higher.", code="amount_too_small", param="amount")
    if amount > MAX_AMOUNT:
        raise StripeError("Amount must be lower.", code="amount_too_large", param="amount")
    if "return_url" in params and not params.get("confirm"):
        raise StripeError("`return_url` can only be used with `confirm=true`.", param="return_url")
    method, customer = params.get("payment_method"), params.get("customer")
    if params.get("confirm") and not method:
        raise StripeError("You cannot confirm this PaymentIntent because it's missing a payment method.", 400)
    if method and not re.fullmatch(r"pm_(card_\w+|\w{8,})", method):
        raise missing("PaymentMethod", method, "payment_method")
    if customer and not re.fullmatch(r"cus_\w+", customer):
        raise missing("customer", customer, "customer")
    check_metadata(params.get("metadata", {}))
