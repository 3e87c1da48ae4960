"""Calls in parallel threads, each with a time limit."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)

COALESCE_S = 0.003
"""How long the first result waits for others: less than writing it alone would take."""


@dataclass(frozen=True, slots=True)
class TaskResult(Generic[Name]):
    """A call's result, or the exception that it raised."""

    name: Name
    result: Any = None
    error: BaseException | None = None


class DaemonThreadPool:
    """Threads that are kept between invocations; a thread that hangs is replaced.

    Daemon threads: one that hangs does not keep the process alive.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def run(self, call: Callable[[], None]) -> None:
        """Call it in a thread; it must not raise."""
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, daemon=True).start()
        self._calls.put(call)

    def _work(self) -> None:
        while True:
            self._calls.get()()
            self._idle.release()


class TaskGroup(Generic[Name]):
    """Starts calls and returns their results as they end, all that have ended at a time.

    A thread cannot be stopped: a call that is too late goes on until its own timeouts; the idempotency key covers what
    it still does at a provider. Its result is dropped.
    """

    def __init__(self, threads: DaemonThreadPool) -> None:
        self._threads = threads
        self._ends: SimpleQueue[TaskResult[Name]] = SimpleQueue()
        self._until: dict[Name, float] = {}
        self._allowed: dict[Name, float] = {}
        self._queued: deque[tuple[Name, Callable[[], Any], float]] = deque()
        self._exclusive: Name | None = None

    def __len__(self) -> int:
        """Return how many results are outstanding."""
        return len(self._until) + len(self._queued)

    def start(self, name: Name, call: Callable[[], Any], seconds: float, *, exclusive: bool = False) -> None:
        """Start a call for at most `seconds`; `exclusive` calls run one by one, and their time begins then."""
        if exclusive and self._exclusive is not None:
            self._queued.append((name, call, seconds))
            return
        if exclusive:
            self._exclusive = name
        self._allowed[name] = seconds
        self._until[name] = time.monotonic() + seconds
        self._threads.run(lambda: self._run(name, call))

    def _run(self, name: Name, call: Callable[[], Any]) -> None:
        try:
            self._ends.put(TaskResult(name, call()))
        except BaseException as error:  # noqa: BLE001  the caller of `wait` judges it
            self._ends.put(TaskResult(name, None, error))

    def wait(self) -> list[TaskResult[Name]]:
        """Return results, at least one while any is outstanding; a call that is too late results in TimeoutError."""
        found: list[TaskResult[Name]] = []
        while self._until and not found:
            until = min(self._until.values())
            with suppress(Empty):
                found.append(self._ends.get(timeout=max(until - time.monotonic(), 0)))
                until = time.monotonic() + COALESCE_S
                while len(found) < len(self._until):
                    found.append(self._ends.get(timeout=max(until - time.monotonic(), 0)))
            found = [end for end in found if end.name in self._until]  # the others are too late
            names = {end.name for end in found}
            now = time.monotonic()
            found += [
                TaskResult(name, None, TimeoutError(f"did not end within {self._allowed[name]:.0f} s"))
                for name, until in self._until.items()
                if until <= now and name not in names
            ]
        for end in found:
            self._over(end.name)
        return found

    def _over(self, name: Name) -> None:
        del self._until[name], self._allowed[name]
        if name == self._exclusive:
            self._exclusive = None
            if self._queued:
                self.start(*self._queued.popleft(), exclusive=True)
