"""Rows of jobs: reads, and conditional writes of what changed in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adbot_queue.core import dynamodb
from adbot_queue.core.dynamodb import ConditionFailed, Item, Table, Transaction
from adbot_queue.core.updates import Update, update_many
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.store.items import changes, item_of, job_of, key_of


class JobRows(Table):
    """The rows of the Jobs table that are jobs."""

    def transaction(self) -> Transaction:
        """An empty transaction."""
        return Transaction(self.client)

    def get(self, job_id: str) -> Job | None:
        """One job, read strongly.

        Raises:
            Unreadable: there is one, but not for this version.
        """
        found = dynamodb.get(self.client, self.table, key_of(job_id))
        return job_of(found) if found else None

    def write(self, before: Job, after: Job, condition: str, *, version: int | None = None, **guard: Any) -> Job | None:
        """Write under a condition; under a version too, if one is given: what is written then needs no reading."""
        change = change_of(before, after, condition, version=version, **guard)
        (outcome,) = update_many(self.client, self.table, [change])
        if isinstance(outcome, ConditionFailed):
            return None
        if isinstance(outcome, Exception):
            raise outcome
        return after.changed(version=before.version + 1) if version is not None else job_of(outcome)

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


def change_of(before: Job, after: Job, condition: str, *, version: int | None = None, **guard: Any) -> Update:
    """Return the write of what changed, under a condition; without a version it answers the row."""
    expression, values = difference(before, after)
    if version is not None:
        condition, guard = f"{condition} AND #version = :version", guard | {"version": version}
    values |= guard | {"was": before.state.value}
    return Update(key_of(before.id), expression, condition, values, answer=version is None)


def difference(before: Job, after: Job) -> tuple[str, dict[str, Any]]:
    """The update expression from one to the other, with its values; the version grows by one."""
    changed, gone = changes(before, after)
    parts = [f"SET {', '.join(f'#{name} = :v_{name}' for name in changed)}"] if changed else []
    parts += [f"REMOVE {', '.join(f'#{name}' for name in gone)}"] if gone else []
    values = {f"v_{name}": value for name, value in changed.items()}
    return " ".join([*parts, "ADD #version :one"]), values | {"one": 1}


def job_id_of(item: Item) -> str:
    """Return the id of the job that an item, or an entry of an index, is of."""
    return str(item["pk"]).partition("#")[2]
