"""The figures of all pages, as JSON: what the operations overview gathers, and what a chart of an hour needs.

Two parts take a call for each queue, and a renewal reads one of them: the last hour, every `HOUR_MS`; otherwise since
when the oldest job of each queue waits. So a renewal takes as many calls as one of the two, whatever waits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

from adbot_queue import ledger
from adbot_queue.adbots.pool_state import PoolState
from adbot_queue.console import sessions, trend
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

HOUR_MS = 30_000
"""How often the last hour and the changes by people are read."""

CARRIED_MS = 12_000
"""Figures of the last renewal that are older say nothing about the oldest jobs any more."""

_ENDS = ("enqueued", "completed", "failed")
_OF_THE_HOUR = ("per_minute", "failed", "wait_p95", "run_p95", "spark", "spark_bad")
_PEOPLE = {"owner", "admin", "viewer", "sales", "customer"}

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Snapshot:
    """Figures as of `at` (ms); see `gather`."""

    at: int
    figures: Figures


def gather(now: int, before: Snapshot | None = None, *, acted: bool = False) -> Figures:
    """Read the figures: at most 26 calls, the snapshot's own among them.

    Args:
        now: in ms.
        before: the last figures. Without them, or if they are older than `CARRIED_MS` and their hour than `HOUR_MS`,
            both costly parts are read.
        acted: a person looks for what they have just changed; it is among the changes.
    """
    last = before.figures if before and _holds_the_hour(before.figures, now) else None
    carried = before if before and not last and 0 <= now - before.at < CARRIED_MS else None
    seen = overview.gather(partial(_oldest, carried) if carried else None)
    if last:
        hour, parts = last["hour"], {queue["name"]: queue for queue in last["queues"]}
    else:
        hour, parts = _hour(now, [queue.name for queue in seen.queues])
    changes = last["changes"] if last and not acted else _changes()
    users = {seen.switch.actor, *(queue.desired.actor for queue in seen.queues), *(one["actor"] for one in changes)}
    known = {user: name for user, name in (before.figures["names"] if before else {}).items() if user in users}
    found: Figures = {
        "names": known | sessions.from_env().names(users - known.keys()),
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
        "queues": [_queue(queue, parts[queue.name]) for queue in seen.queues],
        "circuits": _circuits(seen),
        "hour": hour,
        "changes": changes,
    }
    past = before.figures.get("past", ()) if before else ()
    return found | {"past": trend.carried(past, now, found)}


def _holds_the_hour(before: Figures, now: int) -> bool:
    """Whether the hour of the last figures still holds, for every queue: another version may have more of them."""
    known = {queue["name"] for queue in before["queues"]}
    return 0 <= now - before["hour"]["at"] < HOUR_MS and known.issuperset(queues.names())


def _oldest(before: Snapshot, name: str) -> int:
    """Return since when the oldest job of a queue waits, as of the last renewal: if none did, it came after that."""
    since = next((queue["oldest_at"] for queue in before.figures["queues"] if queue["name"] == name), None)
    return int(before.at if since is None else since)


def _hour(now: int, names: list[str]) -> tuple[Figures, dict[str, Figures]]:
    """What the queues did in the last hour, together and each: a Query for each."""
    minutes = {name: queues.from_env().stats(name, MINUTES)[2] for name in names}
    starts = [iso(now - back * MINUTE_MS)[:16] for back in range(MINUTES - 1, -1, -1)]
    sums = {
        what: [sum(_of(found.get(start), what) for found in minutes.values()) for start in starts] for what in _ENDS
    }
    return {"at": now, **sums}, {name: _hour_of(found, starts) for name, found in minutes.items()}


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


def _hour_of(minutes: dict[str, Counter[str]], starts: list[str]) -> Figures:
    numbers = summed(minutes.values())
    done = [_of(minutes.get(start), "completed") for start in starts]
    bad = [_of(minutes.get(start), "failed") for start in starts]
    return {
        "per_minute": round(numbers["completed"] / MINUTES, 1),
        "failed": numbers["failed"] + numbers["dead"],
        "wait_p95": Histogram.of(WAIT, numbers).percentile(95),
        "run_p95": Histogram.of(RUN, numbers).percentile(95),
        "spark": _bucketed(done),
        "spark_bad": _bucketed(bad),
    }


def _queue(queue: QueueSnapshot, hour: Figures) -> Figures:
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
        **{name: hour[name] for name in _OF_THE_HOUR},
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
