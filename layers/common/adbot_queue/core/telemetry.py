"""One logger and one metrics sink a process. Nothing personal or secret is logged: ids, counts, reasons."""

from __future__ import annotations

import os

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from adbot_queue.core.faults import faults

logger = Logger(service="adbot-queue")
# A default, because a process without the variable would fail at its first flush, after its work was done.
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE") or "AdBotQueue")
SECONDS = MetricUnit.Seconds

# One dimension value for all functions: an alarm names one metric, whichever function emitted it.
metrics.set_default_dimensions(service="adbot-queue")


def count(name: str, value: int = 1) -> None:
    """Add to a counter metric. Zero is not sent: it costs and tells nothing."""
    if value:
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def gauge(name: str, value: float, unit: MetricUnit = MetricUnit.Count) -> None:
    """Record a level: an age in seconds, a length."""
    metrics.add_metric(name=name, unit=unit, value=value)


def flush() -> None:
    """Write what was counted to the log, where CloudWatch picks it up. Called at the end of every invocation."""
    if metrics.metric_set:
        for alarm, value in list(faults(metrics.metric_set)):
            gauge(alarm, value)
        metrics.flush_metrics()
