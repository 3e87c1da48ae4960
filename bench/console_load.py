"""Pages of the console over tables of a size: AWS calls, items, bytes and time of each, and the price of a tick."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

from adbot_queue.console import sessions, snapshot
from adbot_queue.console.sessions import Sessions
from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.callers import STAFF
from adbot_queue.core.settings import settings
from adbot_queue.testing.in_process_aws import forget_cached
from adbot_queue.testing.tables import create_tables
from bench import queues as rows
from bench.pools import write
from tests.builders.console_world import ConsoleWorld, console_world, counted_calls
from tests.support.dynamodb_local import client

REPEATS = 25
QUEUE = "email"
VIEWS = (
    f"/console/queues/{QUEUE}",
    f"/console/queues/{QUEUE}?state=completed",
    f"/console/queues/{QUEUE}?state=dead",
    "/console/dead-letters?view=letters",
    "/console/bots?view=all",
)
"""Beside every page for staff that needs no name."""

VARIABLES = {
    "ADBOTS_TABLE": "AdBotsTable",
    "PAYMENTS_TABLE": "PaymentsTable",
    "LEDGER_TABLE": "LedgerTable",
    "SYSTEM_TABLE": "SystemTable",
    "JOBS_TABLE": "JobsTable",
    "ANALYTICS_TABLE": "AnalyticsTable",
    "LEADS_TABLE": "LeadsTable",
}


@dataclass
class Capacity:
    """What DynamoDB counted, as it bills."""

    reads: float = 0
    writes: float = 0
    items: int = 0


@dataclass
class Side:
    """The console over tables that hold this many jobs."""

    jobs: int
    console: ConsoleWorld
    capacity: Capacity = field(default_factory=Capacity)

    @classmethod
    @contextmanager
    def of(cls, endpoint: str, jobs: int) -> Iterator[Side]:
        """Fill tables, and point the console at them."""
        began = time.perf_counter()
        made = client(endpoint)
        tables = create_tables(made, prefix=f"n{jobs}-")
        part = -(-jobs // (rows.PROCESSES * 8))
        starts = range(0, jobs, part)
        with ProcessPoolExecutor(rows.PROCESSES) as pool:
            work = partial(rows.fill, endpoint, tables["JobsTable"])
            written = sum(pool.map(work, starts, [min(part, jobs - start) for start in starts]))
        write(made, tables["SystemTable"], rows.counted(jobs))
        print(f"({written:,} rows were written in {time.perf_counter() - began:.0f} s.)", flush=True)
        names = {name: tables[table] for name, table in VARIABLES.items()}
        with (
            console_world() as console,
            patch.object(aws, "dynamodb", lambda: made),
            patch.dict("os.environ", names),
        ):
            forget_cached()
            kept = Sessions(made, settings().system_table, console.groups.get)
            side = cls(jobs, console)
            made.meta.events.register("before-call.dynamodb", _ask_capacity)
            made.meta.events.register("after-call.dynamodb", side.count)
            with patch.object(sessions, "from_env", lambda: kept):
                console.person("owner")
                yield side

    def count(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        """Add what an answer of DynamoDB tells."""
        self.capacity.items += len(parsed.get("Items", ())) + ("Item" in parsed)
        self.capacity.items += sum(len(found) for found in parsed.get("Responses", {}).values())
        found = parsed.get("ConsumedCapacity") or []
        units = sum(one["CapacityUnits"] for one in (found if isinstance(found, list) else [found]))
        if model.name.startswith(("Get", "Query", "BatchGet", "Scan")):
            self.capacity.reads += units
        else:
            self.capacity.writes += units

    def forget_snapshot(self) -> None:
        """The next page gathers the figures anew."""
        aws.dynamodb().delete_item(TableName=settings().system_table, Key=encode(snapshot.KEY))


def _ask_capacity(params: dict[str, Any], **_: Any) -> None:
    params["body"] = json.dumps({**json.loads(params["body"]), "ReturnConsumedCapacity": "TOTAL"}).encode()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a page or a tick took."""

    calls: int
    items: int
    bytes: int
    median_ms: float
    reads: float = 0
    writes: float = 0
    operations: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Load:
    """Every page, and a tick of the overview that renews the figures."""

    pages: dict[str, Cost]
    tick: Cost


def load(side: Side) -> Load:
    """Ask for every page several times."""
    app = side.console.world.app("console").console
    static = [
        route.key.partition(" ")[2]
        for route in app.routes
        if re.fullmatch(r"GET [a-z/-]+", route.key) and route.roles and route.roles & STAFF
    ]
    return Load({path: _cost(side, path) for path in [*static, *VIEWS]}, _cost(side, "/console", tick=True))


def _cost(side: Side, path: str, *, tick: bool = False) -> Cost:
    headers = {"hx_request": "true", "x_tick": "1"} if tick else {}
    side.console.get(path)  # imports, and a fresh snapshot
    times = []
    for _ in range(REPEATS):
        if tick:
            side.forget_snapshot()
        before = Capacity(side.capacity.reads, side.capacity.writes, side.capacity.items)
        with counted_calls() as calls:
            began = time.perf_counter()
            shown = side.console.get(path, **headers)
            times.append(time.perf_counter() - began)
        if shown.status != 200:
            raise RuntimeError(f"{path} answered {shown.status}: {shown.words[:300]}")
    now = side.capacity
    return Cost(
        len(calls),
        now.items - before.items,
        len(shown.bytes),
        statistics.median(times) * 1000,
        now.reads - before.reads,
        now.writes - before.writes,
        Counter(calls),
    )


@dataclass(frozen=True, slots=True)
class Prices:
    """On-demand list prices of us-east-1, in dollars; November 2026, without any free tier."""

    ticks: int = 30 * 86_400 // 5
    limit: float = 4.0
    http_api: float = 1.00e-6
    request: float = 0.20e-6
    gb_second: float = 1.33334e-5  # arm64
    read_unit: float = 0.125e-6
    write_unit: float = 0.625e-6
    sqs: float = 0.40e-6
    gb_out: float = 0.09
    memory_gb: float = 0.5
    min_seconds: float = 0.06
    """The budget of a fragment: this machine is faster than a function of 512 MB."""

    def month(self, tick: Cost) -> dict[str, float]:
        """Return the price of a month of ticks by service."""
        queues = sum(count for name, count in tick.operations.items() if "Queue" in name or "Message" in name)
        seconds = max(self.min_seconds, tick.median_ms / 1000)
        each = {
            "API Gateway": self.http_api,
            "Lambda": self.request + seconds * self.memory_gb * self.gb_second,
            f"DynamoDB ({tick.reads:.1f} read and {tick.writes:.0f} write units a tick)": (
                tick.reads * self.read_unit + tick.writes * self.write_unit
            ),
            "SQS": queues * self.sqs,
            f"bytes out ({tick.bytes:,} a tick)": tick.bytes / 1e9 * self.gb_out,
        }
        return {name: dollars * self.ticks for name, dollars in each.items()}
