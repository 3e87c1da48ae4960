"""Runs a pool's resolver steps until nothing is left to do: the only regular writer of a pool's header."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from adbot_queue.adbots import changes
from adbot_queue.adbots.allocation import Header, QueueEntry, plan
from adbot_queue.adbots.model import summary
from adbot_queue.adbots.nudge import Nudge
from adbot_queue.adbots.pool_store import AdbotRefused, PoolView, Stale
from adbot_queue.adbots.store import AdbotStore
from adbot_queue.core import telemetry
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Contended, Transaction
from adbot_queue.core.errors import Unavailable
from adbot_queue.core.telemetry import logger
from adbot_queue.ledger import SYSTEM, Entry, Ledger

RESERVE_MS = 10_000
"""Time left to a function at which it stops stepping and nudges again: two steps and all their retries fit in."""

STRIKES = 3
"""Refusals of one bot after which it is set aside, so that it does not block the pool."""

MOST_CONFLICTS = 50
"""Consecutive refused commits after which a run gives up (about 10 s): its message comes back later."""

TimeLeft = Callable[[], int]
"""Milliseconds until the caller must be done."""


@dataclass(slots=True)
class Outcome:
    """What a run did. `finished` is False when time ran out first."""

    steps: int = 0
    sessions: int = 0
    completed: int = 0
    partial: int = 0
    placed: int = 0
    conflicts: int = 0
    parked: int = 0
    finished: bool = True


class Resolver:
    """Gives places to bots out of the inbox and serves the queue in order, until both are empty or stock is out.

    Any number may run at once: a step commits only on the header it was planned on.
    """

    def __init__(self, store: AdbotStore, ledger: Ledger, nudge: Nudge, now: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._nudge = nudge
        self._now = now

    def run(self, pool: str, time_left: TimeLeft) -> Outcome:
        """Resolve one pool. An unknown pool is nothing to do.

        Nudges for another run when it stops for lack of time.

        Raises:
            Unavailable: `MOST_CONFLICTS` commits in a row were refused by contention or throttling. Other AWS errors
                pass through. Either way the message comes back and the next run starts where this one stopped.
        """
        outcome = Outcome()
        strikes: Counter[str] = Counter()
        lost_races = 0
        while True:
            view = self._store.view(pool)
            if view is None:
                break
            step = plan(view.header, view.inbox, view.queue, view.segments, self._now())
            if step.changes_nothing:
                break
            if time_left() < RESERVE_MS:
                outcome.finished = False
                self._nudge.pool(pool, f"again-{self._now()}")
                break
            try:
                self._store.commit_step(step)
            except (Stale, Contended):
                outcome.conflicts += 1
                lost_races += 1
                if lost_races >= MOST_CONFLICTS:
                    self._measure(pool, outcome)
                    raise Unavailable(f"pool {pool}: {lost_races} commits in a row were refused") from None
                time.sleep(random.uniform(0, min(0.005 * 2**lost_races, 0.25)))  # noqa: S311  full jitter, no secret
                continue
            except AdbotRefused as refused:
                strikes.update(refused.adbot_ids)
                for adbot_id in [name for name, number in strikes.items() if number >= STRIKES]:
                    outcome.parked += self._park(view, adbot_id)
                    del strikes[adbot_id]
                continue
            lost_races = 0
            outcome.steps += 1
            outcome.placed += len(step.placements)
            for assignment in step.assignments:
                outcome.sessions += assignment.count
                outcome.completed += assignment.missing_after == 0
                outcome.partial += assignment.missing_after > 0
        self._measure(pool, outcome)
        return outcome

    def _park(self, view: PoolView, adbot_id: str) -> bool:
        """Set a bot aside that was refused too often; False when the pool changed meanwhile (it will come again)."""
        header = view.header
        adbot = self._store.adbot(adbot_id)
        queued = next((entry for entry in view.queue if entry.adbot_id == adbot_id), None)
        arrived = next((entry for entry in view.inbox if entry.adbot_id == adbot_id), None)
        if queued:
            at_head = queued.seq == header.queue_head and header.head_missing is not None
            lacks = header.head_missing if at_head and header.head_missing is not None else queued.missing
            after = changes.remove_from_queue(header, queued.seq, lacks, self._store.following(header))
            entry = replace(queued, missing=lacks)
        elif arrived:
            after = replace(header, queue_tail=header.queue_tail + 1)
            if not header.queue_length:
                after = replace(after, queue_head=after.queue_tail)
            entry = QueueEntry(header.queue_tail, adbot_id, arrived.required, self._now())
        else:
            return False
        after = replace(after, version=header.version + 1, parked=header.parked + 1)
        try:
            self._store.park(
                header,
                after,
                entry,
                adbot,
                arrived.id if arrived and not queued else None,
                lambda transaction: self._sign_park(transaction, entry, header),
            )
        except (Stale, Contended):
            return False
        logger.error("bot set aside: its record does not agree with the queue", adbot_id=adbot_id, pool=header.pool)
        telemetry.count("AdbotsParked")
        return True

    def _sign_park(self, transaction: Transaction, entry: QueueEntry, header: Header) -> None:
        adbot = self._store.adbot(entry.adbot_id)
        self._ledger.sign(
            transaction,
            Entry(
                SYSTEM,
                "adbot.park",
                f"adbot:{entry.adbot_id}",
                before=summary(adbot) if adbot else {},
                after={"seq": entry.seq, "missing": entry.missing, "pool": header.pool},
                reason=f"refused {STRIKES} times",
            ),
        )

    def _measure(self, pool: str, outcome: Outcome) -> None:
        telemetry.count("ResolverSteps", outcome.steps)
        telemetry.count("SessionsAssigned", outcome.sessions)
        telemetry.count("AdbotsCompleted", outcome.completed)
        telemetry.count("PartialAssignments", outcome.partial)
        telemetry.count("ResolutionConflicts", outcome.conflicts)
        if outcome.steps or outcome.conflicts:
            logger.info("pool resolved", pool=pool, **{name: getattr(outcome, name) for name in Outcome.__slots__})
