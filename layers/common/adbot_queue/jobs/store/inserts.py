"""Inserts of jobs: with their keys, their parents and what signs for them, all or nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from adbot_queue.core import dynamodb, idempotency
from adbot_queue.core.conflicts import retry_on_conflict
from adbot_queue.core.dynamodb import (
    TRANSACTION_LIMIT,
    ConditionFailed,
    Transaction,
    TransactionConflict,
    TransactionRejected,
)
from adbot_queue.core.idempotency import DuplicateOf, IdempotencyRecord
from adbot_queue.jobs.model import TERMINAL, Job
from adbot_queue.jobs.store.items import item_of, key_of
from adbot_queue.jobs.store.records import Created, JobInsert, chunks
from adbot_queue.jobs.store.rows import JobRows

_NOT_TERMINAL = "NOT #state IN (:s0, :s1, :s2, :s3)"
_ADD_CHILD = "ADD children :new, version :one"
_STATES: dict[str, Any] = {f"s{number}": state.value for number, state in enumerate(sorted(TERMINAL))}


class KeyInUse(Exception):
    """The key of a whole request was used for another one."""


class JobInserts(JobRows):
    """The Jobs table as callers add to it."""

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

    def known(self, key_record: IdempotencyRecord, now: int) -> DuplicateOf | None:
        """Return what a key names, if anything."""
        return key_record.find(self.client, self.table, now)

    def key_holder(self, key: str) -> str | None:
        """Return the id of the job that an idempotency key means."""
        found = idempotency.stored(self.client, self.table, key)
        return found["subject"] if found else None


def _known(inserts: Sequence[JobInsert], refused: TransactionRejected) -> dict[str, DuplicateOf]:
    return {
        insert.job.id: insert.key_record.duplicate_of(found)
        for insert in inserts
        if insert.key_record and (found := refused.failed.get(f"key_record:{insert.job.id}"))
    }
