"""Every provider, one declaration each: its credentials, and how fast it may be asked.

Where they are is in the variable PROVIDERS of those functions that speak to providers:
`{"stripe": {"secret": <name or ARN of a JSON secret>, "base": <another address than the provider's own, or "">}, …}`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from adbot_queue.core import secrets
from adbot_queue.core.settings import MissingSetting


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider.

    Attributes:
        name: what the code says: `stripe`.
        label: what people say: `Stripe`.
        parameter: the template's parameter for its secret.
        fields: what the secret must hold before any job is taken that needs the provider.
        per_second: calls a second, from all workers together; None: as many as come.
        burst: calls at once after a pause.
    """

    name: str
    label: str
    parameter: str
    fields: tuple[str, ...]
    per_second: float | None = None
    burst: int = 1


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        # 100 writes a second are allowed in live mode, 25 in test mode: https://docs.stripe.com/rate-limits
        Provider("stripe", "Stripe", "StripeSecretArn", ("api_key",), 25, 25),
        Provider("sendgrid", "SendGrid", "SendGridSecretArn", ("api_key",)),
        Provider("segment", "Segment", "SegmentSecretArn", ("write_key",)),
        Provider("twilio", "Twilio", "TwilioSecretArn", ("account_sid", "auth_token")),
        Provider("web-push", "Web push", "WebPushSecretArn", ("private_key", "subject")),
        Provider("solana", "Solana", "SolanaSecretArn", ("signing_key", "rpc_url")),
    )
}


def credential(provider: str, field: str) -> Any:
    """One field of a provider's secret.

    Raises:
        NotConfigured: it is not filled in; names the template's parameter. Unavailable: it cannot be read now.
    """
    return secrets.read(_places()[provider]["secret"], field, PROVIDERS[provider].parameter)


def base(provider: str) -> str:
    """Another address than the provider's own; empty: there is none."""
    return _places()[provider].get("base", "")


def check(provider: str) -> None:
    """Whether a job that needs the provider has a chance at all.

    Raises:
        NotConfigured, Unavailable: as `credential`.
    """
    for field in PROVIDERS[provider].fields:
        credential(provider, field)


def replaced(provider: str) -> bool:
    """Whether the provider's secret is another one than this process knew until now; it knows the new one now."""
    return secrets.replaced(_places()[provider]["secret"])


@lru_cache(maxsize=1)
def _places() -> dict[str, dict[str, str]]:
    try:
        places: dict[str, dict[str, str]] = json.loads(os.environ["PROVIDERS"])
    except KeyError:
        raise MissingSetting("environment variables are not set: PROVIDERS") from None
    return places
