"""Jobs in DynamoDB: every read and every conditional write on them (`items` says how they lie there).

What workers write is in `claims`. A claim moves a job between indexes, a finish again: 3 writes of the row and 9 of
index entries in a job's life.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from adbot_queue.core import dynamodb, idempotency
from adbot_queue.core.conflicts import retry_on_conflict
from adbot_queue.core.dynamodb import (
    TRANSACTION_LIMIT,
    ConditionFailed,
    Item,
    Transaction,
    TransactionConflict,
    TransactionRejected,
)
from adbot_queue.core.idempotency import DuplicateOf, IdempotencyRecord
from adbot_queue.jobs.model import TERMINAL, Job, JobState
from adbot_queue.jobs.store.claims import difference
from adbot_queue.jobs.store.items import item_of, job_of, key_of
from adbot_queue.jobs.store.lists import JobLists, JobsById, job_id_of
from adbot_queue.jobs.store.records import Created, JobInsert, chunks

_NOT_TERMINAL = "NOT #state IN (:s0, :s1, :s2, :s3)"
_ADD_CHILD = "ADD children :new, version :one"
_STATES: dict[str, Any] = {f"s{number}": state.value for number, state in enumerate(sorted(TERMINAL))}


class KeyInUse(Exception):
    """The key of a whole request was used for another one."""


class JobStore(JobLists):
    """Access patterns of the Jobs table that concern jobs."""

    def transaction(self) -> Transaction:
        """An empty transaction."""
        return Transaction(self.client)

    # Creating

    def create(
        self,
        inserts: Sequence[JobInsert],
        now: int,
        sign: Callable[[Transaction, list[Job]], None] | None = None,
        request: IdempotencyRecord | None = None,
    ) -> Created:
        """Create jobs, as many as fit into each transaction; those whose key means another job are left out.

        Items per job: the row of its key (refuses a key in use), the job, jobs inserted with it, and each parent
        (refuses a parent that has ended). In addition what `sign` adds, one item, and the key of the whole `request`
        (refuses another request). Parents that do not fit, or that change at that moment, are updated afterwards.

        Raises:
            KeyInUse: the key of the whole request was used for another one; nothing was written.
            Unavailable: nothing of this transaction was written; those before it were.
        """
        created = Created({insert.job.id: insert.known for insert in inserts if insert.known}, set())
        for chunk in chunks([insert for insert in inserts if not insert.known], TRANSACTION_LIMIT - 2):
            left = chunk
            while left and (known := self._try(left, now, sign, request, created.late)):
                created.known.update(known)
                left = [insert for insert in left if insert.job.id not in known]
        return created

    def _try(
        self,
        inserts: Sequence[JobInsert],
        now: int,
        sign: Callable[[Transaction, list[Job]], None] | None,
        request: IdempotencyRecord | None,
        late: set[str],
    ) -> dict[str, DuplicateOf]:
        """Create all of them; if the keys of some are known, none: the answer says which."""
        if len(inserts) == 1 and inserts[0].size == 1 and sign is None and request is None:
            self._put(inserts[0].job)
            return {}
        if any(insert.parents for insert in inserts):
            with suppress(TransactionRejected, TransactionConflict):
                return self._commit(inserts, now, sign, request, late, with_parents=True)
        # Workers are at the parents: a transaction without these loses no race against them.
        return retry_on_conflict(lambda: self._commit(inserts, now, sign, request, late, with_parents=False))

    def _commit(
        self,
        inserts: Sequence[JobInsert],
        now: int,
        sign: Callable[[Transaction, list[Job]], None] | None,
        request: IdempotencyRecord | None,
        late: set[str],
        *,
        with_parents: bool,
    ) -> dict[str, DuplicateOf]:
        transaction = self.transaction()
        for insert in inserts:
            self._add(transaction, insert, now)
        if request:
            request.add(transaction, self.table, str(inserts[0].job.batch), now, tag="request", resumes=True)
        room = TRANSACTION_LIMIT - len(transaction) - (sign is not None)
        unreported = self._tell_parents(transaction, inserts, room if with_parents else 0)
        if sign:
            sign(transaction, [insert.job for insert in inserts])
        try:
            transaction.commit()
        except TransactionRejected as refused:
            if "request" in refused.failed:
                raise KeyInUse from refused
            # Ids are unique: if the job exists, an earlier try was written although DynamoDB's answer was lost.
            if f"job:{inserts[0].job.id}" not in refused.failed:
                known = _known(inserts, refused)
                if not known:
                    raise
                return known
        for parent, new in unreported.items():
            if not self.add_child(parent, new):
                late.update(new)
        return {}

    def _put(self, job: Job) -> None:
        """Create a job that comes with nothing else: half the price of a transaction of one."""
        try:
            dynamodb.put_if(self.client, self.table, item_of(job), condition="attribute_not_exists(pk)")
        except ConditionFailed:
            # Ids are unique, so this is the very job: the answer was lost and botocore sent the request again.
            return

    def _add(self, transaction: Transaction, insert: JobInsert, now: int) -> None:
        job = insert.job
        if insert.key_record:
            tag = f"key_record:{job.id}"
            insert.key_record.add(transaction, self.table, job.id, now, tag=tag, instead_of=insert.instead_of)
        for one in (job, *insert.with_it):
            transaction.create(f"job:{one.id}", self.table, item_of(one))

    def _tell_parents(self, transaction: Transaction, inserts: Sequence[JobInsert], room: int) -> dict[str, set[str]]:
        """Add as many parents as there is room for; the others, with their new children, are the answer."""
        children: dict[str, set[str]] = defaultdict(set)
        for insert in inserts:
            for parent in sorted(insert.parents):
                children[parent].add(insert.job.id)
        parents = list(children.items())
        for parent, new in parents[:room]:
            condition = f"attribute_exists(pk) AND {_NOT_TERMINAL}"
            transaction.update(
                f"parent:{parent}",
                self.table,
                key_of(parent),
                _ADD_CHILD,
                condition=condition,
                new=new,
                one=1,
                **_STATES,
            )
        return dict(parents[room:])

    def add_child(self, parent: str, new: set[str]) -> bool:
        """Register children with a parent; False when it has ended or does not exist."""
        condition = f"attribute_exists(pk) AND {_NOT_TERMINAL}"
        with suppress(ConditionFailed):
            dynamodb.update_if(
                self.client, self.table, key_of(parent), _ADD_CHILD, condition=condition, new=new, one=1, **_STATES
            )
            return True
        return False

    # Reading

    def known(self, key_record: IdempotencyRecord, now: int) -> DuplicateOf | None:
        """Return what a key names, if anything."""
        return key_record.find(self.client, self.table, now)

    def key_holder(self, key: str) -> str | None:
        """Return the id of the job that an idempotency key means."""
        found = idempotency.stored(self.client, self.table, key)
        return found["subject"] if found else None

    def get(self, job_id: str) -> Job | None:
        """One job, read strongly.

        Raises:
            Unreadable: there is one, but not for this version.
        """
        found = dynamodb.get(self.client, self.table, key_of(job_id))
        return job_of(found) if found else None

    def all_of(self, job_ids: Iterable[str]) -> JobsById:
        """The same for those to whom a job that is not there is gone.

        Raises:
            Unreadable: one is there and cannot be read.
        """
        found = self.get_many(job_ids)
        if found.unreadable:
            raise found.unreadable[0]
        return found

    def ready(self, queue: str, limit: int) -> list[tuple[str, str]]:
        """The first waiting jobs of a queue in the order of service: rank and id. As old as the index, a moment."""
        found, _ = self._index("ready", "queue = :queue", limit, None, queue=queue)
        return [(item["rank"], job_id_of(item)) for item in found]

    def due(self, queue: str, until: int, limit: int, cursor: str | None = None) -> tuple[list[str], str | None]:
        """Ids of the delayed and active jobs that must be looked at, the most overdue first; the next page's cursor.

        Pages follow the index: none shows a job again that is still due.
        """
        condition = "queue = :queue AND due_at <= :until"
        found, following = self._index("due", condition, limit, cursor, queue=queue, until=until)
        return [job_id_of(item) for item in found], following

    def _index(
        self, index: str, condition: str, limit: int, cursor: str | None, **values: Any
    ) -> tuple[list[Item], str | None]:
        return dynamodb.query_page(
            self.client, self.table, condition, index=index, limit=limit, cursor=cursor, forward=True, **values
        )

    # Changing

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
            return self._write(before, after, "#state = :was", version=before.version)
        transaction = self.transaction()
        self.add_change(transaction, before, after, with_it)
        sign(transaction)
        try:
            transaction.commit()
        except TransactionRejected:
            return None
        return after.changed(version=before.version + 1)

    def add_change(self, transaction: Transaction, before: Job, after: Job, with_it: Sequence[Job] = ()) -> None:
        """Add the change of a job (refuses if its row has changed meanwhile) and jobs that are created with it."""
        expression, values = difference(before, after)
        transaction.update(
            f"change:{before.id}",
            self.table,
            key_of(before.id),
            expression,
            condition="#version = :version AND #state = :was",
            **values,
            version=before.version,
            was=before.state.value,
        )
        for one in with_it:
            transaction.create(f"job:{one.id}", self.table, item_of(one))

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


def _known(inserts: Sequence[JobInsert], refused: TransactionRejected) -> dict[str, DuplicateOf]:
    return {
        insert.job.id: insert.key_record.duplicate_of(found)
        for insert in inserts
        if insert.key_record and (found := refused.failed.get(f"key_record:{insert.job.id}"))
    }
