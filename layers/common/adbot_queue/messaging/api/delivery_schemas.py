"""HTTP models of deliveries and suppressions."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasPath, Field

from adbot_queue.core.schema import Moment, Query, View
from adbot_queue.messaging.model import DeliveryStatus

Channel = Literal["email", "phone"]


class EventsReceived(View):
    """Counts of events that were recorded, and of those without meaning here (opens, other kinds)."""

    recorded: int
    ignored: int


class DeliveryReportView(View):
    """One report of the provider; `reason` is a code or a fixed word."""

    status: DeliveryStatus
    at: Moment
    reason: str


class DeliveryView(View):
    """A message that a job sent, with its status and its latest reports, oldest first."""

    message_id: str
    channel: str
    status: DeliveryStatus = Field(validation_alias=AliasPath("furthest", "status"))
    at: Moment = Field(validation_alias=AliasPath("furthest", "at"))
    reason: str = Field(validation_alias=AliasPath("furthest", "reason"))
    history: list[DeliveryReportView]


class DeliveryPage(View):
    """The messages that a job sent. More than one means that it was sent twice."""

    items: list[DeliveryView]


class SuppressionsQuery(Query):
    """Address to look up: an e-mail address, or a phone in E.164."""

    address: str = Field(min_length=1, max_length=320)
    channel: Channel = "email"


class RemoveSuppressionQuery(Query):
    """Reason of the removal, for the ledger."""

    reason: str = Field("", max_length=500)


class SuppressionView(View):
    """A suppression: reason, scope, since when, and whether it is still in force.

    `scope`: `everything` (a bounce, a complaint, a STOP), `marketing` (an unsubscribe), `group` (an unsubscribe from
    `group`).
    """

    suppression_id: str = Field(validation_alias="id")
    channel: str
    scope: Literal["everything", "marketing", "group"]
    group: int | None
    reason: str
    at: Moment
    job_id: str | None = Field(validation_alias="job")
    in_force: bool
    removed_at: Moment | None = Field(validation_alias="removed_at")


class SuppressionPage(View):
    """The suppressions of an address, one per scope: those in force first, newest first."""

    items: list[SuppressionView]
