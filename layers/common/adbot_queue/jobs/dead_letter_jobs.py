"""The platform's own jobs about dead letters."""

from __future__ import annotations

from typing import Any

from adbot_queue.core.schema import Input
from adbot_queue.jobs import dead_letters, replay_slice
from adbot_queue.jobs.context import Context


class SendDeadLetter(Input):
    """Which message goes back to its queue."""

    letter: str


class ReplayDeadLetters(Input):
    """Which replay goes on."""

    replay: str


def send_dead_letter(payload: SendDeadLetter, context: Context) -> dict[str, Any]:
    """Send a message back; a repetition may send it twice, which its consumer bears."""
    return {"queue": dead_letters.from_env(context.now).deliver(payload.letter)}


def replay_dead_letters(payload: ReplayDeadLetters, context: Context) -> dict[str, Any]:
    """A slice of a governed replay."""
    return replay_slice.go_on(payload.replay, context)
