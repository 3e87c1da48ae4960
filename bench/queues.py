"""`GET /queues` at a thousand jobs and at a million, on Amazon's DynamoDB Local, in one run. `make bench T=queues`.

Two sets of tables in one server, both as the platform would have left them: rows with their index entries, and the
counters that its stream would have led to. The function's own entry is called, for each set in turns, so that a busy
machine slows both; medians are compared, calls and items are counted.

Exit code 1 when a target is missed.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "adbot-queue")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "AdBotQueue")
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "ERROR")

from adbot_queue.core.clock import iso
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.jobs.store.items import item_of
from adbot_queue.queues import service as queues
from adbot_queue.queues.counters import SHARDS, Counters
from adbot_queue.queues.service import Queues
from adbot_queue.queues.statistics import BOUNDS_MS, LEVEL
from adbot_queue.testing.tables import create_tables
from bench.pools import write
from local.openapi import load_app
from tests.support.dynamodb_local import client, dynamodb_local, lacking

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SMALL, LARGE = 1_000, 1_000_000
ROUNDS = 150
PROCESSES = 3
NO_SLOWER = 1.15
"""Ratio of medians that still counts as equal: what two runs of the same table differ by on a machine in use."""

NOW = 1_763_769_600_000
STATES = {
    JobState.WAITING: 30,
    JobState.DELAYED: 10,
    JobState.ACTIVE: 1,
    JobState.COMPLETED: 50,
    JobState.FAILED: 4,
    JobState.DEAD: 3,
    JobState.CANCELLED: 2,
}
"""Jobs in each state, of a hundred."""

ROUTES = {
    "GET /queues": {},
    "GET /queues/{name}/stats": {"pathParameters": {"name": "money"}, "queryStringParameters": {"minutes": "60"}},
}


@dataclass
class Asked:
    """What a request asked of DynamoDB."""

    calls: Counter[str] = field(default_factory=Counter)
    items: int = 0


@dataclass
class Side:
    """One set of tables, and what was measured on it."""

    jobs: int
    queues: Queues
    seconds: dict[str, list[float]] = field(default_factory=lambda: {route: [] for route in ROUTES})
    asked: dict[str, Asked] = field(default_factory=dict)


def rows(start: int, number: int) -> Iterator[dict[str, Any]]:
    """Jobs of all queues in all states, as their rows."""
    chance = random.Random(start)  # noqa: S311  the same in every run
    names, states = list(job_queues.QUEUES), list(STATES)
    for n in range(start, start + number):
        made = NOW - chance.randrange(86_400_000)
        queue = names[n % len(names)]
        job = Job(f"{made:012x}{n:014x}", "payment-process", queue, {"amount": n, "currency": "eur"}, made)
        match chance.choices(states, weights=list(STATES.values()))[0]:
            case JobState.WAITING:
                job = job.waiting(made)
            case JobState.DELAYED:
                job = job.delayed(NOW + 60_000, made)
            case JobState.ACTIVE:
                job = job.changed(state=JobState.ACTIVE, lease="lease", lease_until=NOW, due_at=NOW, started_at=NOW)
            case ended:
                job = job.changed(
                    state=ended, finished_at=made + 1_000, fingerprint="f" if ended is JobState.DEAD else None
                )
        yield item_of(job)


def fill(endpoint: str, table: str, start: int, number: int) -> int:
    """Write that many rows; for a process of its own."""
    write(client(endpoint), table, rows(start, number), writers=2)
    return number


def counted(jobs: int, now: int = NOW) -> Iterator[dict[str, Any]]:
    """Return the counters of that many jobs: totals of every shard, and every minute of each queue's last two hours."""
    names = list(job_queues.QUEUES)
    for queue in names:
        share = jobs // len(names) // SHARDS
        for shard in range(SHARDS):
            levels = {LEVEL + state: share * percent // 100 for state, percent in STATES.items()}
            events = {"enqueued": share, "completed": share // 2, "failed": share // 25, "dead": share // 33}
            yield {"pk": f"COUNTERS#{shard}", "sk": queue, **levels, **events, **_histograms(share)}
        for ago in range(120):
            numbers = {"enqueued": 100, "completed": 95, "failed": 2, "dead": 1, **_histograms(100)}
            yield {"pk": f"MINUTES#{queue}", "sk": f"{iso(now - ago * 60_000)[:16]}#0", **numbers}


def _histograms(number: int) -> dict[str, int]:
    return {
        name: value
        for what in ("wait", "run")
        for name, value in {
            f"{what}_ms": number * 300,
            **{f"{what}_{bucket}": number // len(BOUNDS_MS) + 1 for bucket in range(len(BOUNDS_MS) + 1)},
        }.items()
    }


class Bench:
    """One DynamoDB with both sets of tables."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.client: DynamoDBClient = client(endpoint)
        self._app = load_app(Path("functions/queues/app.py"))
        self._asked = Asked()
        self.client.meta.events.register("after-call.dynamodb", self._count)

    def _count(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        self._asked.calls[model.name] += 1
        self._asked.items += len(parsed.get("Items", ()))
        self._asked.items += sum(len(found) for found in parsed.get("Responses", {}).values())

    def side(self, jobs: int) -> Side:
        """Return tables with that many jobs."""
        began = time.perf_counter()
        tables = create_tables(self.client, "JobsTable", "SystemTable", prefix=f"n{jobs}-")
        part = -(-jobs // (PROCESSES * 8))
        starts = range(0, jobs, part)
        with ProcessPoolExecutor(PROCESSES) as pool:
            work = partial(fill, self._endpoint, tables["JobsTable"])
            written = sum(pool.map(work, starts, [min(part, jobs - start) for start in starts]))
        write(self.client, tables["SystemTable"], counted(jobs))
        print(f"({written:,} rows were written in {time.perf_counter() - began:.0f} s.)", flush=True)
        counters = Counters(self.client, tables["SystemTable"], lambda: NOW)
        return Side(jobs, Queues(self.client, tables["JobsTable"], counters))

    def ask(self, side: Side, route: str) -> None:
        """One request, timed, its calls counted."""
        self._asked = Asked()
        with patch.object(queues, "from_env", lambda: side.queues):
            began = time.perf_counter()
            answer = self._app.handler(_event(route), _Context())
            side.seconds[route].append(time.perf_counter() - began)
        if answer["statusCode"] != 200:
            raise RuntimeError(answer["body"])
        side.asked[route] = self._asked
        if route == "GET /queues":
            counted_jobs = sum(sum(queue["states"].values()) for queue in json.loads(answer["body"])["items"])
            if not 0.8 * side.jobs <= counted_jobs <= side.jobs:
                raise RuntimeError(f"{counted_jobs} jobs counted of {side.jobs}")


class _Context:
    aws_request_id = "bench"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Enough."""
        return 60_000


def _event(route: str) -> dict[str, Any]:
    claims = {"sub": "ada", "cognito:groups": "[viewer]", "token_use": "access"}
    authorizer = {"authorizer": {"jwt": {"claims": claims}}}
    return {"routeKey": route, "headers": {}, "requestContext": {"requestId": "bench", **authorizer}, **ROUTES[route]}


def report(small: Side, large: Side) -> list[str]:
    """Print the table; the targets that were missed."""
    missed: list[str] = []
    print(f"\n| | {small.jobs:,} jobs | {large.jobs:,} jobs | large by small | target | |\n|---|---|---|---|---|---|")
    for route in ROUTES:
        medians = [statistics.median(side.seconds[route]) * 1000 for side in (small, large)]
        ratio = medians[1] / medians[0]
        for what, numbers, shown, target, met in (
            (
                "median ms",
                [f"{median:.1f}" for median in medians],
                f"{ratio:.2f}",
                f"<= {NO_SLOWER}",
                ratio <= NO_SLOWER,
            ),
            _same("calls", [sum(side.asked[route].calls.values()) for side in (small, large)]),
            _same("items read", [side.asked[route].items for side in (small, large)]),
        ):
            if not met:
                missed.append(f"{route}: {what}")
            print(f"| {route}: {what} | {' | '.join(numbers)} | {shown} | {target} | {'PASS' if met else 'FAIL'} |")
    return missed


def _same(what: str, numbers: Iterable[int]) -> tuple[str, list[str], str, str, bool]:
    first, second = numbers
    return what, [f"{first}", f"{second}"], "", "equal", first == second


def main() -> int:
    """Fill, ask in turns, compare."""
    if reason := lacking():
        print(reason)
        return 1
    began = time.perf_counter()
    with dynamodb_local() as endpoint:
        bench = Bench(endpoint)
        small, large = bench.side(SMALL), bench.side(LARGE)
        for number in range(ROUNDS + 20):
            for route in ROUTES:
                for side in (small, large) if number % 2 else (large, small):
                    bench.ask(side, route)
        for side in (small, large):
            for route in ROUTES:
                del side.seconds[route][:20]  # the first rounds warm up
    missed = report(small, large)
    verdict = f"FAIL: {'; '.join(missed)}" if missed else "PASS: every target was met"
    print(f"\n{verdict} ({time.perf_counter() - began:.0f} s)")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
