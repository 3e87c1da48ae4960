"""Buying a plan: the Stripe Checkout session whose metadata says, to every later event, what was bought by whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from adbot_queue.core.errors import Conflict, NotConfigured
from adbot_queue.core.ids import derived_id
from adbot_queue.core.settings import variable
from adbot_queue.payments import plans, stripe_checkout
from adbot_queue.payments.plan import CheckoutMode, Plan
from adbot_queue.payments.plans import Plans


@dataclass(frozen=True, slots=True)
class Checkout:
    """A Checkout session. `expires_at` is in milliseconds; `replayed`: an earlier request had its key."""

    id: str
    url: str
    plan_id: str
    expires_at: int
    replayed: bool = False


class CheckoutService:
    """Starts checkouts."""

    def __init__(self, catalogue: Plans, success_url: str, cancel_url: str) -> None:
        self._plans = catalogue
        self._success_url = success_url
        self._cancel_url = cancel_url

    def start(self, user_id: str, plan_id: str, success_url: str | None, cancel_url: str | None, key: str) -> Checkout:
        """Create a Checkout session for a plan.

        Args:
            user_id: who buys.
            plan_id: what.
            success_url: where to go after paying, by default the installation's page.
            cancel_url: where to go after giving up, by default the installation's page.
            key: the caller's Idempotency-Key, or anything that no other request has. Two users may use the same.

        Raises:
            NotFound: no such plan. Conflict: it is not for sale.
            NotConfigured: no address to go to after paying, or as `stripe_checkout.create_checkout`.
            IdempotencyMismatch, ProviderFailed, Unavailable: as `stripe_checkout.create_checkout`.
        """
        plan = self._plans.get(plan_id)
        if not plan.active:
            raise Conflict(f"plan {plan_id} is not for sale")
        success, cancel = success_url or self._success_url, cancel_url or self._cancel_url
        if not success or not cancel:
            raise NotConfigured("set CHECKOUT_SUCCESS_URL and CHECKOUT_CANCEL_URL, or give success_url and cancel_url")
        params = params_of(plan, user_id, success, cancel)
        made = stripe_checkout.create_checkout(params, derived_id("checkout_", user_id, key))
        session_id, url, expires_at, replayed = made
        return Checkout(session_id, url, plan_id, expires_at * 1000, replayed)


def params_of(plan: Plan, user_id: str, success_url: str, cancel_url: str) -> dict[str, Any]:
    """What Stripe is asked for.

    The metadata goes on the session and on what outlives it: events of the payment, and every invoice of the
    subscription, carry it as well.
    """
    metadata = {
        "plan_id": plan.id,
        "pool": plan.pool,
        "required_sessions": str(plan.required_sessions),
        "user_id": user_id,
    }
    price: dict[str, Any] = {
        "currency": plan.currency,
        "unit_amount": plan.amount,
        "product_data": {"name": plan.name},
    }
    if plan.mode is CheckoutMode.SUBSCRIPTION:
        price["recurring"] = {"interval": plan.interval}
    lasting = "subscription_data" if plan.mode is CheckoutMode.SUBSCRIPTION else "payment_intent_data"
    return {
        "mode": plan.mode.value,
        "line_items": [{"quantity": 1, "price_data": price}],
        "success_url": success_url,
        "cancel_url": cancel_url,
        "client_reference_id": user_id,
        "metadata": metadata,
        lasting: {"metadata": metadata},
    }


@lru_cache(maxsize=1)
def from_env() -> CheckoutService:
    """The service of this process."""
    return CheckoutService(plans.from_env(), variable("CHECKOUT_SUCCESS_URL"), variable("CHECKOUT_CANCEL_URL"))
