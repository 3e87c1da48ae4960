"""Segment's HTTP tracking API, asked directly: their library queues in memory and swallows failures.

Segment answers 200 before it looks at an event closely, and drops what it does not like; what it answers otherwise is
a request that it could not read. It keeps one event of those with the same `messageId`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from urllib3 import PoolManager, Timeout, make_headers
from urllib3.exceptions import HTTPError

from adbot_queue.core.errors import AccountRefused, ProviderFailed
from adbot_queue.core.telemetry import logger
from adbot_queue.providers import registry
from adbot_queue.providers.waiting import retry_after, throttled

SEGMENT = "https://api.segment.io"
CONNECT_S = 2
TIMEOUT_S = 10

MAX_BYTES = 32 * 1024
"""Of one event, the whole request: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/"""

OK, TOO_MANY, SERVER_ERROR = 200, 429, 500
CLOSED = {401: "does not accept", 402: "wants to be paid for", 403: "does not accept"}
"""What Segment refuses the source by, whatever the event."""


def track(event: dict[str, Any], timeout_s: float = TIMEOUT_S) -> None:
    """Send one event.

    Args:
        event: the body of POST /v1/track.
        timeout_s: for the whole call.

    Raises:
        NotConfigured: no write key is set. AccountRefused: Segment does not accept it. Unavailable: as `secrets.read`.
        ProviderFailed: refused or not reached.
    """
    write_key = registry.credential("segment", "write_key")
    try:
        answer = _pool().request(
            "POST",
            f"{registry.base('segment') or SEGMENT}/v1/track",
            body=json.dumps(event, separators=(",", ":")).encode(),
            headers={"content-type": "application/json", **make_headers(basic_auth=f"{write_key}:")},
            timeout=Timeout(connect=min(CONNECT_S, timeout_s), total=timeout_s),
            retries=False,
        )
    except HTTPError as error:
        raise ProviderFailed(f"Segment could not be reached ({type(error).__name__})", retryable=True) from error
    if answer.status == OK:
        return
    logger.warning("Segment refused", status=answer.status)
    if refusal := CLOSED.get(answer.status):
        raise AccountRefused(
            f"Segment {refusal} the write key in the secret that SegmentSecretArn names (HTTP {answer.status})"
        )
    sentence = f"Segment refused the event (HTTP {answer.status})"
    if answer.status == TOO_MANY:
        raise throttled(sentence, answer.headers)
    raise ProviderFailed(sentence, retryable=answer.status >= SERVER_ERROR, retry_after=retry_after(answer.headers))


@lru_cache(maxsize=1)
def _pool() -> PoolManager:
    """The connections of this process; a worker runs up to ten jobs at once."""
    return PoolManager(maxsize=10)
