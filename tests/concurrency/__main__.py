"""`python -m tests.concurrency [--runs N] [--seed S] [--engine E]`: plays N random runs and says what was wrong.

On roto, and where there is Java also on Amazon's DynamoDB Local.

Exit code 1 when anything was; the failing seed is printed with the command that plays it again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "adbot-queue")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "AdBotQueue")
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")

from adbot_queue.adbots.audit.findings import FindingKind
from tests.concurrency.run import Campaign, Result
from tests.support.dynamodb_local import dynamodb_local, lacking
from tests.support.engines import roto

RUNS = 200
ENGINES = {"roto": roto, "dynamodb-local": dynamodb_local}


def main() -> int:
    """Play, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.concurrency", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"how many (default {RUNS})")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first run; the next ones count on")
    parser.add_argument("--keep-going", action="store_true", help="play all runs, also after one that failed")
    parser.add_argument("--engine", choices=ENGINES, help="one engine alone")
    options = parser.parse_args()
    failed = False
    for engine in [options.engine] if options.engine else ENGINES:
        if engine == "dynamodb-local" and (reason := lacking()):
            print(reason)
            failed = failed or bool(options.engine)
            continue
        results = play(engine, range(options.seed, options.seed + options.runs), keep_going=options.keep_going)
        print(summary(engine, results))
        failed = failed or any(result.problems for result in results)
    return 1 if failed else 0


def play(engine: str, seeds: range, *, keep_going: bool) -> list[Result]:
    """Play the runs of these seeds on an engine; the first wrong one is the last unless `keep_going`."""
    results: list[Result] = []
    with ENGINES[engine]() as endpoint:
        campaign = Campaign(endpoint)
        for seed in seeds:
            result = campaign.run(seed)
            results.append(result)
            _print(engine, len(results), len(seeds), result)
            if result.problems and not keep_going:
                break
    return results


def _print(engine: str, number: int, runs: int, result: Result) -> None:
    trouble = ", ".join(f"{count} {name}" for name, count in sorted(result.faults.items())) or "no faults"
    print(
        f"{engine} [{number}/{runs}] seed {result.seed}, {result.shape}: {result.bots} bots, "
        f"{result.sessions} sessions, "
        f"{trouble}, {result.seconds:.1f} s: {'WRONG' if result.problems else 'ok'}",
        flush=True,
    )
    for problem in result.problems[:20]:
        print(f"    {problem}")
    if result.problems:
        print(f"    again: python -m tests.concurrency --runs 1 --seed {result.seed} --engine {engine}")


def summary(engine: str, results: list[Result]) -> str:
    """The table at the end."""
    wrong: Counter[FindingKind] = sum((result.wrong for result in results), Counter())
    faults: Counter[str] = sum((result.faults for result in results), Counter())
    rows = {
        f"runs on {engine}": len(results),
        "bots": sum(result.bots for result in results),
        "sessions": sum(result.sessions for result in results),
        "workers killed": faults["kills"],
        "conflicts injected": faults["conflicts"],
        "calls throttled": faults["throttles"],
        "requests sent twice": faults["resends"],
        "double assignments": wrong[FindingKind.DOUBLE],
        "FIFO jumps": wrong[FindingKind.JUMP],
        "drift": wrong[FindingKind.DRIFT],
        "lost": wrong[FindingKind.LOST],
        "seconds": round(sum(result.seconds for result in results)),
    }
    width = max(map(len, rows))
    return "\n".join(["", *(f"{name:{width}}  {value:>8,}" for name, value in rows.items())])


if __name__ == "__main__":
    sys.exit(main())
