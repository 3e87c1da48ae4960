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
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Any
from unittest.mock import patch

from adbot_queue.console import sessions, snapshot
from adbot_queue.console.sessions import Sessions
from adbot_queue.console.snapshot import FRESH_MS
from adbot_queue.core import aws
from adbot_queue.core.callers import STAFF
from adbot_queue.core.clock import system_clock
from adbot_queue.core.settings import settings
from adbot_queue.testing.in_process_aws import forget_cached
from adbot_queue.testing.tables import create_tables
from bench import queues as rows
from bench.pools import write
from tests.builders.console_world import ConsoleWorld, Shown, console_world, counted_calls
from tests.support.dynamodb_local import client

REPEATS = 25
TICKS, TICK_MS = 24, 5_000
BARE = "/console/schedule-form"
"""A page of the same function that reads nothing but session and snapshot: a form in the frame."""

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
        write(made, tables["SystemTable"], rows.counted(jobs, system_clock()))
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

    def count(self, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """Add what an answer of DynamoDB tells, by AWS's rule: what is not found is paid as well."""
        batches = parsed.get("Responses", {})
        self.capacity.items += len(parsed.get("Items", ())) + ("Item" in parsed)
        self.capacity.items += sum(len(found) for found in batches.values())
        found = parsed.get("ConsumedCapacity") or []
        units = sum(one["CapacityUnits"] for one in (found if isinstance(found, list) else [found]))
        asked = context["asked"]
        if model.name == "BatchGetItem":
            for table, wanted in asked["RequestItems"].items():
                units += _least(wanted) * (len(wanted["Keys"]) - len(batches.get(table, ())))
            self.capacity.reads += units
        elif model.name in ("GetItem", "Query"):
            self.capacity.reads += max(units, _least(asked))
        else:
            self.capacity.writes += units


def _least(asked: dict[str, Any]) -> float:
    """Read units of what is not there."""
    return 1.0 if asked.get("ConsistentRead") else 0.5


def _ask_capacity(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["asked"] = json.loads(params["body"])
    params["body"] = json.dumps({**context["asked"], "ReturnConsumedCapacity": "TOTAL"}).encode()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a page took; `cpu_ms` is the function's processor time, a median."""

    calls: int
    items: int
    bytes: int
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Tick:
    """What a refresh of the overview took that renews the figures, on average: every sixth reads the last hour."""

    calls: int
    reads: float
    writes: float
    bytes: int
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Load:
    """Every page, one that reads nothing, and a refresh."""

    pages: dict[str, Cost]
    bare: Cost
    tick: Tick


def load(side: Side) -> Load:
    """Ask for every page several times."""
    app = side.console.world.app("console").console
    static = [
        route.key.partition(" ")[2]
        for route in app.routes
        if re.fullmatch(r"GET [a-z/-]+", route.key) and route.roles and route.roles & STAFF
    ]
    return Load({path: _cost(side, path) for path in [*static, *VIEWS]}, _cost(side, BARE), _tick(side))


def _cost(side: Side, path: str) -> Cost:
    side.console.get(path)  # imports, and a fresh snapshot
    times = []
    for _ in range(REPEATS):
        before = side.capacity.items
        began = time.process_time()
        with counted_calls() as calls:
            shown = _shown(side, path)
        times.append((time.process_time() - began) * 1000)
    return Cost(len(calls), side.capacity.items - before, len(shown.bytes), statistics.median(times))


def _tick(side: Side) -> Tick:
    """Refresh every five seconds of a clock that does not wait for them."""
    asked, times, shown = 0, [], Counter[str]()
    later = patch.object(snapshot.from_env(), "now", lambda: system_clock() + asked * TICK_MS)
    with later, patch.object(snapshot, "FRESH_MS", FRESH_MS):
        side.console.get("/console")
        before = replace(side.capacity)
        for asked in range(1, TICKS + 1):  # noqa: B007  the clock reads it
            began = time.process_time()
            with counted_calls() as calls:
                found = _shown(side, "/console", hx_request="true", x_tick="1")
            times.append((time.process_time() - began) * 1000)
            shown += Counter(calls=len(calls), bytes=len(found.bytes))
    now = side.capacity
    return Tick(
        shown["calls"] // TICKS,
        (now.reads - before.reads) / TICKS,
        (now.writes - before.writes) / TICKS,
        shown["bytes"] // TICKS,
        statistics.median(times),
    )


def _shown(side: Side, path: str, **headers: str) -> Shown:
    shown = side.console.get(path, **headers)
    if shown.status != HTTPStatus.OK:
        raise RuntimeError(f"{path} answered {shown.status}: {shown.words[:300]}")
    return shown


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
    gb_out: float = 0.09
    memory_gb: float = 0.5
    min_seconds: float = 0.06
    """The budget of a fragment: this machine is faster than a function of 512 MB."""

    def month(self, tick: Tick) -> dict[str, float]:
        """Return the price of a month of ticks by service."""
        seconds = max(self.min_seconds, tick.cpu_ms / 1000)
        each = {
            "API Gateway": self.http_api,
            "Lambda": self.request + seconds * self.memory_gb * self.gb_second,
            f"DynamoDB ({tick.reads:.1f} read and {tick.writes:.1f} write units a tick)": (
                tick.reads * self.read_unit + tick.writes * self.write_unit
            ),
            f"bytes out ({tick.bytes:,} a tick)": tick.bytes / 1e9 * self.gb_out,
        }
        return {name: dollars * self.ticks for name, dollars in each.items()}
