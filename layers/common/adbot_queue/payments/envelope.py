"""Whose is an event? Pure: asked of every signed event before anything else is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from adbot_queue.core.errors import NotConfigured

DAY_MS = 86_400_000
_LIVE, _TEST = ("sk_live_", "rk_live_"), ("sk_test_", "rk_test_")


class Source(StrEnum):
    """Which events the endpoint of a webhook secret receives: those of our account, or of connected ones."""

    ACCOUNT = "account"
    CONNECT = "connect"


def livemode_of(api_key: str) -> bool:
    """Return whether the installation takes live events: the API key decides, by its prefix.

    Raises:
        NotConfigured: the prefix is neither of a live nor of a test key. Nothing is taken then: an installation that
            does not know its mode could sell for test money.
    """
    if api_key.startswith(_LIVE):
        return True
    if api_key.startswith(_TEST):
        return False
    allowed = ", ".join(_LIVE + _TEST)
    raise NotConfigured(f'"api_key" in the secret that StripeSecretArn names: must begin with one of {allowed}')


def rejection(event: Mapping[str, Any], *, source: Source, livemode: bool, now: int) -> str | None:
    """Return why the event is not ours, None if it is.

    Args:
        event: as Stripe sent it.
        source: what the secret that signed it is declared for.
        livemode: of this installation.
        now: milliseconds.

    A connected account's payouts are taken, because the platform made them; its sales are its own.
    """
    named = any(event.get(name) not in (None, "") for name in ("account", "context"))
    foreign = named or source is Source.CONNECT
    if foreign and not str(event["type"]).startswith("payout."):
        return "account: an event of another account, expected one of our own"
    if (found := event.get("livemode")) is not livemode:
        said = str(found).lower() if isinstance(found, bool) else "missing" if found is None else "no boolean"
        return f"livemode: {said}, expected {str(livemode).lower()}"
    created = event.get("created")
    if created is None or event.get("object") == "v2.core.event":  # those say it as a text, and are ignored
        return None
    if isinstance(created, bool) or not isinstance(created, int) or created < 0:
        return "created: must be a whole number of seconds since 1970"
    return "created: must not be more than a day ahead" if created * 1000 > now + DAY_MS else None
