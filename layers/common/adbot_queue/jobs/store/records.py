"""Jobs to insert, what is written with them, and the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adbot_queue.core.idempotency import DuplicateOf, IdempotencyRecord
from adbot_queue.jobs.model import Job

MAX_JOBS_PER_TRANSACTION = 50
"""Jobs of a transaction: 50 of the largest payloads fit into its 4 MB, with everything written with them."""


@dataclass(frozen=True, slots=True)
class JobInsert:
    """A job to be created, unless its key is `known`.

    Attributes:
        key_record: its key; derived from the payload if the job has no key of its own.
        with_it: jobs that exist only together with it.
        instead_of: the job that the key is taken from.
    """

    job: Job
    key_record: IdempotencyRecord | None = None
    with_it: tuple[Job, ...] = ()
    known: DuplicateOf | None = None
    instead_of: str | None = None

    @property
    def parents(self) -> frozenset[str]:
        """The jobs that must learn of their new child."""
        return self.job.blocked_by

    @property
    def size(self) -> int:
        """Items in a transaction."""
        return 1 + (self.key_record is not None) + len(self.with_it) + len(self.parents)


@dataclass(frozen=True, slots=True)
class Created:
    """The outcome of inserts, by the ids of their jobs.

    Attributes:
        known: jobs left out because their key means another job.
        late: jobs with a parent that ended before it learned of them: `Dependents.recheck` releases them.
    """

    known: dict[str, DuplicateOf]
    late: set[str]


def chunks(inserts: Sequence[JobInsert], most: int) -> Iterable[list[JobInsert]]:
    """Yield the inserts in order, as many together as a transaction of `most` items takes."""
    chunk: list[JobInsert] = []
    size = 0
    for insert in inserts:
        if chunk and (size + insert.size > most or len(chunk) == MAX_JOBS_PER_TRANSACTION):
            yield chunk
            chunk, size = [], 0
        chunk.append(insert)
        size += insert.size
    if chunk:
        yield chunk
