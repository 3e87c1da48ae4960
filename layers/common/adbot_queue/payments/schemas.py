"""What payments and plans look like over HTTP."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from adbot_queue.adbots.model import MAX_SESSIONS
from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Query, View
from adbot_queue.payments.checkout import Checkout
from adbot_queue.payments.plans import BillingInterval, CheckoutMode, Plan

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def _address(text: str) -> str:
    """Where a browser is sent after paying: https, or this machine."""
    parts = urlsplit(text)
    if parts.username or not (
        (parts.scheme == "https" and parts.hostname) or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    ):
        raise ValueError("must be an https address (http only on localhost), without a user name")
    return text


Address = Annotated[str, Field(max_length=2000), AfterValidator(_address)]


class StartCheckout(Input):
    """Which plan to buy, and where to go after paying or giving up; by default the installation's own pages."""

    plan_id: str = Field(min_length=1, max_length=64)
    success_url: Address | None = None
    cancel_url: Address | None = None


class CheckoutView(View):
    """A Checkout session. The order that comes of it shows its `id` as `provider_ids.checkout_session`."""

    id: str
    url: str = Field(description="send the customer's browser there")
    plan_id: str
    expires_at: str

    @classmethod
    def of(cls, begun: Checkout) -> CheckoutView:
        """The view of a session."""
        return cls(id=begun.id, url=begun.url, plan_id=begun.plan_id, expires_at=iso(begun.expires_at))


class PlanBody(Input):
    """What a plan offers. `amount` is in the currency's smallest unit."""

    name: str = Field(min_length=1, max_length=250)
    pool: str = Field(min_length=1, max_length=32)
    required_sessions: int = Field(ge=1, le=MAX_SESSIONS)
    amount: int = Field(ge=1, le=99_999_999, description="Stripe's own least amount depends on the currency")
    currency: str = Field(pattern=r"^[a-z]{3}$")
    mode: CheckoutMode = Field(CheckoutMode.PAYMENT, strict=False)
    interval: BillingInterval | None = Field(None, strict=False, description="of a subscription, and only of one")
    active: bool = True

    @model_validator(mode="after")
    def _interval_goes_with_subscription(self) -> Self:
        if (self.mode is CheckoutMode.SUBSCRIPTION) != (self.interval is not None):
            raise ValueError("interval belongs to a subscription, and only to one")
        return self


class PlanView(View):
    """A plan."""

    id: str
    name: str
    pool: str
    required_sessions: int
    amount: int
    currency: str
    mode: CheckoutMode
    interval: BillingInterval | None
    active: bool
    version: int

    @classmethod
    def of(cls, plan: Plan) -> PlanView:
        """The view of a plan."""
        return cls.model_validate(plan)


class PlanPage(Query):
    """Which page of the plans."""

    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class PlanList(View):
    """A page of plans, by id."""

    items: list[PlanView]
    next: str | None

    @classmethod
    def of(cls, plans: list[Plan], following: str | None) -> PlanList:
        """The view of a page."""
        return cls(items=[PlanView.of(plan) for plan in plans], next=following)
