"""Jobs in DynamoDB: every read and every conditional write on them (`items` has the layout).

A claim moves a job between indexes, a finish again: 3 writes of the row and 9 of index entries in a job's life.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import ConditionFailed, Transaction, TransactionRejected
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.store.attempts import Attempts
from adbot_queue.jobs.store.claims import Claims
from adbot_queue.jobs.store.inserts import JobInserts
from adbot_queue.jobs.store.items import job_of, key_of
from adbot_queue.jobs.store.lists import JobLists
from adbot_queue.jobs.store.pages import JobPages


class JobStore(JobInserts, Claims, Attempts, JobLists, JobPages):
    """Access patterns of the Jobs table that concern jobs."""

    def change(
        self,
        before: Job,
        after: Job,
        sign: Callable[[Transaction], None] | None = None,
        with_it: Sequence[Job] = (),
    ) -> Job | None:
        """Write what changed unless the row has changed meanwhile; None when it has.

        What `sign` adds is written with it, and these jobs are created with it then.
        """
        if sign is None:
            return self.write(before, after, "#state = :was", version=before.version)
        transaction = self.transaction()
        self.add_change(transaction, before, after, with_it)
        sign(transaction)
        try:
            transaction.commit()
        except TransactionRejected:
            return None
        return after.changed(version=before.version + 1)

    def parent_done(self, child: str, parent: str) -> Job | None:
        """Take a parent off a child's list; the child as it is then, None when it does not wait any more.

        A child that has begun goes on when any parent has ended: its list stays until it does.
        """
        try:
            changed = dynamodb.update_if(
                self.client,
                self.table,
                key_of(child),
                "DELETE blocked_by :parent ADD version :one",
                condition="#state = :delayed AND attribute_exists(blocked_by) "
                "AND attribute_not_exists(first_started_at)",
                parent={parent},
                one=1,
                delayed=JobState.DELAYED.value,
            )
        except ConditionFailed as failed:
            # A process that died after it took the last parent off left the child delayed.
            found = job_of(failed.item) if failed.item else None
            return found if found and found.state is JobState.DELAYED and found.run_at is None else None
        return job_of(changed)

    def delete(self, job: Job) -> bool:
        """Remove an ended job unless it has changed meanwhile."""
        transaction = self.transaction()
        transaction.delete(
            "job",
            self.table,
            key_of(job.id),
            condition="#version = :version AND #state = :state",
            version=job.version,
            state=job.state.value,
        )
        try:
            transaction.commit()
        except TransactionRejected:
            return False
        return True
