"""Money in a currency's smallest unit, as Stripe counts it: https://docs.stripe.com/currencies. Pure.

Which currencies an account may charge in, and the least amount in each, is Stripe's to say.
"""

from __future__ import annotations

ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
THREE_DECIMAL = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
WHOLE_UNITS = frozenset(["isk", "ugx"])
"""Counted in hundredths although they have none."""

PAID_OUT_WHOLE = WHOLE_UNITS | {"huf", "twd"}
"""Charged in hundredths, but paid out to banks without them."""


def decimals(currency: str) -> int:
    """How many digits of an amount stand behind the decimal point."""
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2


def granularity(currency: str, *, payout: bool = False) -> int:
    """What an amount must be a multiple of for card networks to take it, or for banks when it is paid out."""
    whole = PAID_OUT_WHOLE if payout else WHOLE_UNITS
    return 100 if currency in whole else 10 if currency in THREE_DECIMAL else 1


def text(amount: int, currency: str) -> str:
    """`text(4900, "eur")` is `49.00 EUR`, `text(500, "jpy")` is `500 JPY`."""
    places = decimals(currency)
    whole, part = divmod(amount, 10**places)
    return f"{whole}.{part:0{places}d} {currency.upper()}" if places else f"{whole} {currency.upper()}"
