"""What payments and plans look like over HTTP."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from adbot_queue.adbots.model import MAX_SESSIONS
from adbot_queue.core.schema import Input, Moment, Query, View
from adbot_queue.payments.plan import BillingInterval, CheckoutMode, Plan
from adbot_queue.providers.stripe_currencies import granularity

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def _address(text: str) -> str:
    """Check the address that a browser returns to: https, or http on localhost."""
    parts = urlsplit(text)
    if parts.username or not (
        (parts.scheme == "https" and parts.hostname) or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    ):
        raise ValueError("must be an https URL (http only on localhost) without a user name")
    return text


Address = Annotated[str, Field(max_length=2000), AfterValidator(_address)]


class StartCheckout(Input):
    """Plan to buy, and the pages to return to; by default those of the installation."""

    plan_id: str = Field(min_length=1, max_length=64)
    success_url: Address | None = None
    cancel_url: Address | None = None


class CheckoutView(View):
    """A Stripe Checkout session; its order shows the id as `provider_ids.checkout_session`."""

    checkout_session_id: str = Field(validation_alias="id")
    url: str = Field(description="Send the browser of the customer there")
    plan_id: str
    expires_at: Moment


class PlanBody(Input):
    """Terms of a plan. `amount` is in the smallest unit of the currency."""

    name: str = Field(min_length=1, max_length=250)
    pool: str = Field(min_length=1, max_length=32)
    required_sessions: int = Field(ge=1, le=MAX_SESSIONS)
    amount: int = Field(ge=1, le=99_999_999, description="The minimum of Stripe depends on the currency")
    currency: str = Field(pattern=r"^[a-z]{3}$", description="a three-letter ISO 4217 code in lower case")
    mode: CheckoutMode = Field(CheckoutMode.PAYMENT, strict=False)
    interval: BillingInterval | None = Field(
        None, strict=False, description="Required for mode `subscription`, not allowed for `payment`"
    )
    active: bool = True

    @model_validator(mode="after")
    def _interval_goes_with_subscription(self) -> Self:
        if (self.mode is CheckoutMode.SUBSCRIPTION) != (self.interval is not None):
            raise ValueError("interval: required for mode subscription, not allowed for mode payment")
        return self

    @model_validator(mode="after")
    def _amount_fits_the_currency(self) -> Self:
        step = granularity(self.currency)
        if self.amount % step:
            raise ValueError(f"amount: must be a multiple of {step} in {self.currency}")
        return self


class PlanView(View):
    """A plan."""

    plan_id: str = Field(validation_alias="id")
    name: str
    pool: str
    required_sessions: int
    amount: int
    currency: str
    mode: CheckoutMode
    interval: BillingInterval | None
    active: bool
    version: int


class PlansQuery(Query):
    """Page of plans."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class PlanPage(View):
    """A page of plans, by id."""

    items: list[PlanView]
    next: str | None

    @classmethod
    def of(cls, plans: list[Plan], following: str | None) -> PlanPage:
        """Return the view of a page."""
        return cls(items=[PlanView.model_validate(plan) for plan in plans], next=following)
