"""What the routes of deliveries and suppressions take and answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Query, View
from adbot_queue.delivery.model import Delivery, DeliveryStatus, Report
from adbot_queue.delivery.suppressions import Suppression

Channel = Literal["email"]


class EventsReceived(View):
    """How many events told something, and how many told nothing here (opens, other kinds)."""

    recorded: int
    ignored: int


class DeliveryReportView(View):
    """One report of the provider's; `reason` is a code or a fixed word."""

    status: DeliveryStatus
    at: str
    reason: str

    @classmethod
    def of(cls, report: Report) -> DeliveryReportView:
        """Of a report."""
        return cls(status=report.status, at=iso(report.at), reason=report.reason)


class DeliveryView(View):
    """A message that a job sent, how far it is, and its latest reports in the order in which they happened."""

    message_id: str
    channel: str
    status: DeliveryStatus
    at: str
    reason: str
    history: list[DeliveryReportView]

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryView:
        """Of a delivery."""
        return cls(
            message_id=delivery.message_id,
            channel=delivery.channel,
            **DeliveryReportView.of(delivery.furthest).model_dump(),
            history=[DeliveryReportView.of(report) for report in delivery.history],
        )


class DeliveryList(View):
    """The messages that a job sent; more than one is a double."""

    items: list[DeliveryView]


class AddressQuery(Query):
    """Whose entry."""

    address: str = Field(min_length=1, max_length=320)
    channel: Channel = "email"


class LiftQuery(Query):
    """Why the address may be written to again."""

    reason: str = Field("", max_length=500)


class SuppressionView(View):
    """Why an address is suppressed, for which messages, since when, and whether that was lifted.

    `scope`: `everything` (a bounce, a complaint), `marketing` (an unsubscribe), `group` (an unsubscribe from `group`).
    """

    id: str
    channel: str
    scope: Literal["everything", "marketing", "group"]
    group: int | None
    reason: str
    at: str
    job: str | None
    in_force: bool
    lifted_at: str | None

    @classmethod
    def of(cls, found: Suppression) -> SuppressionView:
        """Of an entry."""
        return cls(
            id=found.id,
            channel=found.channel,
            scope=found.scope,
            group=found.group,
            reason=found.reason,
            at=iso(found.at),
            job=found.job,
            in_force=found.in_force,
            lifted_at=iso(found.lifted_at) if found.lifted_at is not None else None,
        )


class SuppressionList(View):
    """The entries of an address, one for each scope: those in force first, the latest first."""

    items: list[SuppressionView]
