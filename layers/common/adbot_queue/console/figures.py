"""The figures of all pages, as JSON: what the operations overview gathers, and what a chart of an hour needs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from adbot_queue import ledger
from adbot_queue.adbots.pool_state import PoolState
from adbot_queue.console import sessions
from adbot_queue.core.clock import iso
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import BAD_ENDS, JobState
from adbot_queue.ledger import search
from adbot_queue.operations import overview
from adbot_queue.operations.overview import Overview
from adbot_queue.platform.circuit import CircuitState
from adbot_queue.queues import service as queues
from adbot_queue.queues.service import QueueSnapshot
from adbot_queue.queues.statistics import MINUTE_MS, RUN, WAIT, Histogram, summed

MINUTES = 60
SPARK_MINUTES = 4
"""Minutes of one point of a sparkline."""

CHANGES = 5
"""Changes by people that the overview shows."""

_ENDS = ("enqueued", "completed", "failed")
_PEOPLE = {"owner", "admin", "viewer", "sales", "customer"}


def gather(now: int) -> dict[str, Any]:
    """Read everything: what `overview.gather` reads, one Query for each queue, and one of the ledger."""
    seen = overview.gather()
    minutes = {queue.name: queues.from_env().stats(queue.name, MINUTES)[2] for queue in seen.queues}
    starts = [iso(now - back * MINUTE_MS)[:16] for back in range(MINUTES - 1, -1, -1)]
    hour = [[sum(_of(found.get(start), what) for found in minutes.values()) for start in starts] for what in _ENDS]
    changes = _changes()
    names = sessions.from_env().names(
        [seen.switch.actor, *(queue.desired.actor for queue in seen.queues), *(change["actor"] for change in changes)]
    )
    return {
        "names": names,
        "mode": {
            "name": seen.switch.mode.value,
            "since": seen.switch.changed_at,
            "by": seen.switch.actor,
            "reason": seen.switch.reason,
            "version": seen.switch.version,
        },
        "bots": {
            "queued": seen.bots.queued,
            "missing": seen.bots.missing_sessions,
            "free": seen.bots.free_stock,
            "parked": seen.bots.parked,
            "oldest_ms": seen.bots.oldest_queued_seconds * 1000,
            "pools": [pool(state) for state in seen.bots.pools],
        },
        "queues": [_queue(queue, minutes[queue.name], starts) for queue in seen.queues],
        "circuits": _circuits(seen),
        "hour": dict(zip(_ENDS, hour, strict=True)),
        "changes": changes,
    }


def pool(state: PoolState) -> dict[str, Any]:
    """Return the figures of a pool."""
    return {
        "name": state.pool,
        "queued": state.queue_length,
        "missing": state.missing_total,
        "oldest_at": state.oldest_queued_at,
        "free": state.free,
        "total": state.stock_total,
        "parked": state.parked,
        "head": state.queue_head,
    }


def _queue(queue: QueueSnapshot, minutes: dict[str, Counter[str]], starts: list[str]) -> dict[str, Any]:
    numbers = summed(minutes.values())
    done = [_of(minutes.get(start), "completed") for start in starts]
    bad = [_of(minutes.get(start), "failed") for start in starts]
    return {
        "name": queue.name,
        "money": job_queues.queue(queue.name).is_money,
        "levels": {state: number for state, number in queue.levels.items() if number},
        "oldest_at": queue.oldest_waiting_at,
        "paused": queue.desired.paused,
        "paused_at": queue.desired.changed_at,
        "paused_by": queue.desired.actor,
        "paused_why": queue.desired.reason,
        "version": queue.desired.version,
        "per_minute": round(numbers["completed"] / MINUTES, 1),
        "failed": numbers["failed"] + numbers["dead"],
        "wait_p95": Histogram.of(WAIT, numbers).percentile(95),
        "run_p95": Histogram.of(RUN, numbers).percentile(95),
        "spark": _bucketed(done),
        "spark_bad": _bucketed(bad),
    }


def _of(numbers: Counter[str] | None, what: str) -> int:
    if numbers is None:
        return 0
    return numbers["failed"] + numbers["dead"] if what == "failed" else numbers[what]


def _bucketed(values: list[int]) -> list[int]:
    return [sum(values[start : start + SPARK_MINUTES]) for start in range(0, len(values), SPARK_MINUTES)]


def _circuits(seen: Overview) -> list[dict[str, Any]]:
    return [
        {
            "provider": circuit.provider,
            "state": circuit.state.value,
            "opened_at": circuit.opened_at,
            "open_until": circuit.open_until,
            "reason": circuit.reason,
            "not_before": circuit.not_before,
        }
        for circuit in seen.circuits
        if circuit.state is not CircuitState.CLOSED or circuit.reason or (circuit.not_before or 0) > seen.now
    ]


def _changes() -> list[dict[str, Any]]:
    found, _ = search.read(
        ledger.from_env(), actor=None, action=None, target=None, since=None, until=None, limit=50, cursor=None
    )
    people = [entry for entry in found if entry["role"] in _PEOPLE]
    return [{name: entry[name] for name in ("at", "actor", "action", "target")} for entry in people[:CHANGES]]


# What pages derive from a snapshot.


def waiting(seen: dict[str, Any]) -> int:
    """Jobs that wait, all queues together."""
    return sum(queue["levels"].get(JobState.WAITING.value, 0) for queue in seen["queues"])


def dead(seen: dict[str, Any]) -> int:
    """Dead letters, all queues together."""
    return sum(queue["levels"].get(state.value, 0) for queue in seen["queues"] for state in BAD_ENDS)


def bots(seen: dict[str, Any]) -> int:
    """Bots that wait or are parked, all pools together."""
    return int(seen["bots"]["queued"] + seen["bots"]["parked"])
