"""Mode, health log and overview over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Query, View
from adbot_queue.jobs.queue_schemas import PeriodView, QueueView
from adbot_queue.jobs.queues import Period
from adbot_queue.system.circuits import Circuit, CircuitState
from adbot_queue.system.health_log import LogLevel
from adbot_queue.system.mode import ProcessingMode, Switch
from adbot_queue.system.overview import Overview


class SetMode(Input):
    """The mode that is to be, and why."""

    mode: ProcessingMode
    reason: str = Field(min_length=1, max_length=500)


class ModeView(View):
    """The mode; who set it, when and why is null where nobody ever did."""

    mode: ProcessingMode
    changed_at: str | None
    actor: str | None
    reason: str

    @classmethod
    def of(cls, switch: Switch) -> ModeView:
        """Of the switch."""
        return cls.model_validate(switch)


class LogsQuery(Query):
    """Which entries."""

    level: LogLevel | None = None
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class LogEntry(View):
    """What the system noticed about itself."""

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
    """A queue as it stands, and what it did lately."""

    last_5_minutes: PeriodView
    last_60_minutes: PeriodView


class BotsView(View):
    """The queue of bots, all pools together."""

    queued: int
    missing_sessions: int
    free_stock: int
    parked: int
    oldest_queued_seconds: int


class CircuitView(View):
    """A provider's circuit breaker; failures and successes are those of the current minute, as far as they are told.

    `reason`: why the provider refuses the installation, so that its jobs wait. `not_before`: until then it throttles.
    """

    provider: str
    state: CircuitState
    failures: int
    successes: int
    opened_at: str | None
    open_until: str | None
    reason: str | None
    not_before: str | None

    @classmethod
    def of(cls, circuit: Circuit) -> CircuitView:
        """Of a circuit."""
        times = {name: getattr(circuit, name) for name in ("opened_at", "open_until", "not_before")}
        times = {name: None if moment is None else iso(moment) for name, moment in times.items()}
        shown = {name: getattr(circuit, name) for name in ("provider", "state", "failures", "successes", "reason")}
        return cls(**shown, **times)


class OverviewView(View):
    """The whole system in figures."""

    mode: ModeView
    queues: list[QueueOverview]
    dead_letters: int
    bots: BotsView
    circuits: list[CircuitView]

    @classmethod
    def of(cls, overview: Overview, recent: Mapping[str, list[Period]]) -> OverviewView:
        """Of an overview, and what each queue did lately."""
        queues = []
        for standing in overview.queues:
            last_5, last_60 = map(PeriodView.of, recent[standing.name])
            shown = QueueView.of(standing, overview.now)
            queues.append(QueueOverview(**dict(shown), last_5_minutes=last_5, last_60_minutes=last_60))
        return cls(
            mode=ModeView.of(overview.switch),
            queues=queues,
            dead_letters=overview.dead_letters,
            bots=BotsView.model_validate(overview.bots),
            circuits=[CircuitView.of(circuit) for circuit in overview.circuits],
        )
