"""The delivery of one message: its provider's reports, in any order, with repetitions. Pure.

Merging two reports looks at both, so that order and repetition change nothing: the status is that of the furthest
report, the history the latest of all distinct ones. A report is identified by its content: providers repeat themselves
under new ids, and twenty copies of one report must not push the others out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

MAX_HISTORY = 20
"""Reports that are shown; a mail that is deferred for three days has more."""


class DeliveryStatus(StrEnum):
    """How far a message is. Each is further than those before it, and none goes back."""

    ACCEPTED = "accepted"  # the provider answered yes; all else is reported later
    PROCESSED = "processed"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    DROPPED = "dropped"  # the provider did not try
    BLOCKED = "blocked"  # refused this once
    BOUNCED = "bounced"  # refused for good; it may come after delivered, from a server behind
    UNSUBSCRIBED = "unsubscribed"
    REPORTED = "reported"  # as spam


_RANK = {status: rank for rank, status in enumerate(DeliveryStatus)}


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """One report of one message. Two that say the same are one, whatever their ids.

    Attributes:
        event_id: the provider's, for looking it up there; a repetition may have another one.
        at: when it happened, in ms, by the provider's clock.
        reason: a code or one of the provider's fixed words, nothing personal.
    """

    event_id: str = field(compare=False)
    status: DeliveryStatus
    at: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """A report, and the message that it is about."""

    channel: str
    job: str
    key: str
    message_id: str
    report: DeliveryEvent


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message.

    Attributes:
        job: the job that sent it.
        message_id: what the provider knows it by.
        channel: `email`, …
        key: the idempotency key under which it was sent.
        furthest: the report that the status is of.
    """

    job: str
    message_id: str
    channel: str
    key: str
    furthest: DeliveryEvent
    history: tuple[DeliveryEvent, ...]

    @classmethod
    def of(cls, first: DeliveryReport) -> Delivery:
        """Return the delivery of a first report."""
        return cls(first.job, first.message_id, first.channel, first.key, first.report, (first.report,))

    def updated(self, reports: Iterable[DeliveryEvent]) -> Delivery:
        """Return it with more reports; equal if all are known."""
        known = dict.fromkeys([*self.history, *reports])
        latest = sorted(known, key=_when)[-MAX_HISTORY:]
        return replace(self, furthest=max(self.furthest, *known, key=_how_far), history=tuple(latest))


def _when(report: DeliveryEvent) -> tuple[int, int, str]:
    return report.at, _RANK[report.status], report.reason


def _how_far(report: DeliveryEvent) -> tuple[int, int, str]:
    return _RANK[report.status], report.at, report.reason
