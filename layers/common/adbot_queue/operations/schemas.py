"""HTTP models of mode, health log and overview."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from adbot_queue.core.schema import Input, Moment, Query, View
from adbot_queue.operations.overview import Overview
from adbot_queue.platform.circuit import CircuitState
from adbot_queue.platform.health_log import LogLevel
from adbot_queue.platform.mode import ProcessingMode
from adbot_queue.queues.schemas import PeriodView, QueueView
from adbot_queue.queues.service import QueueStats


class SetMode(Input):
    """Mode to set, and the reason."""

    mode: ProcessingMode
    reason: str = Field(min_length=1, max_length=500)


class ModeView(View):
    """The mode, and who set it, when and why (null if it was never set)."""

    mode: ProcessingMode
    changed_at: str | None
    actor: str | None
    reason: str


class LogsQuery(Query):
    """Filter and page of the health log."""

    level: LogLevel | None = None
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class LogEntry(View):
    """A health log entry."""

    at: str
    level: LogLevel
    event: str
    message: str
    detail: dict[str, Any]


class LogPage(View):
    """Entries, newest first."""

    items: list[LogEntry]
    next: str | None


class QueueOverview(QueueView):
    """A queue now, and in the last 5 and 60 minutes."""

    last_5_minutes: PeriodView
    last_60_minutes: PeriodView


class BotsOverview(View):
    """The queue of bots over all pools."""

    queued: int
    missing_sessions: int
    free_stock: int
    parked: int
    oldest_queued_seconds: int


class ProbeCircuit(Input):
    """Why the provider is probed before its time."""

    reason: str = Field("", max_length=500)


class CircuitView(View):
    """Circuit breaker of a provider; failures and successes are those reported in the current minute.

    `reason`: why the provider rejects our account, while its jobs wait. `not_before`: when its throttling ends.
    """

    provider: str
    state: CircuitState
    failures: int
    successes: int
    opened_at: Moment | None
    open_until: Moment | None
    reason: str | None
    not_before: Moment | None


class OverviewView(View):
    """Overview of the whole system."""

    mode: ModeView
    queues: list[QueueOverview]
    dead_letters: int
    bots: BotsOverview
    circuits: list[CircuitView]

    @classmethod
    def of(cls, overview: Overview, recent: Mapping[str, list[QueueStats]]) -> OverviewView:
        """Return the view of an overview and the recent periods of each queue."""
        queues = []
        for snapshot in overview.queues:
            last_5, last_60 = map(PeriodView.of, recent[snapshot.name])
            shown = QueueView.of(snapshot, overview.now)
            queues.append(QueueOverview(**dict(shown), last_5_minutes=last_5, last_60_minutes=last_60))
        return cls(
            mode=ModeView.model_validate(overview.switch),
            queues=queues,
            dead_letters=overview.dead_letters,
            bots=BotsOverview.model_validate(overview.bots),
            circuits=[CircuitView.model_validate(circuit) for circuit in overview.circuits],
        )
