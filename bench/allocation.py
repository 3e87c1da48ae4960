"""The allocation against the baseline way, on Amazon's DynamoDB Local, in one run. `make bench T=allocation`.

Times are wall-clock times of one worker, both ways in turns, so that a busy machine slows both; medians are compared.
Write units are counted by AWS's published rules from the requests (`bench.units`), in runs of their own.

Exit code 1 when a target is missed.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import patch

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "adbot-queue")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "AdBotQueue")
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "ERROR")

from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import CreationSource, ExecutionMode, Order, OrderStatus
from adbot_queue.adbots.service import AdbotService
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core import telemetry
from adbot_queue.ledger import Actor, Ledger
from adbot_queue.stock.service import Stock
from adbot_queue.stock.upload import parse_objects
from adbot_queue.testing.tables import create_tables
from bench.baseline import Baseline
from bench.pools import queued_pool
from bench.units import Meter
from tests.support.dynamodb_local import client, dynamodb_local, lacking

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ROUNDS = 3
SMALL, LARGE = (1_000, 10_000), (100_000, 1_000_000)  # bots, sessions
NO_SLOWER = 1.15
"""Ratio of medians that still counts as no slower: what two runs of the same pool differ by on a machine in use."""

ADMIN, STRIPE = Actor("ada", "admin"), Actor("stripe", "provider")


@dataclass(frozen=True)
class Case:
    """Bots of a range of sizes; how many each way serves in one round, and what is asked of this design."""

    least: int
    most: int
    bots: int
    usual_bots: int
    faster: float
    units: float

    @property
    def name(self) -> str:
        """As it is printed."""
        return f"bots of {self.least} to {self.most}"

    def sizes(self, number: int, seed: object) -> list[int]:
        """Return the sizes of that many bots."""
        chance = random.Random(f"{self.name} {seed}")  # noqa: S311  the same in every run
        return [chance.randint(self.least, self.most) for _ in range(number)]


CASES = [Case(1, 20, 500, 60, 10, 1.0), Case(100, 500, 500, 3, 100, 0.05)]


class NoTrigger:
    """No message: the benchmark calls the resolver itself."""

    def send(self, _pool: str, _cause: str) -> bool:
        """Taken."""
        return True


class Bench:
    """One DynamoDB, and what was found on it."""

    def __init__(self, endpoint: str) -> None:
        self.client = client(endpoint)
        self.uncounted = client(endpoint)
        self.tables = create_tables(self.client, "AdBotsTable", "LedgerTable")
        self.baseline = Baseline(self.client)
        self.service = self._service(self.client)
        self.metered = client(endpoint)
        self.meter = Meter(self.metered, self.uncounted)
        self.missed: list[str] = []

    def _service(self, on: DynamoDBClient) -> AdbotService:
        store = AdbotStore(on, self.tables["AdBotsTable"])
        return AdbotService(store, Ledger(on, self.tables["LedgerTable"]), NoTrigger())  # type: ignore[arg-type]

    def fill(self, pool: str, sizes: Sequence[int], sessions: int | None = None) -> None:
        """A pool in which these bots wait."""
        queued_pool(self.client, self.tables["AdBotsTable"], pool, sizes, sessions or sum(sizes))

    def verdict(self, target: str, *, met: bool) -> str:
        """The last column of a table."""
        if not met:
            self.missed.append(target)
        return f"{target} | {'PASS' if met else 'FAIL'}"

    # Against the baseline way

    def compare(self) -> None:
        """Sessions a second and write units a session, both ways."""
        print("\n| from the queue to served | this design | the baseline way | ratio | target | |")
        print("|---|---|---|---|---|---|")
        for case in CASES:
            ours, theirs = [], []
            for number in range(ROUNDS + 1):
                sizes, few = case.sizes(case.bots, number), case.sizes(case.usual_bots, number)
                pool = f"c{case.most}-{number}"
                self.fill(pool, sizes)
                self.baseline.fill(pool, few)
                ours.append(_rate(partial(self._serve, pool)))
                theirs.append(_rate(partial(self.baseline.allocate, pool, few)))
            us, them = statistics.median(ours[1:]), statistics.median(theirs[1:])  # the first round warms up
            ratio = us / them
            verdict = self.verdict(f">= {case.faster:.0f}x", met=ratio >= case.faster)
            print(f"| sessions/s, {case.name} | {us:,.0f} | {them:,.0f} | {ratio:,.1f}x | {verdict} |")
            us, them = self._units(case), self._baseline_units(case)
            verdict = self.verdict(f"<= {case.units:g}", met=us <= case.units)
            print(f"| write units a session, {case.name} | {us:.3f} | {them:.2f} | {them / us:,.0f}x | {verdict} |")

    def _serve(self, pool: str) -> int:
        return self.service.resolver.run(pool, _forever).sessions

    def _units(self, case: Case) -> float:
        sizes = case.sizes(200, "units")
        pool = f"u{case.most}"
        self.fill(pool, sizes)
        sessions = self._service(self.metered).resolver.run(pool, _forever).sessions
        return self.meter.taken() / sessions

    def _baseline_units(self, case: Case) -> float:
        sizes = case.sizes(case.usual_bots // 3 + 1, "units")
        pool = f"u{case.most}"
        self.baseline.fill(pool, sizes)
        with patch.object(self.baseline, "client", self.metered):
            sessions = self.baseline.allocate(pool, sizes)
        return self.meter.taken() / sessions

    # A bot's whole life

    def life(self) -> None:
        """Units of everything that is written for bots that have to wait: bought, given a place, served."""
        print("\n| write units of a bot that waits | a bot | a session |")
        print("|---|---|---|")
        for case in CASES:
            service, pool, sizes = self._service(self.metered), f"life{case.most}", case.sizes(48, "life")
            service.pools.create(pool, Command(ADMIN))
            self.meter.taken()
            for number, required in enumerate(sizes):
                service.purchases.create_paid(_order(pool, number, required), ExecutionMode.ASYNC_QUEUE, STRIPE)
            bought = self.meter.taken()
            service.resolver.run(pool, _forever)
            placed = self.meter.taken()
            for start in range(0, sum(sizes), 10_000):
                names = [f"{pool}-{n}" for n in range(start, min(start + 10_000, sum(sizes)))]
                Stock(self.service).upload(
                    pool, parse_objects([{"session_id": name} for name in names]), Command(ADMIN)
                )
            service.resolver.run(pool, _forever)
            served = self.meter.taken()
            for what, units in {"bought": bought, "given a place": placed, "served": served}.items():
                print(f"| {what}, {case.name} | {units / len(sizes):.2f} | {units / sum(sizes):.3f} |")
            units = bought + placed + served
            print(f"| its whole life, {case.name} | {units / len(sizes):.2f} | {units / sum(sizes):.3f} |")

    # Size

    def scale(self) -> None:
        """The same steps on a small pool and on one a hundred times its size."""
        chance = random.Random("scale")  # noqa: S311  the same in every run
        started = time.perf_counter()
        self.fill("large", [chance.randint(1, 19) for _ in range(LARGE[0])], LARGE[1])
        took = time.perf_counter() - started
        print(f"\n(A pool of {LARGE[0]:,} bots and {LARGE[1]:,} sessions was filled in {took:.0f} s.)")
        steps: dict[str, list[float]] = {"small": [], "large": []}
        given = {"small": 0, "large": 0}
        for number in range(ROUNDS):
            small = f"small{number}"
            self.fill(small, [chance.randint(1, 19) for _ in range(SMALL[0])], SMALL[1])
            for _ in range(
                18
            ):  # a small pool has about twenty steps in all; in turns, so that both see the same machine
                for name, pool in (("large", "large"), ("small", small)):
                    took, sessions = self._step(pool)
                    steps[name].append(took)
                    given[name] += sessions
        print("\n| one worker | step, median ms | sessions/s |")
        print("|---|---|---|")
        for name, (bots, sessions) in {"small": SMALL, "large": LARGE}.items():
            median = statistics.median(steps[name])
            rate = given[name] / len(steps[name]) / median
            print(f"| {bots:,} bots wait, {sessions:,} sessions | {median * 1000:.1f} | {rate:,.0f} |")
        ratio = statistics.median(steps["large"]) / statistics.median(steps["small"])
        print(
            f"| large by small | {ratio:.2f} | {self.verdict(f'no slower: <= {NO_SLOWER}', met=ratio <= NO_SLOWER)} |"
        )

    def _step(self, pool: str) -> tuple[float, int]:
        """How long one step took, and the sessions it gave.

        The resolver asks for the time once a step, before it commits: from one asking to the next is a whole step.
        """
        moments: list[float] = []

        def time_left() -> int:
            moments.append(time.perf_counter())
            return 60_000 if len(moments) == 1 else 0

        outcome = self.service.resolver.run(pool, time_left)
        return moments[1] - moments[0], outcome.sessions

    # Buyers

    def purchases(self) -> None:
        """Purchases a second; and that no two of them ever touch the same item, so that they cannot conflict."""
        print("\n| purchases | a second |")
        print("|---|---|")
        self.service.pools.create("shop", Command(ADMIN))
        for buyers in (1, 8):
            number = 40 * buyers if buyers > 1 else 100
            orders = [_order("shop", n, 5, f"{buyers}-") for n in range(number)]
            with ThreadPoolExecutor(buyers) as pool:
                started = time.perf_counter()
                list(
                    pool.map(
                        lambda order: self.service.purchases.create_paid(order, ExecutionMode.ASYNC_QUEUE, STRIPE),
                        orders,
                    )
                )
                print(f"| {buyers} at once | {number / (time.perf_counter() - started):,.0f} |")
        self.meter.keys.clear()
        service = self._service(self.metered)
        for n in range(40):
            service.purchases.create_paid(_order("shop", n, 5, "keys-"), ExecutionMode.ASYNC_QUEUE, STRIPE)
        self.meter.taken()
        written = [key for keys in self.meter.keys for key in keys]
        shared = len(written) - len(set(written))
        print(f"| items that two of 40 purchases share | {shared} |")
        print(f"| conflicts between buyers | {self.verdict('0', met=not shared)} |")


def _order(pool: str, number: int, required: int, prefix: str = "") -> Order:
    return Order(
        id=f"ord_{prefix}{pool}_{number:026d}",
        status=OrderStatus.PAID,
        source=CreationSource.PAYMENT,
        created_at=1_763_769_600_000,
        user_id="00000000-0000-0000-0000-000000000000",
        adbot_id=f"bot_{prefix}{pool}_{number:026d}",
        amount=4_900,
        currency="eur",
        plan_id="plan-5",
        pool=pool,
        required_sessions=required,
        provider_ids={"checkout_session": "cs_" + "x" * 60, "payment_intent": "pi_" + "x" * 24},
    )


def _rate(work: Callable[[], int]) -> float:
    """Sessions a second."""
    started = time.perf_counter()
    sessions = work()
    return sessions / (time.perf_counter() - started)


def _forever() -> int:
    return 10**9


def main() -> int:
    """Run all parts, print their tables."""
    if reason := lacking():
        print(reason)
        return 1
    started = time.perf_counter()
    with dynamodb_local() as endpoint, patch.object(telemetry.metrics, "add_metric"):
        bench = Bench(endpoint)
        bench.compare()
        bench.life()
        bench.purchases()
        bench.scale()
    missed = f"FAIL: {'; '.join(bench.missed)}" if bench.missed else "PASS: every target was met"
    print(f"\n{missed} ({time.perf_counter() - started:.0f} s)")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
