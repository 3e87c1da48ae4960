"""Leads: prepare, export and take against the usual way, on Amazon's DynamoDB Local, in one run. `make bench T=leads`.

The usual way writes row by row: for each lead the lead, its entry, its trail and the day's figure, four calls. Both
ways begin with the same leads and leave the same rows, in turns; medians are compared. Each figure says what it is of:

- calls and write units: the code's, counted by AWS's published rules (`bench.units`), on any engine.
- own CPU: of this process, without the engine's: what a Lambda is billed for in addition to waiting.
- seconds, 5 ms a call: one thread on DynamoDB Local, each call of both ways `CALL_S` later, as within a region.
- seconds, loopback: the same without the wait. What is left is the time of DynamoDB Local, which takes as long for each
  item of a transaction as for a write of its own, on the cores that this process runs on.

Exit code 1 when a target is missed.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "adbot-queue")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "AdBotQueue")
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "ERROR")

from adbot_queue.core import dynamodb
from adbot_queue.core.errors import Invalid
from adbot_queue.leads import items
from adbot_queue.leads.export import Exporter
from adbot_queue.leads.handling import Handling
from adbot_queue.leads.items import ENTRIES, LEADS
from adbot_queue.leads.model import Entry, EntryKey, EntryState, Lead
from adbot_queue.leads.prepare import PAGE_SIZE, render
from adbot_queue.testing.tables import create_tables
from bench.units import Meter
from tests.builders.leads import TOMORROW, Team
from tests.support.dynamodb_local import client, dynamodb_local, lacking

ROUNDS = 3
CALL_S = 0.005
"""A round trip within a region: DynamoDB promises single-digit milliseconds."""
DAYS = (100, 2_000)
EXPORTS = (1_000, 5_000)
FASTER = 8.0


@dataclass(frozen=True)
class Measured:
    """One way of one act: calls, write units, median seconds: 5 ms a call, over loopback, own CPU."""

    calls: int
    units: int
    seconds: float
    over_loopback: float
    cpu: float


class Bench:
    """A DynamoDB, and what was found on it."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._made = 0
        self.missed: list[str] = []

    def team(self, on: Any) -> Team:
        """Return a user with empty tables of his own."""
        self._made += 1
        names = create_tables(on, "LeadsTable", "LedgerTable", prefix=f"b{self._made}-")
        made = Team(client=on, table=names["LeadsTable"], ledger_table=names["LedgerTable"])
        made.user(capacity=2_000)
        return made

    def drop(self, team: Team) -> None:
        """Delete the tables."""
        for table in (team.table, team.ledger_table):
            team.client.delete_table(TableName=table)

    def metered(self, ready: Callable[[Team], Any], act: Callable[[Team, Any], object]) -> tuple[int, int]:
        """Return calls and write units of an act."""
        on = client(self._endpoint)
        team = self.team(on)
        about = ready(team)
        meter = Meter(on, client(self._endpoint))
        act(team, about)
        found = meter.calls.total(), meter.units
        self.drop(team)
        return found

    def timed(
        self, ready: Callable[[Team], Any], act: Callable[[Team, Any], object], call_s: float
    ) -> tuple[float, float]:
        """Return the seconds of an act whose calls take so much longer, and those of this process's CPU."""
        team = self.team(client(self._endpoint))
        about = ready(team)
        if call_s:
            team.client.meta.events.register("before-call.dynamodb", lambda **_: time.sleep(call_s))
        began, cpu = time.perf_counter(), time.process_time()
        act(team, about)
        took = time.perf_counter() - began, time.process_time() - cpu
        self.drop(team)
        return took

    def compare(
        self, ready: Callable[[Team], Any], *acts: Callable[[Team, Any], object], rounds: int = ROUNDS
    ) -> list[Measured]:
        """Measure acts in turns, each on leads of its own."""
        counted = [self.metered(ready, act) for act in acts]
        times: dict[tuple[int, float], list[tuple[float, float]]] = {
            (place, call_s): [] for place in range(len(acts)) for call_s in (0.0, CALL_S)
        }
        for _ in range(rounds):
            for (place, call_s), seconds in times.items():
                seconds.append(self.timed(ready, acts[place], call_s))
        median = {which: tuple(map(statistics.median, zip(*seconds, strict=True))) for which, seconds in times.items()}
        return [Measured(*pair, median[place, CALL_S][0], *median[place, 0.0]) for place, pair in enumerate(counted)]

    def line(self, what: str, numbers: Iterable[str], target: str, *, met: bool) -> None:
        """Print a line of the table."""
        if not met:
            self.missed.append(f"{what}: {target}")
        print(f"| {what} | {' | '.join(numbers)} | {target} | {'PASS' if met else 'FAIL'} |", flush=True)

    def prepare(self) -> None:
        """Prepare 100 leads and the largest day."""
        for number in DAYS:
            ready = partial(_filled, number)
            ours, theirs = self.compare(ready, _prepare, _row_by_row, rounds=ROUNDS if number == DAYS[0] else 1)
            most = 15 if number == DAYS[0] else 130
            what = f"prepare {number:,}"
            self.line(f"{what}: calls", (f"{ours.calls}", f"{theirs.calls}"), f"<= {most}", met=ours.calls <= most)
            for name, mine, theirs_s, least in (
                ("own CPU seconds", ours.cpu, theirs.cpu, FASTER),
                ("seconds, 5 ms a call", ours.seconds, theirs.seconds, FASTER),
                ("seconds, loopback", ours.over_loopback, theirs.over_loopback, 1.0),
            ):
                ratio, shown = theirs_s / mine, (f"{mine:.3f}", f"{theirs_s:.3f}")
                self.line(f"{what}: {name}", shown, f">= {least:.0f} x: {ratio:.1f} x", met=ratio >= least)
            each = (f"{ours.units / number:.1f}", f"{theirs.units / number:.1f}")
            self.line(f"{what}: write units a lead", each, "<= 10", met=ours.units / number <= 10)

    def take(self) -> None:
        """Take a lead whose message is queued."""
        (found,) = self.compare(_prepared, lambda team, lead: Handling(team.leads).take(lead.id, team.by()))
        self.line("take: calls", (f"{found.calls}", ""), "<= 3", met=found.calls <= 3)
        self.line("take: seconds", (f"{found.seconds:.3f}", ""), "< 1", met=found.seconds < 1)
        self.line("take: write units", (f"{found.units}", ""), "<= 16", met=found.units <= 16)

    def export(self) -> None:
        """Export 1,000 and 5,000 leads, and refuse more."""
        team = self.team(client(self._endpoint))
        peaks = []
        for number in EXPORTS:
            team.fill(range(_leads_of(team), number))
            exporter = Exporter(team.store)
            seconds = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                file = exporter.leads("by_owner", "sam", _all)
                seconds.append(time.perf_counter() - began)
            tracemalloc.start()
            exporter.leads("by_owner", "sam", _all)
            peaks.append(tracemalloc.get_traced_memory()[1] - 2 * len(file))
            tracemalloc.stop()
            took = statistics.median(seconds)
            limit = 2.0 if number == EXPORTS[0] else 10.0
            self.line(f"export {number:,}: seconds", (f"{took:.2f}", ""), f"<= {limit:.0f}", met=took <= limit)
        growth = peaks[1] / peaks[0]
        shown = (f"{peaks[0] / 1e6:.1f}, {peaks[1] / 1e6:.1f} MB", "")
        self.line("export: memory without the file, 1,000 and 5,000", shown, f"flat: {growth:.2f}", met=growth <= 1.5)
        team.fill([EXPORTS[-1]])
        try:
            Exporter(team.store).leads("by_owner", "sam", _all)
            refused = ""
        except Invalid as error:
            refused = error.detail
        self.line("export 5,001", (refused[:17], ""), "narrow the filter", met=refused.startswith("narrow the filter"))


