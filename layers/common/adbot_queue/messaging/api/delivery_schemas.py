"""HTTP models of deliveries and suppressions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Query, View
from adbot_queue.messaging.model import Delivery, DeliveryStatus, Report
from adbot_queue.messaging.suppressions import Suppression

Channel = Literal["email"]


class EventsReceived(View):
    """Counts of events that were recorded, and of those without meaning here (opens, other kinds)."""

    recorded: int
    ignored: int


class DeliveryReportView(View):
    """One report of the provider; `reason` is a code or a fixed word."""

    status: DeliveryStatus
    at: str
    reason: str

    @classmethod
    def of(cls, report: Report) -> DeliveryReportView:
        """Return the view of a report."""
        return cls(status=report.status, at=iso(report.at), reason=report.reason)


class DeliveryView(View):
    """A message that a job sent, with its status and its latest reports, oldest first."""

    message_id: str
    channel: str
    status: DeliveryStatus
    at: str
    reason: str
    history: list[DeliveryReportView]

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryView:
        """Return the view of a delivery."""
        return cls(
            message_id=delivery.message_id,
            channel=delivery.channel,
            **DeliveryReportView.of(delivery.furthest).model_dump(),
            history=[DeliveryReportView.of(report) for report in delivery.history],
        )


class DeliveryPage(View):
    """The messages that a job sent. More than one means that it was sent twice."""

    items: list[DeliveryView]


class SuppressionsQuery(Query):
    """Address to look up."""

    address: str = Field(min_length=1, max_length=320)
    channel: Channel = "email"


class RemoveSuppressionQuery(Query):
    """Reason of the removal, for the ledger."""

    reason: str = Field("", max_length=500)


class SuppressionView(View):
    """A suppression: reason, scope, since when, and whether it is still in force.

    `scope`: `everything` (a bounce, a complaint), `marketing` (an unsubscribe), `group` (an unsubscribe from `group`).
    """

    suppression_id: str
    channel: str
    scope: Literal["everything", "marketing", "group"]
    group: int | None
    reason: str
    at: str
    job_id: str | None
    in_force: bool
    removed_at: str | None

    @classmethod
    def of(cls, found: Suppression) -> SuppressionView:
        """Return the view of a suppression."""
        return cls(
            suppression_id=found.id,
            channel=found.channel,
            scope=found.scope,
            group=found.group,
            reason=found.reason,
            at=iso(found.at),
            job_id=found.job,
            in_force=found.in_force,
            removed_at=iso(found.lifted_at) if found.lifted_at is not None else None,
        )


class SuppressionPage(View):
    """The suppressions of an address, one per scope: those in force first, newest first."""

    items: list[SuppressionView]
