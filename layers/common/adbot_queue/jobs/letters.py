"""Dead letters. Pure.

Jobs whose attempts are spent, and messages that nobody could read or whose function cannot start. A job is its own
letter: its row. A message becomes one when its dead-letter queue is emptied (`functions/bury`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import DECIDED_MS, Failure, Job

PREFIX = "msg_"
MESSAGE = "message"
"""What stands for the type of a message."""

PREVIEW = 4096
"""Characters of a body or a payload that a list shows."""

PIECE = 85_000
"""Characters of a body that one item has room for: at most 340 KB, as UTF-8 takes up to 4 bytes for one."""

MEMBERS = 12

NOWHERE = {
    "tally": "it points at stream records, which are not kept in a queue",
    "run-schedule": "its schedule's missed-run policy has decided about the tick; run the schedule by hand",
}
"""Where there is a dead-letter queue without a queue that messages could go back to, and why."""


EVENT_QUEUES = ("payments", "allocation", "notices")
"""Queues of messages that are no jobs."""


def letter_queues() -> set[str]:
    """Return the names of all queues, and of what else has dead letters."""
    return {*job_queues.QUEUES, *EVENT_QUEUES, *NOWHERE}


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that died. Times are milliseconds since 1970.

    Attributes:
        id: `msg_` and the id of the SQS message: the same however often it is delivered.
        queue: the queue that it was sent to.
        preview: the beginning of its body.
        size: bytes of the body.
        pieces: items that hold it.
        died_at: when it was taken out of the dead-letter queue.
        received: how often it was received without success.
        group: message group, of a FIFO queue.
        failure: what is known of why.
        state: `dead`, `replayed` or `discarded`.
        job: the job that sends it back.
        edited: another body is sent back.
        last_replay: the governed replay that sent it back.
    """

    id: str
    queue: str
    preview: str
    size: int
    pieces: int
    died_at: int
    sent_at: int
    received: int
    failure: Failure
    fingerprint: str
    group: str | None = None
    state: str = "dead"
    job: str | None = None
    edited: bool = False
    last_replay: str | None = None
    version: int = 1
    expires_at: int | None = None

    @property
    def is_dead_letter(self) -> bool:
        """It waits for a person's decision."""
        return self.state == "dead"

    def replayed(self, job: str, now: int, *, edited: bool = False, replay: str | None = None) -> Letter:
        """It is sent back by a job."""
        until = (now + DECIDED_MS) // 1000
        return replace(self, state="replayed", job=job, edited=edited, last_replay=replay, expires_at=until)

    def discarded(self, now: int) -> Letter:
        """It will not be sent back."""
        return replace(self, state="discarded", expires_at=(now + DECIDED_MS) // 1000)


DeadLetter = Job | Letter


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters. `since` and `until` are ms, both included."""

    queue: str | None = None
    type: str | None = None
    fingerprint: str | None = None
    since: int = 0
    until: int | None = None


def letter(record: Mapping[str, Any], queue: str, now: int) -> Letter:
    """The letter of a message as Lambda hands it over."""
    body, told = record["body"], record["attributes"]
    failure = diagnosis(body)
    return Letter(
        id=PREFIX + record["messageId"],
        queue=queue,
        preview=body[:PREVIEW],
        size=len(body.encode()),
        pieces=-(-len(body) // PIECE),
        died_at=now,
        sent_at=int(told["SentTimestamp"]),
        received=int(told["ApproximateReceiveCount"]),
        failure=failure,
        fingerprint=failure.fingerprint(f"{MESSAGE} {queue}"),
        group=told.get("MessageGroupId"),
    )


def diagnosis(body: str) -> Failure:
    """What can be told from the body alone; messages of the same make get the same one."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):  # the latter: nested too deep
        return Failure("poison", "NotJson", "its body is not JSON")
    if not isinstance(read, dict):
        return Failure("poison", "NotAnObject", "its body is not a JSON object")
    names = ", ".join(sorted(read)[:MEMBERS])[:200]
    return Failure("undelivered", "NeverDone", f"received again and again and never done; its members: {names}")


def died_at(dead: DeadLetter) -> int:
    """When a letter died."""
    return dead.died_at if isinstance(dead, Letter) else (dead.finished_at or dead.created_at)


def is_money(queue: str) -> bool:
    """Whether money hangs on a queue's messages."""
    known = job_queues.QUEUES.get(queue)
    return queue == "payments" or (known is not None and known.is_money)
