"""What is wrong, and why a queue does not move: read off a snapshot's figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adbot_queue.console.formats import age, duration, millis_of, number
from adbot_queue.jobs.model import BAD_ENDS, JobState

MAX_WAIT_MS = 900_000
"""A job that waits longer raises the alarm OldestWaitingJob."""

MAX_BOT_WAIT_MS = 86_400_000
"""A bot that waits longer raises the alarm OldestQueuedBot, unless the parameter says otherwise."""

SLOW = 2
"""Rank from which on a queue moves."""

PROVIDERS = {
    "money": ("stripe", "solana"),
    "email": ("sendgrid",),
    "codes": ("twilio",),
    "messages": ("twilio",),
    "ai-content": ("bedrock",),
    "ai-seo": ("bedrock",),
    "analytics": ("segment",),
    "accounts": ("sendgrid",),
}
"""Queue -> providers whose open circuit stops it; a test compares it with what job types need."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reason:
    """A queue's state in words. `rank`: trouble first."""

    rank: int
    kind: str
    icon: str
    word: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a person should look at. `since`: ms, None if that is not known."""

    icon: str
    what: str
    detail: str
    since: int | None
    href: str
    act: str


def level(queue: Figures, *states: JobState) -> int:
    """Return how many jobs of a queue are in these states."""
    return sum(queue["levels"].get(state.value, 0) for state in states)


def reason(queue: Figures, seen: Figures, now: int) -> Reason:
    """Return why a queue moves or does not."""
    circuit = circuit_of(queue["name"], seen)
    if circuit:
        until = circuit["open_until"]
        why = circuit["reason"] or (f"{circuit['provider']}, next probe in {age(now, until)}" if until else "")
        return Reason(0, "bad", "unplug", "Circuit open", why)
    if queue["paused"]:
        why = queue["paused_why"] or ""
        return Reason(1, "warn", "circle-pause", "Paused", why)
    waits = now - queue["oldest_at"] if queue["oldest_at"] else 0
    if waits > MAX_WAIT_MS:
        return Reason(SLOW, "warn", "snail", "Slow", f"the oldest job waits {duration(waits)}")
    return Reason(9, "ok", "circle-check", "Flowing")


def circuit_of(queue: str, seen: Figures) -> Figures | None:
    """Return the open circuit that stops a queue; None: none does."""
    wanted = PROVIDERS.get(queue, ())
    return next((one for one in seen["circuits"] if one["provider"] in wanted and one["state"] != "closed"), None)


def incident(seen: Figures, queue: str | None = None) -> tuple[int, str] | None:
    """Return since when a circuit has been open, and its name: of those that stop this queue, or of all."""
    wanted = None if queue is None else PROVIDERS.get(queue, ())
    found = [
        one
        for one in seen["circuits"]
        if one["state"] != "closed" and one["opened_at"] and (wanted is None or one["provider"] in wanted)
    ]
    if not found:
        return None
    name = f"{found[0]['provider']} circuit open" if len(found) == 1 else f"{len(found)} circuits open"
    return min(one["opened_at"] for one in found), name


def by_trouble(seen: Figures, now: int) -> list[tuple[Figures, Reason]]:
    """Return queues with their reasons: trouble first, then those with most to do."""
    found = [(queue, reason(queue, seen, now)) for queue in seen["queues"]]
    return sorted(found, key=lambda row: (row[1].rank, -level(row[0], *BAD_ENDS), -_busy(row[0]), row[0]["name"]))


def _busy(queue: Figures) -> int:
    return level(queue, JobState.WAITING, JobState.ACTIVE) + int(queue["per_minute"] * 10)


def alarms(seen: Figures, now: int) -> list[Alarm]:
    """Return what is wrong now, money first."""
    return [*_money(seen), *_circuits(seen, now), *_slow(seen, now), *_bots(seen, now)]


def _money(seen: Figures) -> Iterator[Alarm]:
    for queue in seen["queues"]:
        if queue["money"] and (count := level(queue, *BAD_ENDS)):
            what = f"{number(count)} dead letters of money."
            href = f"/console/dead-letters?queue={queue['name']}"
            yield Alarm("banknote", what, "A payment, refund or payout did not go through.", None, href, "Look")


def _circuits(seen: Figures, now: int) -> Iterator[Alarm]:
    for circuit in seen["circuits"]:
        if circuit["state"] == "closed" and not circuit["reason"]:
            continue
        queues = [queue for queue in seen["queues"] if circuit["provider"] in PROVIDERS.get(queue["name"], ())]
        waiting = sum(level(queue, JobState.WAITING, JobState.DELAYED) for queue in queues)
        probe = f" Next probe in {age(now, circuit['open_until'])}." if (circuit["open_until"] or 0) > now else ""
        detail = f"{number(waiting)} jobs wait, none is lost.{probe}"
        what = f"{circuit['provider']} {circuit['reason'] or 'is failing: circuit open'}."
        yield Alarm("unplug", what, detail, circuit["opened_at"], "/console/health", "Open health")


def _slow(seen: Figures, now: int) -> Iterator[Alarm]:
    for queue in seen["queues"]:
        since = queue["oldest_at"]
        if since and now - since > MAX_WAIT_MS and not queue["paused"] and not circuit_of(queue["name"], seen):
            what = f"A job in {queue['name']} waits {duration(now - since)} (limit {duration(MAX_WAIT_MS)})."
            detail = f"{number(level(queue, JobState.WAITING))} jobs wait."
            yield Alarm(
                "hourglass", what, detail, since + MAX_WAIT_MS, f"/console/queues/{queue['name']}", "Open queue"
            )


def _bots(seen: Figures, now: int) -> Iterator[Alarm]:
    bots = seen["bots"]
    if bots["oldest_ms"] > MAX_BOT_WAIT_MS:
        what = f"The oldest bot waits {duration(bots['oldest_ms'])} (limit {duration(MAX_BOT_WAIT_MS)})."
        detail = f"{number(bots['queued'])} bots need {number(bots['missing'])} sessions."
        yield Alarm("bot", what, detail, now - bots["oldest_ms"] + MAX_BOT_WAIT_MS, "/console/stock", "Upload stock")
    if bots["parked"]:
        what = f"{number(bots['parked'])} bots are parked."
        yield Alarm(
            "circle-alert",
            what,
            "They failed three times and wait for a person.",
            None,
            "/console/bots?view=parked",
            "Look",
        )


def since_ms(value: int | str | None) -> int | None:
    """Return a moment of a figure in ms."""
    return None if value is None else millis_of(value)


def circuits(seen: Figures, labels: Mapping[str, str]) -> list[Figures]:
    """Return every provider with its circuit, the open ones first; the snapshot has only those in trouble."""
    known = {one["provider"]: one for one in seen["circuits"]}
    closed = {"state": "closed", "opened_at": None, "open_until": None, "reason": None, "not_before": None}
    rows = [{**closed, "provider": name, **known.pop(name, {}), "label": label} for name, label in labels.items()]
    rows += [{**one, "label": one["provider"]} for one in known.values()]
    return sorted(rows, key=lambda one: (one["state"] == "closed" and not one["reason"], one["label"]))
