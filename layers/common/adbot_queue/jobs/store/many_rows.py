"""Rows of several jobs: reads, and conditional writes of what changed in each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import ConditionFailed, Item
from adbot_queue.core.updates import BATCH, update_many
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.store.items import key_of, sort_out
from adbot_queue.jobs.store.rows import JobRows, change_of
from adbot_queue.jobs.unreadable import Unreadable, report

_AS_IT_WAS = "#state = :was"


class JobsById(dict[str, Job]):
    """Jobs by id, and those that are there but cannot be read."""

    def __init__(self, found: Iterable[Job], unreadable: Sequence[Unreadable]) -> None:
        super().__init__((job.id, job) for job in found)
        self.unreadable = unreadable


def changed(before: Job, after: Job, outcome: Item | Exception) -> Job | Exception | None:
    """Return the job as it was written, None if its row had changed, or what went wrong."""
    if isinstance(outcome, ConditionFailed):
        return None
    return outcome if isinstance(outcome, Exception) else after.changed(version=before.version + 1)


class ManyJobRows(JobRows):
    """The rows of the Jobs table that are jobs, several at once."""

    def get_many(self, job_ids: Iterable[str]) -> JobsById:
        """Return jobs by id: those that exist and can be read. Those that cannot are reported."""
        found, unreadable = sort_out(dynamodb.get_many(self.client, self.table, map(key_of, job_ids)))
        if unreadable:
            report(unreadable)
        return JobsById(found, unreadable)

    def all_of(self, job_ids: Iterable[str]) -> JobsById:
        """The same for those to whom a job that is not there is gone.

        Raises:
            Unreadable: one is there and cannot be read.
        """
        found = self.get_many(job_ids)
        if found.unreadable:
            raise found.unreadable[0]
        return found

    def change_many(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | Exception | None]:
        """Write what changed of jobs that no worker has, each for itself.

        Returns:
            For each the job as it was written; None when its row has changed meanwhile; or what went wrong with it.
        """
        outcomes: list[Item | Exception] = []
        for start in range(0, len(pairs), BATCH):
            chunk = pairs[start : start + BATCH]
            changes = [change_of(before, after, _AS_IT_WAS, version=before.version) for before, after in chunk]
            try:
                outcomes += update_many(self.client, self.table, changes)
            except (ClientError, BotoCoreError) as error:
                outcomes += [error] * len(chunk)
        return [changed(*pair, outcome) for pair, outcome in zip(pairs, outcomes, strict=True)]
