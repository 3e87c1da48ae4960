"""What can be bought. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckoutMode(StrEnum):
    """How a plan is paid: once, or again and again."""

    PAYMENT = "payment"
    SUBSCRIPTION = "subscription"


class BillingInterval(StrEnum):
    """How often a subscription is paid."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Plan:
    """A number of sessions of a pool for an amount in the currency's smallest unit. Inactive: not for sale."""

    id: str
    name: str
    pool: str
    required_sessions: int
    amount: int
    currency: str
    mode: CheckoutMode = CheckoutMode.PAYMENT
    interval: BillingInterval | None = None
    active: bool = True
    version: int = 1
