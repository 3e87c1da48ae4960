"""What works, and the kill switch."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from adbot_queue.console import trouble
from adbot_queue.console.request import Done, Page, Reply, Visit, with_query
from adbot_queue.core.dynamodb import Item
from adbot_queue.core.errors import Conflict, Invalid
from adbot_queue.jobs.model import BAD_ENDS, JobState
from adbot_queue.platform import circuit_probe, health_log, kill_switch
from adbot_queue.platform.health_log import LogLevel
from adbot_queue.platform.mode import ProcessingMode
from adbot_queue.providers.declarations import PROVIDERS

LOG_ENTRIES = 50
MAX_REASON = 500


def show(visit: Visit) -> Reply:
    """Mode, circuits, pauses and the last entries of the health log, which takes one Query a level."""
    seen = visit.snapshot.figures
    level = _level(visit)
    entries, older = health_log.from_env().read(level, LOG_ENTRIES, visit.query.get("cursor"))
    shown = {
        "seen": seen,
        "other": _other(ProcessingMode(seen["mode"]["name"])).value,
        "circuits": trouble.circuits(seen, {name: provider.label for name, provider in PROVIDERS.items()}),
        "paused": [queue for queue in seen["queues"] if queue["paused"]],
        "alarms": trouble.alarms(seen, visit.now),
        "waiting": sum(trouble.level(queue, JobState.WAITING) for queue in seen["queues"]),
        "active": sum(trouble.level(queue, JobState.ACTIVE) for queue in seen["queues"]),
        "figures_of_all": _figures(visit),
        "entries": _identified(entries),
        "level": level,
        "levels": [None, *LogLevel],
        "newest": with_query(visit.path, {"level": level}) if "cursor" in visit.query else "",
        "older": with_query(visit.path, {"level": level, "cursor": older}) if older else "",
    }
    return Page("health.html", "Health", shown)


def _figures(visit: Visit) -> dict[str, Any]:
    """What the queues do, all together, and when these figures were read."""
    queues = visit.snapshot.figures["queues"]
    slowest = max((one for one in queues if one["wait_p95"] is not None), key=lambda one: one["wait_p95"], default=None)
    return {
        "per_minute": round(sum(one["per_minute"] for one in queues), 1),
        "failed": sum(one["failed"] for one in queues),
        "dead": sum(trouble.level(one, *BAD_ENDS) for one in queues),
        "slowest": slowest,
        "at": visit.snapshot.at,
    }


def _identified(entries: list[Item]) -> list[tuple[str, Item]]:
    """Entries under ids that stay the same while newer ones come; those of one moment are counted from the oldest."""
    seen: Counter[str] = Counter()
    found: list[tuple[str, Item]] = []
    for entry in reversed(entries):
        at = re.sub(r"\D", "", entry["at"])
        seen[at] += 1
        found.append((f"{at}-{seen[at]}", entry))
    return found[::-1]


def _level(visit: Visit) -> LogLevel | None:
    named = visit.query.get("level")
    if named and named not in list(LogLevel):
        raise Invalid.field("level", f"must be one of {', '.join(LogLevel)}")
    return LogLevel(named) if named else None


def _other(mode: ProcessingMode) -> ProcessingMode:
    return next(one for one in ProcessingMode if one is not mode)


def probe(visit: Visit) -> Reply:
    """Let the next call of a provider through before the circuit's time."""
    provider = visit.params["provider"]
    if len(visit.reason) > MAX_REASON:
        raise Invalid.field("reason", f"must have at most {MAX_REASON} characters")
    circuit_probe.from_env().request(provider, visit.reason, visit.actor)
    label = PROVIDERS[provider].label
    text = f"The next call of {label} is its probe: one that succeeds closes the circuit, one that fails opens it anew."
    return Done(text, back="/console/health")


def set_mode(visit: Visit) -> Reply:
    """Flip the kill switch, if it still is as the person saw it."""
    wanted, version = visit.form.get("mode", ""), visit.form.get("version", "")
    if wanted not in list(ProcessingMode):
        raise Invalid.field("mode", f"must be one of {', '.join(ProcessingMode)}")
    if visit.form.get("confirm") != wanted:
        raise Invalid.field("confirm", f"must be {wanted}")
    if not 1 <= len(visit.reason) <= MAX_REASON:
        raise Invalid.field("reason", f"must have 1 to {MAX_REASON} characters")
    if not version.isdigit():
        raise Invalid.field("version", "must be a number")
    try:
        kill_switch.from_env().set(ProcessingMode(wanted), visit.reason, visit.actor, int(version))
    except Conflict as conflict:
        now = conflict.extra["version"]
        rearm = {"version": now, "key": visit.form_key("mode", wanted, now)}
        raise Conflict(f"{conflict.detail}. Decide again: the same button acts on that.", rearm=rearm) from conflict
    if wanted == ProcessingMode.SYNC_DIRECT:
        text = "Switched to sync_direct. New jobs run inside the request; waiting jobs stay queued."
    else:
        text = "Switched to async_queue. New jobs go through the queues again."
    return Done(text, back="/console/health")
