"""Failures on demand, for tests: a provider fails for those requests whose own content says so.

fail=503x2   the first two requests under a key are refused with 503 and do nothing; those after them go well
fail=429x1   the same, with Retry-After
fail=400     every request is refused
fail=quotax1 the first request is refused as the provider refuses one that is over the account's quota: its own status,
             code and headers (`refusals`: throttled, locked, behind, revoked, quota, suspended, mismatch)
hang=5x1     the first request is done, but answered only after 5 seconds
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass

RETRY_AFTER = "2"
TOO_MANY = 429
_WORDS = "throttled|locked|behind|revoked|quota|suspended|mismatch"
_WISH = re.compile(rf"\b(fail|hang)=(\d+(?:\.\d+)?|{_WORDS})(?:x(\d+))?\b")


@dataclass(frozen=True, slots=True)
class Mood:
    """How one request is answered.

    Attributes:
        status: refuse it with this status.
        delay: answer that many seconds late.
        refusal: refuse it in the provider's own words for this (`refusals`).
    """

    status: int | None = None
    delay: float = 0
    refusal: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Further headers of the refusal."""
        return {"retry-after": RETRY_AFTER} if self.status == TOO_MANY else {}


class FaultInjection:
    """Remembers how often each key has come."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def of(self, key: str | None, text: str) -> Mood:
        """The mood for one more request under `key` (or none) whose content has `text` in it."""
        wishes = _WISH.findall(text)
        if not wishes:
            return Mood()
        status, delay, refusal = None, 0.0, None
        with self._lock:
            for kind, value, times in wishes:
                mark = (key or text, f"{kind}={value}x{times}")
                self._seen[mark] += 1
                if times and self._seen[mark] > int(times):
                    continue
                if not value[0].isdigit():
                    refusal = value
                elif kind == "fail":
                    status = int(float(value))
                else:
                    delay = float(value)
        return Mood(status, delay, refusal)
