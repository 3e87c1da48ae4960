"""Lives of jobs, as records of the Jobs table's stream."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from adbot_queue.core.attribute_values import encode
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.model import Job, JobState, Verdict
from adbot_queue.jobs.store.items import item_of
from tests.builders.clocks import NOW

Record = dict[str, Any]
FAILURES = {kind: Failure(kind, "SomeError", "why") for kind in ("transient", "permanent", "snoozed", "stalled")}


def job(number: int = 0, queue: str = "money", at: int = NOW, **changes: Any) -> Job:
    """A new job that may be claimed."""
    made = Job(f"job{number:08d}", "payment-process", queue, {"n": number}, at, **changes)
    return made.waiting(at)


def claimed(before: Job, at: int) -> Job:
    """As `JobStore.claim` leaves it."""
    return before.changed(
        state=JobState.ACTIVE,
        attempt=before.attempt + 1,
        started_at=at,
        lease="lease",
        lease_until=at + 60_000,
        due_at=at + 60_000,
        worker="w",
        rank=None,
    )


def failed(before: Job, at: int, kind: str = "transient", delay_ms: int = 5_000) -> Job:
    """An attempt that did not complete its job."""
    states = {"permanent": JobState.FAILED}
    verdict = Verdict(states.get(kind, JobState.DELAYED), before.attempt, delay_ms)
    return before.apply_verdict(verdict, FAILURES[kind], at)


def died(before: Job, at: int) -> Job:
    """The last attempt is spent."""
    return before.apply_verdict(Verdict(JobState.DEAD, before.attempt), FAILURES["transient"], at)


@dataclass
class Stream:
    """Numbers the records that it makes."""

    made: int = 0

    def record(self, before: Job | None, after: Job | None, at: int = NOW) -> Record:
        """The record of one change."""
        image = after or before
        assert image
        item = encode(item_of(image))
        self.made += 1
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": at // 1000,
            "Keys": {"pk": item["pk"], "sk": item["sk"]},
            "SequenceNumber": f"{self.made:021d}",
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        body |= {"OldImage": encode(item_of(before))} if before else {}
        body |= {"NewImage": encode(item_of(after))} if after else {}
        name = "INSERT" if before is None else "REMOVE" if after is None else "MODIFY"
        return {"eventID": f"{self.made:032x}", "eventName": name, "eventSource": "aws:dynamodb", "dynamodb": body}

    def life(self, *states: Job | None, at: int = NOW) -> list[Record]:
        """The records of a job that went through these states."""
        images = [None, *states]
        return [self.record(before, after, at) for before, after in pairwise(images)]

    def lives(self, jobs: int, chance: random.Random, queues: Sequence[str]) -> list[Record]:
        """Return random lives of that many jobs, interleaved as in a table's stream, over some minutes."""
        clock = NOW
        found: list[Record] = []
        pending: list[tuple[Job, Job | None]] = [(job(n, chance.choice(queues), clock), None) for n in range(jobs)]
        while pending:
            clock += chance.randint(0, 9_000)
            now, before = pending.pop(chance.randrange(len(pending)))
            found.append(self.record(before, now, clock))
            after = _next(now, clock, chance)
            if after is not None:
                pending.append((after, now))
            elif chance.random() < 0.2:
                found.append(self.record(now, None, clock))
        return found


def _next(now: Job, at: int, chance: random.Random) -> Job | None:
    """What becomes of a job, None when nothing does any more."""
    ends: list[Callable[[], Job]] = [lambda: now.completed({"ok": True}, at), lambda: died(now, at)]
    if now.state is JobState.ACTIVE:
        kinds: list[Callable[[], Job]] = [lambda kind=kind: failed(now, at, kind) for kind in FAILURES]  # type: ignore[misc]
        progress = now.changed(progress={"percent": chance.randint(1, 99)})
        return chance.choice([*ends, *ends, *kinds, lambda: progress])()
    if now.is_terminal:
        return now.restarted(at) if now.state is not JobState.COMPLETED and chance.random() < 0.2 else None
    return now.cancelled("why", at) if chance.random() < 0.1 else claimed(now, at)