def _all(_: Lead) -> bool:
    return True


def _leads_of(team: Team) -> int:
    return len([row for row in team.rows("LEAD#") if row["sk"] == "L"])


def _filled(number: int, team: Team) -> int:
    team.fill(range(number))
    return number


def _prepared(team: Team) -> Lead:
    (lead,) = team.fill([1])
    team.prepare()
    return lead


def _prepare(team: Team, number: int) -> None:
    if team.prepare().prepared != number:
        raise RuntimeError("not all leads were prepared")


def _row_by_row(team: Team, number: int) -> None:
    """Prepare as it is usually written: read a page, and write each lead's rows one after the other."""
    settings = team.store.user("sam")
    if settings is None:
        raise RuntimeError("the user is missing")
    step, after, place = settings.steps["first"], "", 0
    day = items.day_key("sam", TOMORROW)
    while True:
        page, following = team.store.candidates("sam", after, PAGE_SIZE)
        for lead in page:
            now = team.clock()
            key = EntryKey("sam", TOMORROW, place, lead.id)
            entry = Entry(key, EntryState.QUEUED, step.content_sid, render(step, {"name": lead.name}) or {}, now)
            expression, values = LEADS.difference(lead, lead.changed(now, open_entry=key, last_entry=key))
            write = partial(dynamodb.update_if, team.client, team.table, answer=False)
            write(items.lead_key(lead.id), expression, condition="#version = :version", version=lead.version, **values)
            dynamodb.put_if(team.client, team.table, ENTRIES.item(entry), condition="attribute_not_exists(pk)")
            trail = items.trail_key(lead.id, now, 0) | {"what": "prepared", "actor": "sam"}
            dynamodb.put_if(team.client, team.table, trail, condition="attribute_not_exists(pk)")
            counts, room = (
                "ADD n_prepared :one, n_queued :one",
                "attribute_not_exists(n_prepared) OR n_prepared < :room",
            )
            write(day, counts, condition=room, one=1, room=2_000)
            place += 1
        if following is None:
            break
        after = following
    if place != number:
        raise RuntimeError("not all leads were prepared")


def main() -> int:
    """Measure, print, judge."""
    if reason := lacking():
        print(reason)
        return 1
    began = time.perf_counter()
    print("| | this design | row by row | target | |\n|---|---|---|---|---|")
    with dynamodb_local() as endpoint:
        bench = Bench(endpoint)
        bench.prepare()
        bench.take()
        bench.export()
    verdict = f"FAIL: {'; '.join(bench.missed)}" if bench.missed else "PASS: every target was met"
    print(f"\n{verdict} ({time.perf_counter() - began:.0f} s)")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
