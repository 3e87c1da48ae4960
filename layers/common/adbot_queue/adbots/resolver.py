"""Runs a pool's resolver steps until none is left: the only regular writer of a pool's header."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from adbot_queue.adbots.allocation import AllocationStep, plan
from adbot_queue.adbots.allocation_trigger import AllocationTrigger
from adbot_queue.adbots.parking import STRIKES, Parking
from adbot_queue.adbots.pool_state import PoolState
from adbot_queue.adbots.quarantine import Quarantine
from adbot_queue.adbots.storage.pool_store import AdbotRefused, PoolView, StalePool
from adbot_queue.adbots.storage.rows import UnreadableRow
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core import telemetry
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import TransactionConflict
from adbot_queue.core.errors import TargetGone, Unavailable
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import Ledger

RESERVE_MS = 10_000
"""Milliseconds left at which a run stops and triggers another: enough for two steps with all their retries."""

MAX_TORN = 5
"""Plans in a row that named something twice, after which the later of the two entries is set aside."""

MAX_CONFLICTS = 50
"""Consecutive refused commits after which a run stops (about 10 s): its message is delivered again later."""

TimeLeft = Callable[[], int]
"""Milliseconds until the caller must be done."""


@dataclass(slots=True)
class ResolverRun:
    """What a run did. `finished` is False when time ran out first."""

    steps: int = 0
    sessions: int = 0
    completed: int = 0
    partial: int = 0
    placed: int = 0
    conflicts: int = 0
    parked: int = 0
    finished: bool = True


@dataclass(slots=True)
class _Run:
    """A run in progress: what it did, and consecutive failures."""

    pool: str
    outcome: ResolverRun = field(default_factory=ResolverRun)
    strikes: Counter[str] = field(default_factory=Counter)
    conflicts_in_a_row: int = 0
    torn: int = 0
    header: PoolState | None = None  # as the last step left it

    def took(self, step: AllocationStep) -> None:
        """Record a committed step."""
        self.conflicts_in_a_row = self.torn = 0
        self.header = step.after
        self.outcome.steps += 1
        self.outcome.placed += len(step.placements)
        for assignment in step.assignments:
            self.outcome.sessions += assignment.count
            self.outcome.completed += assignment.missing_after == 0
            self.outcome.partial += assignment.missing_after > 0

    def conflicted(self) -> None:
        """Pause before the pool is read again.

        Raises:
            Unavailable: too many conflicts in a row.
        """
        self.outcome.conflicts += 1
        self.conflicts_in_a_row += 1
        if self.conflicts_in_a_row >= MAX_CONFLICTS:
            raise Unavailable(f"pool {self.pool}: {self.conflicts_in_a_row} commits in a row were refused")
        time.sleep(random.uniform(0, min(0.005 * 2**self.conflicts_in_a_row, 0.25)))  # noqa: S311  full jitter, no secret


class Resolver:
    """Places bots from the inbox and serves the queue in order, until both are empty or stock is out.

    Any number may run at once: a step commits only on the header that it was planned on.
    """

    def __init__(self, store: AdbotStore, ledger: Ledger, trigger: AllocationTrigger, now: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._trigger = trigger
        self._now = now
        self._aside = Quarantine(store, ledger)
        self._parking = Parking(store, ledger, now)

    def run(self, pool: str, time_left: TimeLeft) -> ResolverRun:
        """Resolve one pool.

        Triggers another run when its time is over.

        Raises:
            TargetGone: the pool does not exist.
            Unavailable: `MAX_CONFLICTS` commits in a row were refused by contention or throttling. Other AWS errors
                pass. Either way the message is delivered again and the next run continues.
        """
        run = _Run(pool)
        try:
            while self._step(run, time_left):
                pass
        finally:
            self._measure(pool, run.outcome)
        return run.outcome

    def _step(self, run: _Run, time_left: TimeLeft) -> bool:
        """Take one step, or find out why not; False when nothing is left to do, or no time."""
        try:
            decided = self._decide(run, time_left)
            if decided is None:
                return False
            view, step = decided
            try:
                self._store.commit_step(step)
            except AdbotRefused as refused:
                self._strike(run, view, refused.adbot_ids)
            else:
                run.took(step)
        except (StalePool, TransactionConflict):
            run.conflicted()
        return True

    def _strike(self, run: _Run, view: PoolView, adbot_ids: set[str]) -> None:
        run.strikes.update(adbot_ids)
        for adbot_id in [name for name, number in run.strikes.items() if number >= STRIKES]:
            run.outcome.parked += self._parking.park(view, adbot_id)
            del run.strikes[adbot_id]

    def _view(self, pool: str, known: PoolState | None) -> PoolView | None:
        """Read what a step needs, until nothing in it is unreadable. `known` as in `PoolStore.view`.

        Raises:
            UnreadableRow: the header itself is.
            StalePool, TransactionConflict: the pool changed meanwhile; try again.
        """
        view = self._store.view(pool, known)
        while view and view.needs_clearing and self._aside.clear(view):
            view = self._store.view(pool, None)
        return view

    def _decide(self, run: _Run, time_left: TimeLeft) -> tuple[PoolView, AllocationStep] | None:
        """Return the next step and what it was decided on; None when there is none.

        Raises:
            StalePool, TransactionConflict: the pool changed while it was read; read it again.
        """
        pool = run.pool
        known, run.header = run.header, None
        try:
            view = self._view(pool, known)
        except UnreadableRow as unreadable:
            # The pool waits for a version that can read its header; its messages need no retry.
            logger.error("pool not resolved: its header cannot be read", pool=pool, reason=unreadable.reason)
            telemetry.count("RowsUnreadable")
            return None
        if view is None:
            raise TargetGone(f"there is no pool {pool}")
        step = plan(view.header, view.inbox, view.queue, view.segments, self._now())
        if step.changes_nothing:
            return None if known is None else self._decide(run, time_left)  # stock may have come meanwhile
        if time_left() < RESERVE_MS:
            run.outcome.finished = False
            self._trigger.send(pool, f"again-{self._now()}")
            return None
        if (twice := step.named_twice()) or step.gives_twice:
            run.torn += 1
            if run.torn > MAX_TORN and not self._aside.repeated(view, twice):
                logger.error("pool not resolved: its stock holds a session twice", pool=pool)
                telemetry.count("RowsUnreadable")
                return None
            raise StalePool
        return view, step

    def set_aside(self, pool: str) -> None:
        """Set aside what this version cannot read at the front of a pool's queue, so that a command can proceed."""
        with suppress(StalePool, TransactionConflict):
            self._aside.first_entries(pool)

    def _measure(self, pool: str, outcome: ResolverRun) -> None:
        telemetry.count("ResolverSteps", outcome.steps)
        telemetry.count("SessionsAssigned", outcome.sessions)
        telemetry.count("AdbotsCompleted", outcome.completed)
        telemetry.count("PartialAssignments", outcome.partial)
        telemetry.count("ResolutionConflicts", outcome.conflicts)
        if outcome.steps or outcome.conflicts:
            logger.info("pool resolved", pool=pool, **{name: getattr(outcome, name) for name in ResolverRun.__slots__})
