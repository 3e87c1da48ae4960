"""`generate-report`: renders a report into a file."""

from __future__ import annotations

from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.processors.maintenance import GenerateReport, generate_report

JOB = JobType(
    queue="maintenance",
    payload=GenerateReport,
    handler=generate_report,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    policy=exponential(5, 10),
    parallel=False,
    cancellable=True,
    long_running=True,
    example={"report": "orders", "from": "2026-11-01", "to": "2026-11-02"},
)
