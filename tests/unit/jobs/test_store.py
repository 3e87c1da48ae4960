"""Jobs on their way into the table."""

from __future__ import annotations

import json
from typing import Any

from adbot_queue.core import aws
from adbot_queue.jobs.enqueue.payloads import MAX_PAYLOAD
from adbot_queue.jobs.enqueue.request import MAX_BATCH
from adbot_queue.jobs.model import JobState
from tests.builders.jobs import Jobs, states
from tests.builders.world import ADMIN


def test_a_batch_of_the_largest_jobs_goes_in_transactions_that_dynamodb_takes(jobs: Jobs) -> None:
    largest = {"name": "x" * (MAX_PAYLOAD - 40)}
    news = [jobs.new("note", largest, tags=tuple(f"{n:02d}" + "😀" * 62 for n in range(20)), batch="b")] * MAX_BATCH
    sizes: list[int] = []

    def measure(params: dict[str, Any], **_: Any) -> None:
        sizes.append(len(json.dumps(params["TransactItems"], ensure_ascii=False).encode()))

    events = aws.dynamodb().meta.events
    events.register("provide-client-params.dynamodb.TransactWriteItems", measure, unique_id="measured")
    try:
        jobs.service.enqueue_many(news, ADMIN)
    finally:
        events.unregister("provide-client-params.dynamodb.TransactWriteItems", unique_id="measured")

    assert states(jobs.all()) == {JobState.WAITING: MAX_BATCH}
    assert sum(sizes) > MAX_BATCH * MAX_PAYLOAD * 0.9
    assert max(sizes) < 4_000_000
