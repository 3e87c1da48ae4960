"""How pages write times, ages and numbers. Pure; filters of the templates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from adbot_queue.core.clock import iso

NOTHING = "\N{EN DASH}"
SECOND = 1_000
EXACT_MS = 10_000
"""Shorter times are written with tenths of a second."""

RELATIVE_MS = 12 * 3_600_000
"""Older moments are written with their date."""

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def number(value: float | None) -> str:
    """`1125` -> `1,125`; nothing is an en dash."""
    if value is None:
        return NOTHING
    return f"{value:,.1f}" if isinstance(value, float) and not value.is_integer() else f"{int(value):,}"


WHOLE = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"]
)
THOUSANDTHS = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
"""Currencies whose smallest unit is not a hundredth: https://docs.stripe.com/currencies#zero-decimal"""

SYMBOLS = {"eur": "\N{EURO SIGN}", "usd": "$", "gbp": "\N{POUND SIGN}"}


def money(amount: int, currency: str) -> str:
    """`4900, "eur"` -> `\u20ac49.00`: an amount in the currency's smallest unit."""
    digits = 0 if currency in WHOLE else 3 if currency in THOUSANDTHS else 2
    said = f"{amount / 10**digits:,.{digits}f}"
    return f"{SYMBOLS[currency]}{said}" if currency in SYMBOLS else f"{said} {currency.upper()}"


def duration(millis: float | None) -> str:
    """`97200000` -> `1 d 3 h`: two units at most, tenths of a second below ten seconds."""
    if millis is None:
        return NOTHING
    if millis < SECOND:
        return f"{round(millis)} ms"
    if millis < EXACT_MS:
        return f"{millis / 1000:.1f} s"
    left, parts = int(millis), list[str]()
    for length, unit in _UNITS:
        if left >= length and len(parts) < 2:  # noqa: PLR2004
            parts.append(f"{left // length} {unit}")
            left %= length
        elif parts:
            break
    return " ".join(parts[:2] if parts[0].endswith(("d", "h")) else parts[:1])


def age(millis: int | None, now: int) -> str:
    """How long ago a moment was, in whole units: `just now`, `33 s`, `12 min`, `1 h 2 min`."""
    if millis is None:
        return NOTHING
    passed = max(0, now - millis)
    return (
        "0 s" if passed < SECOND else duration(passed // SECOND * SECOND if passed >= EXACT_MS else round(passed, -3))
    )


def moment(millis: int, now: int) -> str:
    """`33 min ago`, or `26 Nov 22:41` when it is older than 12 hours; `in 4 min` when it comes."""
    if abs(now - millis) > RELATIVE_MS:
        made = datetime.fromtimestamp(millis / 1000, tz=UTC)
        year = "" if made.year == datetime.fromtimestamp(now / 1000, tz=UTC).year else f" {made.year}"
        return f"{made.day} {made:%b}{year} {made:%H:%M}"
    if millis > now + 999:
        return f"in {age(now, millis)}"
    passed = age(millis, now)
    return "just now" if passed == "0 s" else f"{passed} ago"


def millis_of(value: int | str) -> int:
    """Return a moment in ms: services answer some as ISO texts."""
    if isinstance(value, int):
        return value
    return round(datetime.fromisoformat(value).timestamp() * 1000)


def short_id(value: str) -> str:
    """`01a21d60f3ab…e11a`: time-ordered ids differ at their end."""
    return value if len(value) <= 16 else f"{value[:8]}…{value[-4:]}"  # noqa: PLR2004


@pass_context
def time_element(context: Context, value: int | str | None) -> Markup | str:
    """A `<time>` with the relative text; the exact moment in UTC is in its title."""
    if value is None:
        return NOTHING
    millis = millis_of(value)
    exact = datetime.fromtimestamp(millis // 1000, tz=UTC).replace(tzinfo=None).isoformat()
    title = f"{exact.replace('T', ' ')} UTC"
    return Markup('<time datetime="{}Z" title="{}">{}</time>').format(exact, title, moment(millis, context["now"]))


@pass_context
def age_of(context: Context, value: int | str | None) -> str:
    """How long ago, without "ago"."""
    return NOTHING if value is None else age(millis_of(value), context["now"])


@pass_context
def until(context: Context, value: int) -> str:
    """How long until a moment, without "in"."""
    return age(context["now"], value)


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "duration": duration,
    "money": money,
    "time": time_element,
    "age": age_of,
    "until": until,
    "short_id": short_id,
    "iso": lambda value: iso(millis_of(value)),
}
