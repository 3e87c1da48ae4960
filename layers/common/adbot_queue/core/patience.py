"""How AWS calls are repeated: an outage of one second reaches no caller.

botocore's own retries do not promise that. Version 1.44 gives up after 0.2 s on DynamoDB, and every version takes its
retries out of one budget a client, which a client that lives as long as its process does not get back in time: after
some outages each call is tried once. The clients of `core/aws.py` therefore switch botocore's retries off and ask this
module, which keeps no budget: attempts, time and Lambda's concurrency bound what a lasting outage costs.
"""

from __future__ import annotations

import random
import time
from typing import Any

from botocore.exceptions import ConnectionError as NotConnected
from botocore.exceptions import HTTPClientError

from adbot_queue.core.error_codes import PASSING, PASSING_STATUS, THROTTLED

ATTEMPTS = 6
"""The pauses between them are at least 1.5 s in all, and at most 3.1 s."""

FIRST_PAUSE_S = 0.1
"""Doubled after each attempt. A pause is this or down to half of it, so that callers do not come back together."""

LAST_START_S = 7.0
"""No attempt starts later than this after the call did: one that hangs until its timeout (2 s to connect, 5 s to read)
ends within 14 s, which leaves a function of 15 s and the API's 29 s intact."""


def apply(client: Any) -> None:
    """Have a client repeat its calls as this module says. Its own retries must be off (`total_max_attempts` 1)."""
    events, service = client.meta.events, client.meta.service_model.service_id.hyphenize()
    events.register(f"before-call.{service}", _begin)
    events.register(f"needs-retry.{service}", _needs_retry)


def pause_before(attempt: int) -> float:
    """Return the seconds to wait before an attempt, the second one being 2."""
    return random.uniform(0.5, 1) * FIRST_PAUSE_S * float(2 ** (attempt - 2))  # noqa: S311  jitter, no secret


def _begin(context: dict[str, Any], **_: Any) -> None:
    context["begun"] = time.monotonic()


def _needs_retry(
    response: Any, attempts: int, caught_exception: Exception | None, request_dict: dict[str, Any], **_: Any
) -> float | None:
    """Return the pause before the next attempt, None where there is none."""
    passing = _passes(*response) if response else isinstance(caught_exception, NotConnected | HTTPClientError)
    if not passing or attempts >= ATTEMPTS:
        return None
    pause = pause_before(attempts + 1)
    begun = request_dict["context"].get("begun")
    late = begun is not None and time.monotonic() + pause - begun > LAST_START_S
    return None if late else pause


def _passes(http: Any, parsed: dict[str, Any]) -> bool:
    if http.status_code in PASSING_STATUS:
        return True
    code = parsed.get("Error", {}).get("Code", "") if isinstance(parsed, dict) else ""
    if code == "TransactionCanceledException":
        # Conflicts and refused conditions are the caller's: it must read again before it decides anew.
        codes = {reason.get("Code", "None") for reason in parsed.get("CancellationReasons", [])} - {"None"}
        return bool(codes) and codes <= THROTTLED
    return code in PASSING
