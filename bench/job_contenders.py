"""The sides of `bench.jobs` that are Lambda functions behind SQS: this project's, and what is usually written.

Both have their batches from the same stand-in for Lambda's poller (`bench.job_poller`).
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from adbot_queue import ledger
from adbot_queue.core import aws
from adbot_queue.core.clock import system_clock
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.jobs import job_types, service
from adbot_queue.jobs.job_types import JobType
from adbot_queue.jobs.model import Job, JobMode
from adbot_queue.jobs.service import JobRequest
from adbot_queue.jobs.store.jobs import JobStore
from adbot_queue.jobs.worker import worker as execute
from adbot_queue.ledger import Actor
from bench.job_poller import Batch, drive
from bench.job_workload import BATCH, Calls, Course, Numbered, Place, process
from bench.units import Meter
from local.openapi import load_app
from local.settings import aws as stack_client

HANDLER = Path(__file__).parents[1] / "functions" / "work" / "app.py"
QUEUE = "analytics"


class Context:
    """Lambda's context."""

    function_name = "bench"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:eu-west-1:000000000000:function:bench"
    aws_request_id = "bench"

    def get_remaining_time_in_millis(self) -> int:
        """Enough."""
        return 600_000


class _Function:
    """A function behind a queue."""

    def prepare(self, place: Place, calls: Calls) -> None:
        """Make clients and handler, and count their calls."""
        self.place, self.calls = place, calls
        self.dynamodb, self.sqs = self.clients()
        self.meter = Meter(self.dynamodb, stack_client(place.dynamodb, "dynamodb")) if place.metered else None
        for one in (self.dynamodb, self.sqs):
            calls.watch(one)
        self.handler = self.start()

    def clients(self) -> tuple[Any, Any]:
        """Of DynamoDB and SQS."""
        raise NotImplementedError

    def start(self) -> Callable[[dict[str, Any], Any], Any]:
        """What happens once a process; the function's handler."""
        raise NotImplementedError

    def work(self, course: Course) -> None:
        """Handle what the poller gives."""
        context = Context()

        def handle(messages: Batch) -> Batch:
            records = [
                {"messageId": m["MessageId"], "body": m["Body"], "eventSource": "aws:sqs", "attributes": {}}
                for m in messages
            ]
            answer = self.handler({"Records": records}, context)
            failed = {entry["itemIdentifier"] for entry in answer["batchItemFailures"]}
            return [m for m in messages if m["MessageId"] not in failed]

        drive(self.place.queue, course, self.calls, handle)


class Ours(_Function):
    """This project: the service's enqueue, the worker function's handler."""

    parallel = BATCH
    keyed = True
    person: Actor | None = None

    def clients(self) -> tuple[Any, Any]:
        """Those of the functions."""
        return aws.dynamodb(), aws.sqs()

    def start(self) -> Callable[[dict[str, Any], Any], Any]:
        """Declare the job type; the handler as the template deploys it."""
        tables = self.place.tables
        job_types.LOADED["bench"] = JobType(QUEUE, Numbered, process, name="bench")
        os.environ.update(
            JOBS_TABLE=tables["JobsTable"],
            SYSTEM_TABLE=tables["SystemTable"],
            LEDGER_TABLE=tables["LedgerTable"],
            QUEUE_URL=self.place.queue,
            JOB_QUEUE=QUEUE,
            JOB_BATCH=str(BATCH),
            JOBS_PER_SECOND="1000000",
            JOBS_BURST="1000000",
        )
        self.jobs = service.from_env()
        patch.object(execute, "PARALLEL", self.parallel).start()
        handler: Callable[[dict[str, Any], Any], Any] = load_app(HANDLER).handler
        return handler

    def new(self, number: int) -> JobRequest:
        """A job with a payload and a key of its own."""
        number = time.time_ns() * 1000 + number % 1000
        key = str(number) if self.keyed else None
        return JobRequest("bench", {"number": number, "waits": self.place.waits}, key=key)

    def enqueue(self, number: int) -> None:
        """Row, memory of the idempotency key, message."""
        taken = self.jobs.acquire(self.person.id) if self.person else None
        self.jobs.enqueue(self.new(number), self.person or ledger.SYSTEM, None, taken)


class OursOneByOne(Ours):
    """This project, were the jobs of a batch to run one after the other."""

    parallel = 1


class OursKeyless(Ours):
    """This project, without idempotency keys: nothing but the row is written."""

    keyed = False


class OursByPerson(Ours):
    """This project, as a person enqueues over HTTP: rate limited, signed for in the ledger."""

    person = Actor("ada", "admin", "req-1")


