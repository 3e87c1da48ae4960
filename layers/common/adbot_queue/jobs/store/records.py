"""Jobs to be created, with what is written together with them, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adbot_queue.core.dynamodb import Item
from adbot_queue.jobs.model import Job

MAX_JOBS_PER_TRANSACTION = 50
"""Jobs of a transaction: so many of the largest payloads fit into its 4 MB, with all that stands beside them."""


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """What an idempotency key is remembered by, and for how long (ms).

    Attributes:
        derived: the type has made it of the payload; nobody gave it.
        instead_of: it is taken from this job.
    """

    key: str
    fingerprint: str
    until: int
    derived: bool = False
    instead_of: str | None = None

    def meaning(self, stood: Item) -> DuplicateOf:
        """What the key means already, when this stands in its place."""
        return DuplicateOf(stood["job_id"], stood["fingerprint"] == self.fingerprint)


@dataclass(frozen=True, slots=True)
class JobInsert:
    """A job to be created, unless its key is `known`; `with_it` are jobs that exist only together with it."""

    job: Job
    memory: IdempotencyRecord | None = None
    with_it: tuple[Job, ...] = ()
    known: DuplicateOf | None = None

    @property
    def parents(self) -> frozenset[str]:
        """Jobs of the table that must learn of their new child."""
        return self.job.blocked_by

    @property
    def size(self) -> int:
        """Items of a transaction."""
        return 1 + (self.memory is not None) + len(self.with_it) + len(self.parents)


@dataclass(frozen=True, slots=True)
class DuplicateOf:
    """The key means another job already; `same` tells whether it was the same request."""

    job_id: str
    same: bool


@dataclass(frozen=True, slots=True)
class Created:
    """What became of inserts, by the ids of their jobs.

    Attributes:
        known: those whose key means a job already; they were left out.
        late: those of which a parent had ended before it was told: nobody but `Dependents.recheck` tells them.
    """

    known: dict[str, DuplicateOf]
    late: set[str]


def chunks(inserts: Sequence[JobInsert], most: int) -> Iterable[list[JobInsert]]:
    """Drafts, in their order, as many together as a transaction of `most` items takes."""
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
