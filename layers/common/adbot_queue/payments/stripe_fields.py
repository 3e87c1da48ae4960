"""The fields that Stripe's objects share, read as values. Pure.

A field of another shape than Stripe's is read as absent, unless money depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from adbot_queue.core.text import LOST

Object = Mapping[str, Any]

_FIRST_S, _LAST_S = 1_262_304_000, 4_102_444_800
"""The years 2010, before Stripe, to 2099: a time outside of them is none."""
_NUMBER = re.compile(r"-?[0-9]{1,15}")
_MAX_AMOUNT = 40
"""Characters kept of what should be an amount."""


def one_of(value: Any, field: str, *known: set[str]) -> str:
    """A status that decides about money: one that is not known is not guessed."""
    if isinstance(value, str) and any(value in statuses for statuses in known):
        return value
    raise ValueError(f"{field}: not known")


def id_of(value: Any) -> str | None:
    """An id, where Stripe may have put the object itself; None for what is none."""
    found = value.get("id") if isinstance(value, Mapping) else value
    return found or None if isinstance(found, str) else None


def required_id(thing: Object) -> str:
    """Return the id of an object.

    Raises:
        ValueError: it has none.
    """
    if found := id_of(thing):
        return found
    raise ValueError("id: must be a text")


def part(thing: Any, *names: str) -> Object:
    """An object within an object; an empty one where there is none."""
    for name in names:
        thing = thing.get(name) if isinstance(thing, Mapping) else None
    return thing if isinstance(thing, Mapping) else {}


def objects(value: Any) -> list[Object]:
    """The objects of a list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def moment(seconds: Any) -> int | None:
    """A time in milliseconds; None where there is none."""
    found = whole(seconds)
    return found * 1000 if isinstance(found, int) and _FIRST_S <= found < _LAST_S else None


def leads(tender: str | None, pays: str | None) -> dict[str, str]:
    """For `Payment.tenders`."""
    return {tender: pays} if tender and pays and tender != pays else {}


def distinct(*ids: str | None) -> tuple[str, ...]:
    """Return the given ids, each once.

    Raises:
        ValueError: none is given.
    """
    found = tuple(dict.fromkeys(name for name in ids if name))
    if not found:
        raise ValueError("the event names no payment")
    return found


def named(**ids: str | None) -> dict[str, str]:
    """Return the given ids, by name."""
    return {name: value for name, value in ids.items() if value}


def texts(metadata: Any) -> dict[str, str]:
    """Metadata as texts, trimmed. Stripe sends texts; a number is taken as one, a list or an object fits nothing."""
    given = metadata.items() if isinstance(metadata, Mapping) else ()
    return {
        name: str(value).strip() if isinstance(value, str | int | float) else LOST
        for name, value in given
        if value is not None
    }


def currency(thing: Object) -> str:
    """Return a currency in lower case, empty if there is none."""
    return str(thing.get("currency") or "").strip().lower()


def whole(value: Any) -> int | str | None:
    """An amount as a number; a text if it is none, None if there is none."""
    if value is None:
        return None
    text = str(value).strip()
    return int(text) if _NUMBER.fullmatch(text) else text[:_MAX_AMOUNT]


def amount(value: Any) -> int:
    """An amount to add up; what is none counts for nothing, and its sale does not fit any plan."""
    found = whole(value)
    return max(0, found) if isinstance(found, int) else 0


def asked(subtotal: Any, *explained: tuple[Any, ...]) -> int | str:
    """What was asked for before discounts and taxes.

    Args:
        subtotal: what the object says.
        explained: sums that cannot be less than that: what was paid, and what discounts and credit took off.

    Returns:
        The smallest of them, or a text that is no amount.
    """
    if any(parts[0] is None for parts in explained):
        return ""  # what was paid is not said
    sums: list[int] = []
    for parts in ((subtotal,), *explained):
        found = [whole(part) for part in parts]
        if wrong := [one for one in found if isinstance(one, str)]:
            return wrong[0]
        if found[0] is not None:
            sums.append(sum(one for one in found if isinstance(one, int)))
    return min(sums, default="")


def sale(pays: str, mode: Any, currency: str, asked: int | str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What was sold, for `Payment.sales`."""
    return {
        "pays": pays,
        "mode": str(mode or "")[:_MAX_AMOUNT],
        "currency": currency[:_MAX_AMOUNT],
        "asked": asked,
        "plan_id": metadata.get("plan_id", "")[:64],
        "required_sessions": metadata.get("required_sessions", "")[:_MAX_AMOUNT],
    }