class OursInBatches(Ours):
    """This project, enqueued a hundred at a time by a person."""

    by = Actor("ada", "admin", "req-1")
    most = 100

    def prepare(self, place: Place, calls: Calls) -> None:
        """As the others; jobs are kept until there are enough of them."""
        super().prepare(place, calls)
        self.kept: list[JobRequest] = []

    def enqueue(self, number: int) -> None:
        """Enqueue with the hundredth."""
        self.kept.append(self.new(number))
        if len(self.kept) == self.most:
            self.jobs.enqueue_many(self.kept, self.by, None, self.jobs.acquire(self.by.id, self.most))
            self.kept = []


class Statements(Ours):
    """What DynamoDB Local takes for the claim and the end of each job, ten a call; nothing is received or run.

    No worker that writes these down can be faster than this here: DynamoDB Local carries out the statements of a call
    one after the other (DynamoDB does so at once).
    """

    def prepare(self, place: Place, calls: Calls) -> None:
        """As the others; which jobs there are is kept."""
        super().prepare(place, calls)
        self.ids: list[str] = []

    def enqueue(self, number: int) -> None:
        """As the others."""
        self.ids.append(self.jobs.enqueue(self.new(number), ledger.SYSTEM, None).job.id)

    def work(self, course: Course) -> None:
        """Claim ten, end ten."""
        store = JobStore(self.dynamodb, self.place.tables["JobsTable"])
        for start in range(0, len(self.ids), BATCH):
            now = system_clock()
            claimed = store.claim_many(
                self.ids[start : start + BATCH],
                QUEUE,
                "bench",
                time_ordered_id(now),
                now,
                now + 60_000,
                JobMode.ASYNC_QUEUE,
            )
            jobs = [one for one in claimed if isinstance(one, Job)]
            written = store.release_many([(job, job.completed({"number": 1}, now)) for job in jobs])
            course.done(sum(isinstance(one, Job) for one in written))


class Baseline(_Function):
    """Powertools' batch processor and idempotency around the processor, as its documentation shows."""

    def clients(self) -> tuple[Any, Any]:
        """As boto3 makes them."""
        return boto3.client("dynamodb"), boto3.client("sqs")

    def start(self) -> Callable[[dict[str, Any], Any], Any]:
        """The handler, with its module-level set-up."""
        persistence = DynamoDBPersistenceLayer(self.place.tables["Idempotency"], boto3_client=self.dynamodb)
        config = IdempotencyConfig(event_key_jmespath="id", expires_after_seconds=86_400)
        processor = BatchProcessor(event_type=EventType.SQS)

        @idempotent_function(data_keyword_argument="job", persistence_store=persistence, config=config)
        def run(*, job: dict[str, Any]) -> dict[str, Any]:
            return self.run(job)

        def each(record: Any) -> Any:
            return run(job=json.loads(record["body"]))

        def handler(event: dict[str, Any], context: Any) -> Any:
            config.register_lambda_context(context)
            return process_partial_response(event=event, record_handler=each, processor=processor, context=context)

        return handler

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """The processor, given its payload."""
        return process(Numbered.model_validate(job["payload"]))

    def enqueue(self, number: int) -> None:
        """The message."""
        self.send({"id": uuid.uuid4().hex, "payload": {"number": number, "waits": self.place.waits}})

    def send(self, job: dict[str, Any]) -> None:
        """One message, which is the job."""
        self.sqs.send_message(QueueUrl=self.place.queue, MessageBody=json.dumps(job, separators=(",", ":")))


class BaselineWithStatus(Baseline):
    """The same with a row that tells a user how the job is: written at enqueue, at start and at the end.

    Not comparable in what the row can do: no list by queue or state, no lease, no retries of its own.
    """

    def enqueue(self, number: int) -> None:
        """The row, then the message."""
        job = {"id": uuid.uuid4().hex, "payload": {"number": number, "waits": self.place.waits}}
        self.dynamodb.put_item(
            TableName=self.place.tables["Status"],
            Item={
                "id": {"S": job["id"]},  # type: ignore[dict-item]
                "state": {"S": "waiting"},
                "created_at": {"N": str(time.time_ns() // 1_000_000)},
                "payload": {"S": json.dumps(job["payload"])},
            },
        )
        self.send(job)

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Started, processed, completed."""
        self._update(job["id"], "started_at", "active")
        result = super().run(job)
        self._update(job["id"], "finished_at", "completed", json.dumps(result))
        return result

    def _update(self, job_id: str, moment: str, state: str, result: str | None = None) -> None:
        self.dynamodb.update_item(
            TableName=self.place.tables["Status"],
            Key={"id": {"S": job_id}},
            UpdateExpression=f"SET #state = :state, {moment} = :now" + (", #result = :result" if result else ""),
            ExpressionAttributeNames={"#state": "state"} | ({"#result": "result"} if result else {}),
            ExpressionAttributeValues={
                ":state": {"S": state},
                ":now": {"N": str(time.time_ns() // 1_000_000)},
            }
            | ({":result": {"S": result}} if result else {}),  # type: ignore[dict-item]
        )
