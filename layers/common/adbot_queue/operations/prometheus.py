"""The overview for Prometheus, written by its own client library, imported only here and when used.

No process-wide registry: the counters of one Lambda mean nothing. The figures are the totals that all processes keep
together (`queues.counters`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from adbot_queue.platform.circuit import CircuitState
from adbot_queue.platform.mode import ProcessingMode
from adbot_queue.queues.statistics import RUN, WAIT

if TYPE_CHECKING:
    from prometheus_client.metrics_core import HistogramMetricFamily, Metric

    from adbot_queue.operations.overview import Overview

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The plain text format, which every Prometheus reads."""

_ENDS = ("completed", "failed", "dead", "cancelled")
_COUNTERS = {
    "enqueued": "Jobs enqueued",
    "retried": "Attempts that failed and were followed by another",
    "snoozed": "Attempts put back by a rate, a throttle, an open circuit or a closed provider, at no attempt's cost",
    "stalled": "Attempts whose worker died",
    "requeued": "Ended jobs that a person had retried",
}


def exposition(overview: Overview) -> str:
    """The overview in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(overview))
    return generate_latest(registry).decode()


class _Once:
    """A collector of one scrape."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are not checked against other collectors, as there are none."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        yield from self._queues()
        yield self._histogram("adbot_job_wait_seconds", "From when a job could be claimed until it was", WAIT)
        yield self._histogram("adbot_job_run_seconds", "Length of attempts", RUN)
        yield from self._system()

    def _queues(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

        levels = GaugeMetricFamily("adbot_jobs", "Jobs that stand in a state now", labels=["queue", "state"])
        ended = CounterMetricFamily("adbot_jobs_ended", "Jobs that came to an end", labels=["queue", "state"])
        oldest = GaugeMetricFamily(
            "adbot_queue_oldest_waiting_seconds", "Age of the oldest waiting job", labels=["queue"]
        )
        paused = GaugeMetricFamily("adbot_queue_paused", "1 while the queue is meant to stand still", labels=["queue"])
        for queue in self._overview.queues:
            for state, number in queue.levels.items():
                levels.add_metric([queue.name, state], number)
            for state in _ENDS:
                ended.add_metric([queue.name, state], queue.totals.get(state, 0))
            oldest.add_metric([queue.name], self._overview.oldest_waiting_seconds(queue))
            paused.add_metric([queue.name], queue.desired.paused)
        yield from (levels, ended, oldest, paused)
        for event, text in _COUNTERS.items():
            family = CounterMetricFamily(f"adbot_jobs_{event}", text, labels=["queue"])
            for queue in self._overview.queues:
                family.add_metric([queue.name], queue.totals.get(event, 0))
            yield family

    def _histogram(self, name: str, text: str, what: str) -> HistogramMetricFamily:
        from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415

        family = HistogramMetricFamily(name, text, labels=["queue"])
        for queue in self._overview.queues:
            times = queue.histogram(what)
            buckets: list[tuple[str, float]] = [
                ("+Inf" if bound is None else str(bound / 1000), count) for bound, count in times.cumulative()
            ]
            family.add_metric([queue.name], buckets, sum_value=times.sum_ms / 1000)
        return family

    def _system(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

        modes = GaugeMetricFamily("adbot_mode", "1 for the mode that is on", labels=["mode"])
        for mode in ProcessingMode:
            modes.add_metric([mode.value], mode is self._overview.switch.mode)
        yield modes
        states = GaugeMetricFamily(
            "adbot_circuit", "1 for the state that a provider's circuit is in", labels=["provider", "state"]
        )
        for circuit in self._overview.circuits:
            for state in CircuitState:
                states.add_metric([circuit.provider, state.value], state is circuit.state)
        yield states
        yield from self._providers()
        bots = self._overview.bots
        for name, text, value in (
            ("adbot_bots_queued", "Bots that wait for sessions", bots.queued),
            ("adbot_bots_parked", "Bots set aside because they could not be served", bots.parked),
            ("adbot_bots_oldest_queued_seconds", "Age of the oldest waiting bot", bots.oldest_queued_seconds),
            ("adbot_sessions_missing", "Sessions that waiting bots lack", bots.missing_sessions),
            ("adbot_sessions_free", "Sessions in stock", bots.free_stock),
        ):
            yield GaugeMetricFamily(name, text, value=value)

    def _providers(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

        closed = GaugeMetricFamily(
            "adbot_provider_closed", "1 while a provider refuses the installation", labels=["provider", "reason"]
        )
        throttled = GaugeMetricFamily(
            "adbot_provider_throttled_seconds", "How long a provider will not be asked", labels=["provider"]
        )
        for circuit in self._overview.circuits:
            if circuit.reason:
                closed.add_metric([circuit.provider, circuit.reason], 1)
            left = max(0, (circuit.not_before or 0) - self._overview.now)
            throttled.add_metric([circuit.provider], left / 1000)
        yield from (closed, throttled)
