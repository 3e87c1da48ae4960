"""One run: a scenario is played, brought to rest and audited."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

from adbot_queue.adbots.audit.findings import FindingKind
from adbot_queue.adbots.audit.reconcile import Reconciler
from adbot_queue.adbots.audit.rules import audit
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.service import AdbotService
from adbot_queue.core import telemetry
from adbot_queue.core.clock import system_clock
from adbot_queue.core.conflicts import CHANGED, retry_on_conflict
from adbot_queue.jobs.long_running import Progress, Slice
from adbot_queue.ledger import Actor
from adbot_queue.stock.jobs.finish_upload import Finish
from adbot_queue.stock.publication import STAGED
from adbot_queue.stock.uploads import Uploads
from adbot_queue.testing.tables import create_tables
from tests.concurrency import workers
from tests.concurrency.faults import Faults
from tests.concurrency.promises import broken
from tests.concurrency.scenario import PEOPLE, RESOLVERS, Scenario, scenario
from tests.concurrency.workers import Shared, SomeTriggers, Worker
from tests.support.engines import client

Part = TypeVar("Part")

RUN_SECONDS = 120
"""A run that takes longer hangs."""


@dataclass
class Result:
    """What a run was and what was wrong with it."""

    seed: int
    shape: str
    bots: int = 0
    sessions: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    wrong: Counter[FindingKind] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Campaign:
    """Runs scenarios on one DynamoDB. Clients are made once: they are dear, and know nothing of a run."""

    def __init__(self, endpoint: str) -> None:
        self._clean = client(endpoint)
        number = RESOLVERS + sum(PEOPLE.values()) + 1
        self._clients = [client(endpoint) for _ in range(number)]
        self._faults = [Faults(one) for one in self._clients]

    def run(self, seed: int) -> Result:
        """Play the scenario of a seed and tell what was wrong."""
        plan = scenario(seed)
        started = time.monotonic()
        tables = create_tables(self._clean, "AdBotsTable", "LedgerTable", prefix=f"run{seed}-")
        shared = Shared(plan, tables, SomeTriggers(Random(seed)))
        service = shared.service(self._clean, system_clock)
        service.pools.create(plan.pool, Command(Actor("ada", "admin")))
        before = [Counter(fault.counts) for fault in self._faults]
        with patch.object(telemetry.metrics, "add_metric"):  # it would print every hundredth value
            self._play(shared)
        result = Result(seed, plan.shape)
        for fault, count in zip(self._faults, before, strict=True):
            result.faults += fault.counts - count
        for failure in shared.failures:
            result.wrong[FindingKind.LOST] += 1
            result.problems.append(failure)
        self._judge(shared, service, result)
        for table in tables.values():
            self._clean.delete_table(TableName=table)
        result.seconds = time.monotonic() - started
        return result

    def _play(self, shared: Shared) -> None:
        plan = shared.plan
        clients = iter(self._clients)
        people = [
            Worker(shared, next(clients), f"{role} {n} of run {plan.seed}", work)
            for role, share in _shares(plan).items()
            for n, work in enumerate(share)
        ]
        resolvers = [Worker(shared, next(clients), f"resolver {n}", workers.resolve) for n in range(RESOLVERS)]
        watcher = Worker(shared, next(clients), "reconciler", workers.reconcile)
        for number, fault in enumerate(self._faults[:-1]):
            fault.arm(plan.rates, f"{plan.seed} {number}")
        for worker in (*people, *resolvers, watcher):
            worker.start()
        deadline = time.monotonic() + RUN_SECONDS
        for worker in people:
            worker.join(max(0.0, deadline - time.monotonic()))
        shared.over.set()
        for worker in (*people, *resolvers, watcher):
            worker.join(max(5.0, deadline - time.monotonic()))
            if worker.is_alive():
                shared.failures.append(f"{worker.name} hangs")
        for fault in self._faults:
            fault.disarm()

    def _judge(self, shared: Shared, service: AdbotService, result: Result) -> None:
        """Bring the pool to rest, audit it, and compare it with what was acknowledged."""
        try:
            self._rest(shared, service)
        except Exception:  # noqa: BLE001  a pool that cannot be brought to rest is a finding like others
            result.wrong[FindingKind.LOST] += 1
            result.problems.append(traceback.format_exc())
        snapshot = Reconciler(service.store, service.ledger).read(shared.plan.pool)
        result.bots, result.sessions = len(snapshot.adbots), sum(snapshot.accepted.values())
        for finding in audit(snapshot):
            result.wrong[finding.code.kind] += 1
            result.problems.append(f"{finding.code}: {finding.subject}: {finding.detail}")
        for problem in broken(shared.promises, snapshot, service):
            result.wrong[FindingKind.LOST] += 1
            result.problems.append(problem)

    def _rest(self, shared: Shared, service: AdbotService) -> None:
        """Finish what the dead left behind, and resolve until nothing is left to do."""
        stored = Uploads(service.store, _no_job)
        for staged in stored.page(STAGED, 100, None)[0]:
            _finish(staged.upload.id, stored, service)
        while service.resolver.run(shared.plan.pool, lambda: 60_000).steps:
            pass


def _no_job(_: str) -> None:
    raise AssertionError("the run finishes uploads itself")


def _finish(upload_id: str, stored: Uploads, service: AdbotService) -> None:
    """Do what the job `finish-upload` does, slice by slice."""
    work, progress = Finish(upload_id, stored, service, system_clock), Progress()

    def attempt() -> Slice:
        transaction, decided = service.store.transaction(), work.next_slice(progress)
        if decided.effects:
            decided.effects(transaction)
            transaction.commit()
        return decided

    while not progress.is_finished:
        progress = progress.after(retry_on_conflict(attempt, CHANGED))


def _shares(plan: Scenario) -> dict[str, list[Any]]:
    """What each worker of each trade has to do."""
    return {
        "buyer": [workers.buyer(part) for part in _dealt(plan.purchases, PEOPLE["buyer"])],
        "uploader": [workers.uploader(part) for part in _dealt(plan.uploads, PEOPLE["uploader"])],
        "canceller": [workers.canceller(plan.cancels // 2) for _ in range(PEOPLE["canceller"])],
        "loser": [workers.loser(plan.losses // 2) for _ in range(PEOPLE["loser"])],
        "reassigner": [workers.reassigner(plan.reassigns // 2) for _ in range(PEOPLE["reassigner"])],
        "switcher": [workers.switcher(plan.switches) for _ in range(PEOPLE["switcher"])],
    }


def _dealt(cards: Sequence[Part], hands: int) -> list[list[Part]]:
    return [list(cards[n::hands]) for n in range(hands)]
