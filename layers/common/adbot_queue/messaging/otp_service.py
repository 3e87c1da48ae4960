"""Request a code, and verify it.

A code belongs to its requester: customers can verify only codes that they requested themselves; those of staff belong
to the installation, so that any of its programs can verify them. No answer depends on whether a phone is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from adbot_queue.core import telemetry
from adbot_queue.core.callers import Caller
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.errors import Invalid, RateLimited
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs import service as jobs_service
from adbot_queue.jobs.service import JobRequest, JobService
from adbot_queue.ledger import SYSTEM
from adbot_queue.messaging import otp_codes as codes
from adbot_queue.messaging import phone_ranges as numbers
from adbot_queue.messaging.otp_codes import Codes
from adbot_queue.platform import joint_rate_limits as limits
from adbot_queue.platform.joint_rate_limits import JointRateLimiter
from adbot_queue.platform.rate import Rate
from adbot_queue.providers import registry as providers

RESEND_S = 60

# Burst and an hour's rate together bound what any hour can see.
RESEND = Rate(1 / RESEND_S, 1)
"""To one phone, by one caller; the staff's programs are one."""
PER_PHONE = Rate(2 / 3600, 3)
"""To one phone, by one caller: at most 5 in any hour. Codes of other callers do not count."""
PER_PHONE_OF_ALL = Rate(10 / 3600, 10)
"""To one phone, by all customers: more than one of them can use up, so that none can keep another's codes away."""
PER_CUSTOMER = Rate(5 / 3600, 5)
"""By one customer, to whatever phones: at most 10 in any hour."""
PER_RANGE = Rate(20 / 3600, 10)
"""By one caller to a block of 10,000 numbers: an abuser who earns by messages has a whole block."""
PER_RANGE_OF_ALL = Rate(40 / 3600, 20)
"""The same, by all callers."""
PER_PREFIX = Rate(120 / 3600, 40)
"""By all callers to an operator or an area: calling code and three digits."""

DEFAULT_COUNTRIES, DEFAULT_PER_DAY = "DE", 1000
"""As the template's parameters `CodeCountries` and `CodesPerDay`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A code is on its way. `ends_at` in ms; `job` sends it."""

    job: str
    ends_at: int


class Otps:
    """What the HTTP interface does."""

    def __init__(
        self,
        store: Codes,
        jobs: JobService,
        limit: JointRateLimiter,
        now: Clock = system_clock,
        countries: frozenset[str] = frozenset({DEFAULT_COUNTRIES}),
        per_day: int = DEFAULT_PER_DAY,
    ) -> None:
        self._codes = store
        self._jobs = jobs
        self._limits = limit
        self._now = now
        self._countries = countries
        self._all = Rate(per_day / 86_400, max(1, per_day // 10))

    def ask(self, caller: Caller, purpose: str, phone: str, time_left: Callable[[], int]) -> Asked:
        """Send a code to a phone; the one before it, of the same purpose, is worthless.

        Args:
            caller: who asks.
            purpose: what it is for.
            phone: E.164.
            time_left: as `JobService.enqueue`.

        Raises:
            Invalid: it is no mobile number of a country that codes are sent to.
            RateLimited: too many by the caller, to this phone, or to numbers like it. Nothing was spent.
            NotConfigured, Unavailable: no code is on its way.
        """
        providers.check("twilio")
        if numbers.country_of(phone) not in self._countries:
            telemetry.count("OtpsRefused")
            known = ", ".join(sorted(self._countries))
            raise Invalid.field("to", f"must be a mobile number of {known} (parameter CodeCountries)")
        name = self._codes.name(_scope(caller), purpose, phone)
        self._admit(caller, phone)
        issue = time_ordered_id(self._now())
        ends_at = self._codes.open(name, issue, phone)
        new = JobRequest("send-otp", {"otp": name, "issue": issue}, tenant=caller.id)
        job = self._jobs.enqueue(new, SYSTEM, time_left).job
        telemetry.count("OtpsAsked")
        telemetry.count("OtpsUnverified")
        return Asked(job.id, ends_at)

    def verify(self, caller: Caller, purpose: str, phone: str, code: str) -> None:
        """Use a code up.

        Raises:
            Invalid: it is not the one that was sent last, its time or tries are over, it was used, or none was sent.
                The answer does not tell which.
            NotConfigured, Unavailable: nothing is known.
        """
        if not self._codes.use(self._codes.name(_scope(caller), purpose, phone), code):
            raise Invalid.field("code", "is wrong, used or too old")
        telemetry.count("OtpsVerified")
        telemetry.count("OtpsUnverified", -1)

    def _admit(self, caller: Caller, phone: str) -> None:
        """Spend a token of every limit that a code to this phone counts for, or none.

        Raises:
            RateLimited: says when all of them would have one.
        """
        block, prefix = numbers.range_of(phone), numbers.prefix_of(phone)
        recipient = self._codes.name(_scope(caller), phone)
        everybody: dict[str, Rate] = {
            f"range:{block}": PER_RANGE_OF_ALL,
            f"prefix:{prefix}": PER_PREFIX,
            "day": self._all,
        }
        own: dict[str, Rate] = {
            f"resend:{recipient}": RESEND,
            f"phone:{recipient}": PER_PHONE,
            f"range:{caller.id}:{block}": PER_RANGE,
        }
        if not caller.is_admin:
            own |= {f"by:{caller.id}": PER_CUSTOMER, f"phone:{self._codes.name(phone)}": PER_PHONE_OF_ALL}
        limits_of_all = {f"otp:sms:{key}": rate for key, rate in (own | everybody).items()}
        refused = self._limits.acquire_all(limits_of_all)
        if not refused:
            return
        telemetry.count("OtpsRefused")
        telemetry.count("OtpRangesRefused", sum(key.startswith(_PUMPED) for key in refused))
        error = RateLimited("too many codes; try again later")
        error.headers = {"retry-after": str(max(taken.retry_after_s for taken in refused.values()))}
        raise error


_PUMPED = ("otp:sms:range:", "otp:sms:prefix:", "otp:sms:day")
"""Limits that no person meets, but who has messages sent to numbers that earn by them."""


def _scope(caller: Caller) -> str:
    """Whose a code is."""
    return "" if caller.is_admin else caller.id


@lru_cache(maxsize=1)
def from_env() -> Otps:
    """The codes' service of this process."""
    named = os.environ.get("CODE_COUNTRIES", DEFAULT_COUNTRIES).upper().split(",")
    countries = frozenset(country.strip() for country in named if country.strip())
    per_day = int(os.environ.get("CODES_PER_DAY", DEFAULT_PER_DAY))
    return Otps(codes.from_env(), jobs_service.from_env(), limits.from_env(), system_clock, countries, per_day)
