"""Why an attempt did not complete its job. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto

from adbot_queue.core.ids import fingerprint

SPENDS_NO_ATTEMPT = frozenset({"snoozed", "throttled", "provider_closed", "unsupported"})
"""Kinds of failures that spend no attempt: the provider was not called, or did not process the call."""


class RetryLimit(Enum):
    """What bounds the retries after a failure."""

    ATTEMPTS = auto()  # the policy's attempts: a bug, or an attempt that costs money
    HORIZON = auto()  # the policy's attempts, then its horizon: an outage elsewhere
    NONE = auto()  # nothing: a rate limit


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not complete its job.

    Attributes:
        kind: `transient`, `permanent`, `timeout`, `stalled` (the worker died), `cancelled`, `expired` (no version of
            the code could run it in time); or, spending no attempt: `snoozed`, `throttled`, `provider_closed`,
            `unsupported` (waits for another version of the code).
        error: the exception's class: what an operator searches for.
        message: one sentence, without personal data.
        limit: what bounds the retries; not stored.
    """

    kind: str
    error: str
    message: str
    limit: RetryLimit = field(default=RetryLimit.HORIZON, compare=False)

    def fingerprint(self, job_type: str) -> str:
        """Return the group of the failure: equal for failures that differ in numbers and ids only."""
        text = re.sub(r"[0-9a-f]{8,}|\d+", "#", self.message.lower())
        return fingerprint(f"{job_type}\n{self.kind}\n{self.error}\n{text}")[:12]
