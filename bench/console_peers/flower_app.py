"""The Celery application that Flower watches; `python -m flower_app QUEUES COUNTS` enqueues its jobs.

Runs in the environment of `bench.console_peers`, where Celery is.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from celery import Celery

app: Any = Celery("adbots", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])
app.conf.update(task_send_sent_event=True, worker_send_task_events=True, broker_connection_retry_on_startup=True)


@app.task(name="send-email")  # type: ignore[untyped-decorator]
def send_email(to: str, number: int) -> dict[str, str]:
    """Complete."""
    return {"message_id": f"{to}-{number}"}


@app.task(name="send-email-refused")  # type: ignore[untyped-decorator]
def refused(to: str, number: int) -> None:
    """Fail."""
    raise ValueError(f"the provider refused message {number} to {to}")


def main() -> None:
    """Enqueue jobs that complete, fail and wait, on each queue."""
    queues, (completed, failed, waiting) = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    for queue in queues:
        for task, count, place in (
            (send_email, completed, queue),
            (refused, failed, queue),
            (send_email, waiting, f"{queue}-later"),
        ):
            for number in range(count):
                task.apply_async(("ana@example.com", number), queue=place)


if __name__ == "__main__":
    main()
