"""Bots, pools and their queue in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adbot_queue.adbots.model import Adbot, AdbotStatus, QueuedReason
from adbot_queue.adbots.queue_page import WaitingBot
from adbot_queue.console.formats import number
from adbot_queue.console.job_words import Why

SHORT = 20
"""A pool is short when less than one session in this many is free."""

WAITS = {
    QueuedReason.SEQUENCING: Why("off", "loader", "Gets its place", "It was bought a moment ago."),
    QueuedReason.INSUFFICIENT_STOCK: Why("off", "package", "No stock", "It gets the next sessions that arrive."),
    QueuedReason.SESSION_LOST: Why("warn", "circle-minus", "Session lost", "It waits for a replacement."),
    QueuedReason.REASSIGNED: Why("off", "undo-2", "Reassigned", "Sessions of it were taken back."),
    QueuedReason.PARKED: Why(
        "bad",
        "circle-alert",
        "Parked",
        "Three tries to serve it failed. Find the cause, then unpark it.",
        is_trouble=True,
    ),
}

STATES = {
    AdbotStatus.READY: Why("good", "circle-check", "Ready", "It has all its sessions and can be started."),
    AdbotStatus.RUNNING: Why("run", "play", "Running", "It has all its sessions."),
    AdbotStatus.STOPPED: Why("off", "circle-pause", "Stopped", "It keeps its sessions and can be started."),
    AdbotStatus.CANCELLED: Why("off", "ban", "Cancelled", "It has ended and holds no sessions."),
}

ON_HOLD = Why(
    "warn",
    "banknote",
    "On hold",
    "Its payment is disputed; it cannot be started until the dispute is over.",
    is_trouble=True,
)


def why(adbot: Adbot) -> Why:
    """Return the state of a bot, and what it waits for."""
    if adbot.status is AdbotStatus.QUEUED:
        return WAITS[adbot.queued_reason or QueuedReason.SEQUENCING]
    if adbot.on_hold and adbot.status is not AdbotStatus.CANCELLED:
        return ON_HOLD
    return STATES[adbot.status]


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A row of the queue. `until` counts the sessions that must arrive until this bot is complete; None: unknown."""

    adbot: Adbot
    place: int | None
    since: int
    why: Why
    until: int | None


def rows(found: Sequence[WaitingBot], *, first_page: bool) -> list[QueueRow]:
    """Return the rows of a page of the queue; only the first page knows what is ahead of it."""
    made, ahead = [], 0
    for one in found:
        is_next = one.place == 1 and one.adbot.queued_reason is QueuedReason.INSUFFICIENT_STOCK
        reason = Why("run", "arrow-right", "Served next") if is_next else why(one.adbot)
        ahead += one.adbot.missing
        made.append(QueueRow(one.adbot, one.place, one.since, reason, ahead if first_page and one.place else None))
    return made


def served_by(waiting: Sequence[QueueRow], sessions: int, pool: dict[str, Any]) -> str:
    """`serves the first 7 bots`: what an upload of this many sessions does, as far as the page shows it."""
    complete = sum(1 for row in waiting if row.until is not None and row.until <= sessions)
    if not pool["queued"]:
        return "completes no bot, because none waits; all of them stay free"
    if sessions >= pool["missing"]:
        left = sessions - pool["missing"]
        return f"serves all {_bots(pool['queued'])} and leaves {number(left)} free"
    if not complete:
        return "completes no bot; the first gets all of them"
    more = " or more" if complete == len(waiting) else ""
    return f"serves the first {_bots(complete)}{more}"


def state_of(pool: dict[str, Any]) -> Why:
    """Return the state of a pool's stock: empty while bots wait, short, or ample."""
    if pool["queued"] and pool["free"]:
        return Why("run", "loader", "Assigning", f"waiting: {_bots(pool['queued'])}")
    if pool["queued"]:
        return Why("bad", "package", "Empty", f"{_bots(pool['queued'])}, {number(pool['missing'])} sessions missing")
    if not pool["free"]:
        return Why("warn", "package", "Empty", "the next bot waits")
    if pool["free"] * SHORT < pool["total"]:
        return Why("warn", "circle-alert", "Short", f"less than one in {SHORT} is free")
    return Why("ok", "circle-check", "Ample")


def _bots(count: int) -> str:
    return f"{number(count)} {'bot' if count == 1 else 'bots'}"
