"""Jobs against what is usually written, and against Celery, in one run. `make bench T=jobs`.

All have the same processor, the same DynamoDB (Amazon's DynamoDB Local), the same SQS (that of the embedded AWS), one
worker process, and may do ten jobs at once. The sides take turns, each in a fresh process and after a warm-up, so that
a busy machine slows all; medians are compared. Calls are counted where botocore makes them, write units by AWS's
published rules (`bench.units`) in runs of their own.

Exit code 1 when a target is missed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adbot_queue.testing.in_process_aws import BASE_ENV
from adbot_queue.testing.tables import create_tables
from bench.job_workload import BATCH, Place
from local.embedded import embedded_aws
from local.settings import CREDENTIALS, REGION, Settings, aws, free_port
from tests.support.dynamodb_local import dynamodb_local, lacking

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
WARM = 100
NUMBER = 300
WARM_SERVER = 1_000
MAX_CALLS = 5.0

NAMES = {
    "ours": "this project",
    "ours-keyless": "this project, a type without idempotency",
    "ours-batches": "this project, a hundred a request by a person: rate limit, ledger",
    "baseline": "Powertools batch + idempotency",
    "baseline-status": "the same with a status row",
    "celery": "Celery, no results",
    "celery-results": "Celery, results in DynamoDB",
    "ours-one-by-one": "this project, batches one by one",
    "ours-statements": "a job's two statements on DynamoDB Local, nothing else",
}
RIVALS = ("baseline", "baseline-status", "celery", "celery-results")
UNWRITTEN = "celery"
"""Writes nothing. With a handler that waits its threads are measured, not judged: no worker that writes claim and end
is faster here than DynamoDB Local's two statements a job plus the wait, however it is written."""

ALWAYS = ("ours", "ours-keyless", "ours-batches", *RIVALS)

PROMISES = {
    "ours": "row, state, attempts, result, order, idempotency from enqueue on, retries, leases",
    "ours-keyless": "the same without idempotency",
    "baseline": "idempotency in the worker, result until it expires; a job's state cannot be read",
    "baseline-status": "the same, and a row with its state; no lists, no order, no retries of its own",
    "celery": "its default on SQS: nothing is written down, no idempotency",
    "celery-results": "state and result by id; no lists, no order, no idempotency",
}
"""What a job's caller may count on."""

Measured = dict[str, Any]


