"""What every side of `bench.jobs` is measured by: the jobs that it is given, and how its progress is counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

WAIT_SECONDS = 0.02
"""How long a provider takes to answer."""

BATCH = 10
"""Messages of a batch, and jobs that run at once."""


class Numbered(BaseModel):
    """A job's payload."""

    number: int
    waits: bool = False


def process(payload: Numbered, _context: Any = None) -> dict[str, Any]:
    """The same processor for all sides."""
    if payload.waits:
        time.sleep(WAIT_SECONDS)
    return {"number": payload.number}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a side works: endpoints, its queue, its tables by logical name, and what it is asked to do.

    Attributes:
        warm: jobs done before the clock starts.
        number: jobs that are measured.
        waits: the processor waits like one that asks a provider.
        metered: write units are counted, one job at a time, and no time is taken.
    """

    dynamodb: str
    sqs: str
    queue: str
    tables: dict[str, str]
    warm: int
    number: int
    waits: bool
    metered: bool = False


class Calls:
    """Counts calls to AWS by name, of any botocore client."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self._lock = threading.Lock()

    def watch(self, client: Any) -> None:
        """Count this client's calls from now on."""
        client.meta.events.register("before-call", self._seen, unique_id="bench")

    def add(self, name: str) -> None:
        """Count one that botocore does not make."""
        with self._lock:
            self.names[name] += 1

    def _seen(self, model: Any, **_: Any) -> None:
        self.add(model.name)


@dataclass
class Course:
    """The clock of a side's worker: from the end of the warm-up to the last message deleted.

    A job is done when its message has been deleted: until then it would be delivered again.
    """

    warm: int
    number: int
    count: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    _began: float = 0.0
    _ended: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def done(self, jobs: int) -> None:
        """Count finished jobs."""
        with self._lock:
            before, self.count = self.count, self.count + jobs
            if before < self.warm <= self.count:
                self._began = time.perf_counter()
            if before < self.warm + self.number <= self.count:
                self._ended = time.perf_counter()
                self.over.set()

    @property
    def seconds(self) -> float:
        """How long the measured jobs took."""
        return self._ended - self._began


class Side(Protocol):
    """One way to do jobs."""

    def prepare(self, place: Place, calls: Calls) -> None:
        """Make clients and whatever a process has at its start."""

    def enqueue(self, number: int) -> None:
        """Enqueue one job, as a request does."""

    def work(self, course: Course) -> None:
        """Do jobs until the course is over."""
