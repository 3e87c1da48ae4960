"""HTTP models of queues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import AliasPath, Field

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import Input, Query, View
from adbot_queue.queues.service import MAX_MINUTES, QueueSnapshot, QueueStats
from adbot_queue.queues.statistics import EVENTS, RUN, WAIT, Histogram

PLACES = 3
"""Decimals of rates and shares."""


class PauseQueue(Input):
    """Reason of a pause or resumption, for the ledger."""

    reason: str = Field("", max_length=500)


class QueueStatsQuery(Query):
    """Period of the statistics."""

    minutes: int = Field(60, ge=1, le=MAX_MINUTES)


class PauseView(View):
    """Who paused or resumed the queue, when and why; null if it was never paused."""

    changed_at: str | None
    actor: str | None
    reason: str


class QueueView(View):
    """A queue: jobs by state now, and counts of events since its creation."""

    name: str
    paused: bool
    switch: PauseView
    states: dict[str, int]
    totals: dict[str, int]
    oldest_waiting_at: str | None
    oldest_waiting_seconds: int

    @classmethod
    def of(cls, snapshot: QueueSnapshot, now: int) -> QueueView:
        """Of a queue, as of now (ms)."""
        oldest = snapshot.oldest_waiting_at
        return cls(
            name=snapshot.name,
            paused=snapshot.desired.paused,
            switch=PauseView.model_validate(snapshot.desired),
            states=snapshot.levels,
            totals=_events(snapshot.totals),
            oldest_waiting_at=None if oldest is None else iso(oldest),
            oldest_waiting_seconds=0 if oldest is None else max(0, now - oldest) // 1000,
        )


class QueuePage(View):
    """All queues."""

    items: list[QueueView]

    @classmethod
    def of(cls, snapshots: Iterable[QueueSnapshot], now: int) -> QueuePage:
        """Of queues, as of now (ms)."""
        return cls(items=[QueueView.of(snapshot, now) for snapshot in snapshots])


class PauseResultView(View):
    """A queue after a pause or resumption.

    `mapping` is the state of its event source mapping as Lambda names it; Pending: it follows within a minute.
    """

    name: str
    paused: bool = Field(validation_alias=AliasPath("desired", "paused"))
    switch: PauseView = Field(validation_alias="desired")
    mapping: str


class TimesView(View):
    """Summary of a histogram in milliseconds; null if nothing was measured."""

    count: int
    average_ms: int | None
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None

    @classmethod
    def of(cls, times: Histogram) -> TimesView:
        """Of a histogram."""
        return cls(
            count=times.count,
            average_ms=round(times.sum_ms / times.count) if times.count else None,
            p50_ms=times.percentile(50),
            p95_ms=times.percentile(95),
            p99_ms=times.percentile(99),
        )


class MinuteView(View):
    """Counts of one minute."""

    minute: str
    enqueued: int
    completed: int
    failed: int
    dead: int


class PeriodView(View):
    """Counts and rates of the last minutes, including the current one."""

    minutes: int
    counts: dict[str, int]
    completed_per_minute: float
    failure_rate: float | None

    @classmethod
    def of(cls, period: QueueStats) -> PeriodView:
        """Of a period."""
        return cls(**_figures(period))


class QueueStatsView(PeriodView):
    """Counts, rates, wait and run times of a queue, in total and by minute (empty minutes are left out)."""

    name: str
    wait: TimesView
    run: TimesView
    per_minute: list[MinuteView]

    @classmethod
    def of_queue(cls, name: str, period: QueueStats, by_minute: Mapping[str, Mapping[str, int]]) -> QueueStatsView:
        """Of a queue's period and its minutes."""
        shown = [name for name in MinuteView.model_fields if name != "minute"]
        return cls(
            **_figures(period),
            name=name,
            wait=TimesView.of(period.histogram(WAIT)),
            run=TimesView.of(period.histogram(RUN)),
            per_minute=[
                MinuteView(minute=f"{minute}:00Z", **{event: numbers.get(event, 0) for event in shown})
                for minute, numbers in by_minute.items()
            ],
        )


def _figures(period: QueueStats) -> dict[str, object]:
    rate = period.failure_rate
    return {
        "minutes": period.minutes,
        "counts": _events(period.numbers),
        "completed_per_minute": round(period.completed_per_minute, PLACES),
        "failure_rate": None if rate is None else round(rate, PLACES),
    }


def _events(numbers: Mapping[str, int]) -> dict[str, int]:
    return {event: numbers.get(event, 0) for event in EVENTS}
