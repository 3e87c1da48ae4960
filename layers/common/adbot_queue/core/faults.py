"""Figures that must stay zero, by the alarm that they share: `Faults` in the mappings of infra/template.yaml.

An alarm for each figure would be a third of the template's resources. So each is counted under its own name, which the
runbook and the dashboard have, and under its alarm's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FAULTS: dict[str, frozenset[str]] = {
    "BotsFaults": frozenset({"ParkedBots", "RowsSetAside", "Drift", "PoolsWithoutVerdict"}),
    "MoneyFaults": frozenset({"EventsRejected", "OrdersInReview", "PlansUnreadable", "RefundOrPayoutFailed"}),
    "ProvidersFaults": frozenset({"CircuitsOpened", "ProvidersClosed", "OtpRangesRefused"}),
    "MessagesFaults": frozenset({"MessagesDropped", "MessagesFailed", "StreamBatchesLost", "StreamRecordsUnreadable"}),
    "JobsFaults": frozenset({"JobsUnreadable", "JobsUnsupported"}),
    "SchedulesFaults": frozenset({"ScheduleTicksMissed", "TicksRefused", "SchedulesFailed", "SchedulesUnreadable"}),
    "LeadsFaults": frozenset({"LeadRowsUnreadable", "LeadMessagesUnsure", "LeadRunsStopped"}),
}
"""Alarm's metric -> the figures that ring it."""


def faults(counted: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield the sum of each alarm's figures, if one of them was counted.

    Args:
        counted: Powertools' metrics of an invocation, by name.
    """
    for alarm, figures in FAULTS.items():
        values = [value for name in figures & counted.keys() for value in counted[name]["Value"]]
        if values:
            yield alarm, sum(values)
