"""The platform's own job about dead letters."""

from __future__ import annotations

from typing import Any

from adbot_queue.core.schema import Input
from adbot_queue.jobs import replay_slice
from adbot_queue.jobs.context import Context


class ReplayDeadLetters(Input):
    """Which replay goes on."""

    replay: str


def replay_dead_letters(payload: ReplayDeadLetters, context: Context) -> dict[str, Any]:
    """A slice of a governed replay."""
    return replay_slice.go_on(payload.replay, context)
