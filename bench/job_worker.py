"""A process of `bench.jobs`: enqueues jobs, then works them off. Prints what it measured as one line of JSON.

`python -m bench.job_worker <side> <place as JSON>`
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

from bench.job_workload import Calls, Course, Place, Side

SIDES = {
    "ours": "bench.job_contenders:Ours",
    "ours-one-by-one": "bench.job_contenders:OursOneByOne",
    "ours-keyless": "bench.job_contenders:OursKeyless",
    "ours-person": "bench.job_contenders:OursByPerson",
    "ours-batches": "bench.job_contenders:OursInBatches",
    "ours-statements": "bench.job_contenders:Statements",
    "baseline": "bench.job_contenders:Baseline",
    "baseline-status": "bench.job_contenders:BaselineWithStatus",
    "celery": "bench.job_celery:PlainCelery",
    "celery-solo": "bench.job_celery:SoloCelery",
    "celery-results": "bench.job_celery:CeleryWithResults",
}


def main(name: str, place: Place) -> dict[str, object]:
    """Measure one side."""
    module, _, kind = SIDES[name].partition(":")
    side: Side = getattr(import_module(module), kind)()
    calls = Calls()
    side.prepare(place, calls)
    for number in range(place.warm):
        side.enqueue(number)
    started = time.perf_counter()
    for number in range(place.number):
        side.enqueue(number)
    enqueued = time.perf_counter() - started
    course = Course(place.warm, place.number)
    cpu = time.process_time()
    side.work(course)
    meter = getattr(side, "meter", None)
    return {
        "enqueue_s": enqueued,
        "work_s": course.seconds,
        "cpu_s": time.process_time() - cpu,
        "calls": dict(calls.names),
        "units": meter.units if meter else 0,
        "jobs": place.warm + place.number,
    }


if __name__ == "__main__":
    answer = os.fdopen(os.dup(1), "w")
    # What the functions print, metrics above all, goes where it costs the same and disturbs no output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.chdir(Path(__file__).parents[1])
    print(json.dumps(main(sys.argv[1], Place(**json.loads(sys.argv[2])))), file=answer, flush=True)
    os._exit(0)  # threads of a stopped worker may hang in a long poll
