"""`python -m tests.concurrency [--runs N] [--seed S]`: plays N random runs and tells what was wrong with them.

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

RUNS = 200


def main() -> int:
    """Play, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.concurrency", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"how many (default {RUNS})")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first run; the next ones count on")
    parser.add_argument("--keep-going", action="store_true", help="play all runs, also after one that failed")
    options = parser.parse_args()
    if reason := lacking():
        print(reason)
        return 1
    results: list[Result] = []
    with dynamodb_local() as endpoint:
        campaign = Campaign(endpoint)
        for seed in range(options.seed, options.seed + options.runs):
            result = campaign.run(seed)
            results.append(result)
            _tell(len(results), options.runs, result)
            if result.problems and not options.keep_going:
                break
    print(summary(results))
    return 1 if any(result.problems for result in results) else 0


def _tell(number: int, runs: int, result: Result) -> None:
    trouble = ", ".join(f"{count} {name}" for name, count in sorted(result.faults.items())) or "no faults"
    print(
        f"[{number}/{runs}] seed {result.seed}, {result.shape}: {result.bots} bots, {result.sessions} sessions, "
        f"{trouble}, {result.seconds:.1f} s: {'WRONG' if result.problems else 'ok'}",
        flush=True,
    )
    for problem in result.problems[:20]:
        print(f"    {problem}")
    if result.problems:
        print(f"    again: python -m tests.concurrency --runs 1 --seed {result.seed}")


def summary(results: list[Result]) -> str:
    """The table at the end."""
    wrong: Counter[FindingKind] = sum((result.wrong for result in results), Counter())
    faults: Counter[str] = sum((result.faults for result in results), Counter())
    rows = {
        "runs": len(results),
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
