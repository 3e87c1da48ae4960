"""Dead letters in words: what to do about a group now, and the bars of its last day. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adbot_queue.console import trouble
from adbot_queue.console.formats import number
from adbot_queue.console.job_words import Why
from adbot_queue.dead_letters.model import is_money
from adbot_queue.dead_letters.service import Group
from adbot_queue.jobs.long_running import Progress
from adbot_queue.jobs.model import Job

UNKNOWN_OUTCOME = frozenset({"timeout", "stalled"})
"""Kinds of failures after which the provider may have acted all the same."""

BARS = (96, 18)
"""Width and height of the bars of a day."""


def what_now(group: Group, figures: Mapping[str, Any], replays: Sequence[Job], now: int) -> Why:
    """Return what to do about a group: wait for its cause, look first, change something, or replay."""
    if running := next((job for job in replays if _goes_through(job, group)), None):
        progress = Progress.read(running.checkpoint)
        left = f"{number(max(0, progress.of - progress.done))} to go" if progress.of is not None else "counting"
        return Why("info", "rotate-ccw", "Replaying", left)
    queue = next((one for one in figures["queues"] if one["name"] == group.queue), None)
    reason = trouble.reason(queue, dict(figures), now) if queue else None
    if reason and reason.kind == "bad":
        return Why("bad", reason.icon, "Cause is open", reason.why)
    if queue and queue["paused"]:
        return Why("warn", "circle-pause", "Queue paused", queue["paused_why"] or "replayed jobs would wait")
    return _by_error(group)


def _by_error(group: Group) -> Why:
    if group.failure is None:
        return Why("off", "clock", "Changed just now", "the last of them was decided about")
    if is_money(group.queue) and group.failure.kind in UNKNOWN_OUTCOME:
        return Why("warn", "banknote", "Look at the provider first", "the outcome of the call is unknown")
    if group.failure.kind == "permanent":
        return Why("off", "pencil", "Edit or discard", "the provider refused it for good")
    return Why("ok", "circle-check", "Ready to replay", "no known cause is left")


def _goes_through(replay: Job, group: Group) -> bool:
    """Whether a running replay goes through this group as a whole."""
    chosen = replay.payload.get("filter", {})
    given = {"fingerprint": group.fingerprint, "queue": group.queue, "type": group.type}
    named = {name: value for name, value in chosen.items() if name in given}
    return not chosen.get("job_ids") and all(given[name] == value for name, value in named.items())


def bars(hours: Sequence[int]) -> list[tuple[float, float]]:
    """Return x and top of a bar for each hour in which jobs died."""
    width, height = BARS
    top = max([4, *hours])
    step = width / max(1, len(hours))
    return [
        (round(step * (index + 0.5), 1), round(height - height * count / top, 1))
        for index, count in enumerate(hours)
        if count
    ]


def replay_words(replay: Job) -> str:
    """What a replay goes through: `fingerprint ab12, queue email`, or `all dead letters`."""
    chosen = replay.payload.get("filter", {})
    if ids := chosen.get("job_ids"):
        return f"{number(len(ids))} chosen dead letters"
    named = [f"{name} {chosen[name]}" for name in ("fingerprint", "queue", "type", "state") if chosen.get(name)]
    return ", ".join(named) or "all dead letters"