class Bench:
    """Endpoints, and what was found on them."""

    def __init__(self, dynamodb: str, sqs: str) -> None:
        self._sqs = aws(sqs, "sqs")
        self._dynamodb, self._endpoint = dynamodb, sqs
        self._env = {
            **os.environ,
            **BASE_ENV,
            **CREDENTIALS,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_DYNAMODB": dynamodb,
            "AWS_ENDPOINT_URL_SQS": sqs,
            "POWERTOOLS_LOG_LEVEL": "ERROR",
            "BOTO_DISABLE_CRT": "true",  # awscrt is there for tools; the layer has none
            "ADBOTS_TABLE": "",
            "PAYMENTS_TABLE": "",
        }
        self._count = 0
        self._uncounted = aws(dynamodb, "dynamodb")
        self.missed: list[str] = []

    def play(self, side: str, *, warm: int = WARM, number: int = NUMBER, **options: bool) -> Measured:
        """One process of a side, with a queue and tables of its own."""
        self._count += 1
        prefix = f"r{self._count}-"
        url = self._sqs.create_queue(QueueName=f"{prefix}{side}", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
        tables = create_tables(self._uncounted, "JobsTable", "SystemTable", "LedgerTable", prefix=prefix)
        for name in ("Idempotency", "Status", "Celery"):
            tables[name] = self._table(prefix + name)
        place = Place(self._dynamodb, self._endpoint, url, tables, warm, number, **({"waits": False} | options))
        command = [sys.executable, "-m", "bench.job_worker", side, json.dumps(asdict(place))]
        try:
            done = subprocess.run(command, env=self._env, check=False, capture_output=True, text=True, timeout=300)
        finally:
            self._sqs.delete_queue(QueueUrl=url)
            for table in tables.values():
                self._uncounted.delete_table(TableName=table)
        if done.returncode or not done.stdout:
            raise RuntimeError(f"{side} failed:\n{done.stderr[-3000:]}")
        measured: Measured = json.loads(done.stdout)
        return measured

    def _table(self, name: str) -> str:
        self._uncounted.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )
        return name

    def verdict(self, target: str, *, met: bool) -> str:
        """The last column of a table."""
        if not met:
            self.missed.append(target)
        return f"{target} | {'PASS' if met else 'FAIL'}"

    # Speed

    def speed(self, *, waits: bool) -> None:
        """Jobs a second, all sides in turns."""
        sides = [*ALWAYS, "ours-one-by-one" if waits else "ours-statements"]
        number = WARM if waits else NUMBER
        found: dict[str, list[Measured]] = defaultdict(list)
        for side in () if waits else ("ours", "baseline-status", "celery-results"):
            # Java compiles what has run some thousand times, for every kind of call; on AWS that does not show.
            self.play(side, number=WARM_SERVER)
        for _ in range(ROUNDS):
            for side in sides:
                found[side].append(self.play(side, number=number, waits=waits))
        rates = {side: _rates(rounds, number) for side, rounds in found.items()}
        what = "a provider that takes 20 ms" if waits else "trivial processor"
        print(f"\n| jobs/s, {what} "
              "| of the worker (least to most) | to ours | enqueued, by one client | whole life | to ours "
              "| worker's CPU, ms a job |")  # fmt: skip
        print("|---|---|---|---|---|---|---|")
        ours = rates["ours"]
        for side, rate in rates.items():
            cells = [
                f"{rate['work']:.0f} ({rate['least']:.0f} to {rate['most']:.0f})", f"{rate['work'] / ours['work']:.2f}",
                f"{rate['enqueue']:.0f}",
                f"{rate['life']:.0f}", f"{rate['life'] / ours['life']:.2f}", f"{rate['cpu_ms']:.1f}",
            ]  # fmt: skip
            print(f"| {NAMES[side]} | {' | '.join(cells)} |")
        print("\n| target | |\n|---|---|")
        for side in RIVALS:
            ratio = ours["work"] / rates[side]["work"]
            target = f"one worker, {what}: ahead of {NAMES[side]} ({ratio:.2f}x)"
            compared = not (waits and side == UNWRITTEN)
            print(f"| {self.verdict(target, met=ratio > 1) if compared else f'{target} | not compared'} |")
        if waits:
            ratio = ours["work"] / rates["ours-one-by-one"]["work"]
            met = ratio >= 3
            print(f"| {self.verdict(f'ten at once: several times one by one ({ratio:.1f}x)', met=met)} |")

    # Cost

    def cost(self) -> None:
        """AWS calls and write units of a job, from enqueue to completed."""
        sides = {
            **{side: NAMES[side] for side in ALWAYS},
            "ours-person": "this project, a person over HTTP: rate limit, ledger",
        }
        print("\n| a job, enqueue to completed | AWS calls | the poller's | write units | calls by name | promised |")
        print("|---|---|---|---|---|---|")
        for side, name in sides.items():
            counted = self.play(side, warm=100, number=200)
            metered = self.play(side, warm=100, number=100, metered=True)
            calls = counted["calls"]
            total = sum(calls.values()) / counted["jobs"]
            poller = sum(calls.get(one, 0) for one in ("ReceiveMessage", "DeleteMessageBatch", "DeleteMessage"))
            each = ", ".join(f"{one} {n / counted['jobs']:.2f}" for one, n in sorted(calls.items()))
            units = metered["units"] / metered["jobs"]
            cells = [f"{total:.2f}", f"{poller / counted['jobs']:.2f}", f"{units:.2f}", each]
            print(f"| {name} | {' | '.join(cells)} | {PROMISES.get(side, PROMISES['ours'])} |")
            if side == "ours":
                target = f"at most {MAX_CALLS:g} calls a job ({total:.2f})"
                verdict = self.verdict(target, met=total <= MAX_CALLS)
        print(f"\n| target | |\n|---|---|\n| {verdict} |")


def _rates(rounds: list[Measured], number: int) -> dict[str, float]:
    """Medians: jobs a second, and processor time."""
    return {
        "life": statistics.median(number / (one["enqueue_s"] + one["work_s"]) for one in rounds),
        "work": statistics.median(number / one["work_s"] for one in rounds),
        "least": min(number / one["work_s"] for one in rounds),
        "most": max(number / one["work_s"] for one in rounds),
        "enqueue": statistics.median(number / one["enqueue_s"] for one in rounds),
        "cpu_ms": statistics.median(1000 * one["cpu_s"] / one["jobs"] for one in rounds),
    }


def main() -> int:
    """Run all parts, print their tables."""
    if reason := lacking():
        print(reason)
        return 1
    started = time.perf_counter()
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings(state, free_port(), free_port(), free_port())
        dynamodb = stack.enter_context(dynamodb_local())
        stack.enter_context(embedded_aws(settings))
        bench = Bench(dynamodb, settings.aws_endpoint)
        bench.cost()
        for waits in (False, True):
            bench.speed(waits=waits)
    missed = f"FAIL: {'; '.join(bench.missed)}" if bench.missed else "PASS: every target was met"
    print(f"\n{BATCH} jobs at once, {ROUNDS} rounds. {missed} ({time.perf_counter() - started:.0f} s)")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
