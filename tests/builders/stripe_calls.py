"""A payment at the stand-in, to be given back or sent on."""

from __future__ import annotations

from typing import Any

from tests.builders.processors import run
from tests.builders.providers import Peers


def paid(key: str = "paid", amount: int = 4900, currency: str = "eur", card: str = "pm_card_bypassPending") -> str:
    """The id of a PaymentIntent that succeeded; what this card pays is available at once."""
    payment = {"amount": amount, "currency": currency, "payment_method": card}
    result: dict[str, Any] = run("payment-process", payment, key=key)
    assert result["status"] == "succeeded"
    return str(result["payment_intent"])


def charge_of(peers: Peers, intent: str) -> str:
    """The id of a payment's charge."""
    return str(peers.stand_ins.stripe.intents.show(intent).body["latest_charge"])


def balance(peers: Peers, account: str = "") -> dict[str, int]:
    """What an account has: available and pending together, by currency."""
    shown = peers.stand_ins.stripe.balances.show(account).body
    have: dict[str, int] = {}
    for fund in shown["available"] + shown["pending"]:
        have[fund["currency"]] = have.get(fund["currency"], 0) + fund["amount"]
    return {currency: amount for currency, amount in have.items() if amount}
