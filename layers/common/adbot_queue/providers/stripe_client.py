"""Stripe's own library: its client, and which of its errors may pass.

Importing it takes 230 to 450 ms more than boto3 has taken already, nearly all of it for `requests` and TLS, whichever
part of the library is asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from adbot_queue.providers import registry

if TYPE_CHECKING:
    from stripe import StripeClient, StripeError

CONNECT_S = 2

READ_S = 5
"""Where a person waits for the answer; the library's default of 80 is longer than any function may run."""

RETRIES = 2
CONFLICT, SERVER_ERROR = 409, 500


def client(read_s: int = READ_S) -> StripeClient:
    """The client of this process for the account that the settings name. Its connections are kept.

    Args:
        read_s: seconds to wait for an answer.

    Raises:
        NotConfigured, Unavailable: as `secrets.read`.
    """
    return make(registry.credential("stripe", "api_key"), registry.base("stripe"), read_s)


@lru_cache(maxsize=64)
def make(api_key: str, api_base: str, read_s: int = READ_S) -> StripeClient:
    """A client that keeps its connections. The library retries by itself what is safe, but no 429."""
    import stripe  # noqa: PLC0415

    stripe.enable_telemetry = False  # it would write an id into the home folder and send how long calls took
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": api_base} if api_base else {},
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=(CONNECT_S, read_s)),
    )


def is_retryable(error: StripeError) -> bool:
    """Whether the same request may succeed later. `APIError` is the base of nearly all and tells nothing."""
    import stripe  # noqa: PLC0415

    if isinstance(error, stripe.APIConnectionError | stripe.RateLimitError):
        return True
    status = error.http_status or 0
    return status == CONFLICT or status >= SERVER_ERROR
