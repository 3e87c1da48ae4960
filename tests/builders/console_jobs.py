"""Jobs in every state for the console's tests: rows as workers leave them, counted as the stream counts them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.clock import system_clock
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs.failure import Failure
from adbot_queue.jobs.model import Job, JobState, Verdict
from adbot_queue.jobs.store.items import item_of
from adbot_queue.queues import counters
from tests.builders.job_stream import Stream, claimed

MINUTE = 60_000
PERMANENT = Failure("permanent", "CardDeclined", "your card was declined")
TRANSIENT = Failure("transient", "ServerError", "sendgrid answered 503")
SNOOZED = Failure("snoozed", "CircuitOpen", "sendgrid: circuit open")


class ConsoleJobs:
    """Lays jobs into the Jobs table of the world; each ended or began `ago` ms before now."""

    def __init__(self) -> None:
        self._stream = Stream()
        self._numbers = itertools.count()
        self.now = system_clock()

    def lay(self, *states: Job) -> Job:
        """Write a job's last state, and count all of them."""
        from adbot_queue.core.settings import settings  # noqa: PLC0415  the world sets them

        aws.dynamodb().put_item(TableName=settings().jobs_table, Item=encode(item_of(states[-1])))
        for record in self._stream.life(*states, at=self.now):
            counters.from_env().tally([record])
        return states[-1]

    def new(self, job_type: str = "send-email", queue: str = "email", ago: int = MINUTE, **changes: Any) -> Job:
        """A new job that may be claimed."""
        at = self.now - ago
        payload = {"to": "ana@example.com", "template": "receipt", "number": next(self._numbers)}
        made = Job(time_ordered_id(at), job_type, queue, payload, at, tenant="user-1", tags=("receipt",))
        return made.changed(**changes).waiting(at)

    def waiting(self, **options: Any) -> Job:
        return self.lay(self.new(**options))

    def scheduled(self, **options: Any) -> Job:
        made = self.new(**options)
        return self.lay(made.delayed(self.now + 5 * MINUTE, self.now))

    def active(self, **options: Any) -> Job:
        made = self.new(**options)
        return self.lay(made, claimed(made, self.now - 2_000))

    def completed(self, result: Any = None, **options: Any) -> Job:
        made = self.new(**options)
        runs = claimed(made, made.created_at + 400)
        return self.lay(made, runs, runs.completed(result or {"message_id": "m-1"}, made.created_at + 1_600))

    def cancelled(self, **options: Any) -> Job:
        made = self.new(**options)
        return self.lay(made, made.cancelled("cancelled by a person", made.created_at + 900))

    def retrying(self, failures: Sequence[Failure] = (TRANSIENT,), **options: Any) -> Job:
        """Tried once for each failure, and waiting for its next attempt."""
        return self.lay(*self._tried(failures, JobState.DELAYED, **options))

    def dead(self, failures: Sequence[Failure] = (TRANSIENT,) * 3, **options: Any) -> Job:
        """All its attempts are spent."""
        return self.lay(*self._tried(failures, JobState.DEAD, **options))

    def failed(self, failure: Failure = PERMANENT, **options: Any) -> Job:
        """The provider refused it for good."""
        return self.lay(*self._tried([failure], JobState.FAILED, **options))

    def _tried(self, failures: Sequence[Failure], end: JobState, **options: Any) -> list[Job]:
        made = self.new(**options)
        lives, at = [made], made.created_at
        for number, failure in enumerate(failures, 1):
            runs = claimed(lives[-1], at + 300)
            at += 2_200
            last = end if number == len(failures) else JobState.DELAYED
            spent = runs.attempt if failure.kind != "snoozed" else runs.attempt - 1
            lives += [runs, runs.apply_verdict(Verdict(last, spent, 5_000), failure, at)]
            at += 5_000
        return lives
