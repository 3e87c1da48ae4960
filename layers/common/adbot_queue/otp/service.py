"""Asking for a code, and showing that one has it.

A code belongs to whoever asked for it: customers can use only codes that they asked for themselves; those of staff are
the installation's, so that any of its programs can check them. No answer depends on whether anybody knows the phone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.errors import Invalid, RateLimited
from adbot_queue.core.http import Caller
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs import service as jobs_service
from adbot_queue.jobs.registry import Rate
from adbot_queue.jobs.service import JobService, NewJob
from adbot_queue.ledger import SYSTEM
from adbot_queue.otp import codes
from adbot_queue.otp.codes import Codes
from adbot_queue.providers import registry as providers
from adbot_queue.system import limits
from adbot_queue.system.limits import Limits

RESEND_S = 60
PER_MINUTE = Rate(1 / RESEND_S, 1)
PER_HOUR = Rate(2 / 3600, 3)
"""To one phone, whoever asks: burst and an hour's rate together are never more than 5 in any hour."""

PER_CUSTOMER = Rate(5 / 3600, 5)
"""By one customer, to whatever phones: never more than 10 in any hour. Messages to some numbers earn money."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A code is on its way. `ends_at` in ms; `job` sends it."""

    job: str
    ends_at: int


class Otps:
    """What the HTTP interface does."""

    def __init__(self, store: Codes, jobs: JobService, limit: Limits, now: Clock = system_clock) -> None:
        self._codes = store
        self._jobs = jobs
        self._limits = limit
        self._now = now

    def ask(self, caller: Caller, purpose: str, phone: str, time_left: Callable[[], int]) -> Asked:
        """Send a code to a phone; the one before it, of the same purpose, is worthless.

        Args:
            caller: who asks.
            purpose: what it is for.
            phone: E.164.
            time_left: as `JobService.enqueue`.

        Raises:
            RateLimited: too many by the caller, or to this phone.
            NotConfigured, Unavailable: no code is on its way.
        """
        providers.check("twilio")
        admitted = self._jobs.admit(caller.id)
        if not caller.is_admin:
            self._take(f"otp:by:{caller.id}", PER_CUSTOMER)
        recipient = self._codes.name(phone)
        self._take(f"otp:minute:{recipient}", PER_MINUTE)
        self._take(f"otp:hour:{recipient}", PER_HOUR)
        name, issue = self._codes.name(_scope(caller), purpose, phone), time_ordered_id(self._now())
        ends_at = self._codes.open(name, issue, phone)
        new = NewJob("send-otp", {"otp": name, "issue": issue}, tenant=caller.id)
        return Asked(self._jobs.enqueue(new, SYSTEM, time_left, admitted).job.id, ends_at)

    def verify(self, caller: Caller, purpose: str, phone: str, code: str) -> None:
        """Use a code up.

        Raises:
            Invalid: it is not the one that was sent last, its time or tries are over, it was used, or none was sent.
                The answer does not tell which.
            NotConfigured, Unavailable: nothing is known.
        """
        if not self._codes.use(self._codes.name(_scope(caller), purpose, phone), code):
            raise Invalid.field("code", "is wrong, used or too old")

    def _take(self, name: str, rate: Rate) -> None:
        taken = self._limits.take(name, rate)
        if not taken.allowed:
            error = RateLimited("too many codes; try again later")
            error.headers = {"retry-after": str(taken.retry_after_s)}
            raise error


def _scope(caller: Caller) -> str:
    """Whose a code is."""
    return "" if caller.is_admin else caller.id


@lru_cache(maxsize=1)
def from_env() -> Otps:
    """The codes' service of this process."""
    return Otps(codes.from_env(), jobs_service.from_env(), limits.from_env())
