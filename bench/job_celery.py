"""The side of `bench.jobs` that is Celery on SQS, set up so that a worker's death loses no job (`acks_late`)."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery.backends.dynamodb import DynamoDBBackend
from celery.worker import state
from kombu.asynchronous.aws.sqs.connection import AsyncSQSConnection
from kombu.transport.SQS import Channel

from bench.job_workload import BATCH, Calls, Course, Numbered, Place, process
from bench.units import Meter
from local.settings import aws


class PlainCelery:
    """Without a result backend: a job's state cannot be read."""

    pool = "threads"
    results = False

    def prepare(self, place: Place, calls: Calls) -> None:
        """Make the app, and count its calls."""
        self.place, self.course = place, Course(0, 0)
        self._count(calls)
        sqs = urlsplit(place.sqs)
        self.app = Celery("bench", broker=f"sqs://test:test@{sqs.hostname}:{sqs.port}//")
        self.app.conf.update(
            broker_transport_options={
                "region": "us-east-1",
                "is_secure": False,
                "predefined_queues": {
                    "bench": {"url": place.queue, "access_key_id": "test", "secret_access_key": "test"}
                },
                "wait_time_seconds": 1,
                "polling_interval": 0,
            },
            task_default_queue="bench",
            task_acks_late=True,
            task_ignore_result=not self.results,
            task_track_started=self.results,
            worker_enable_remote_control=False,
            worker_send_task_events=False,
            broker_connection_retry_on_startup=True,
        )
        if self.results:
            self.app.conf.result_backend = "dynamodb://test:test@us-east-1/" + place.tables["Celery"]
            self.app.conf.dynamodb_endpoint_url = place.dynamodb
        if self.results and place.metered:
            self.meter: Meter | None = Meter(self.app.backend.client, aws(place.dynamodb, "dynamodb"))
        else:
            self.meter = None

        @self.app.task(name="bench")  # type: ignore[untyped-decorator]
        def task(payload: dict[str, Any]) -> dict[str, Any]:
            return process(Numbered.model_validate(payload))

        self.task = task

    def _count(self, calls: Calls) -> None:
        """Kombu sends and deletes by clients that it makes itself, and receives by an HTTP client of its own."""
        make, receive = Channel.new_sqs_client, AsyncSQSConnection.receive_message

        def made(channel: Any, *args: Any, **options: Any) -> Any:
            found = make(channel, *args, **options)
            calls.watch(found)
            found.meta.events.register("after-call.sqs.DeleteMessage", lambda **_: self.course.done(1))
            return found

        def received(connection: Any, *args: Any, **options: Any) -> Any:
            calls.add("ReceiveMessage")
            return receive(connection, *args, **options)

        def stored(backend: Any, *args: Any, **options: Any) -> Any:
            found = connect(backend, *args, **options)
            calls.watch(found)  # each thread has a backend of its own; the unique id keeps it from being counted twice
            return found

        connect = DynamoDBBackend._get_client  # noqa: SLF001
        Channel.new_sqs_client, AsyncSQSConnection.receive_message = made, received
        DynamoDBBackend._get_client = stored  # noqa: SLF001

    def enqueue(self, number: int) -> None:
        """As `delay` does."""
        self.task.delay({"number": number, "waits": self.place.waits})

    def work(self, course: Course) -> None:
        """Run a worker until the course is over."""
        self.course = course

        def stop() -> None:
            course.over.wait()
            state.should_stop = 0

        threading.Thread(target=stop, daemon=True).start()
        worker = self.app.Worker(
            pool="solo" if self.place.metered else self.pool,
            concurrency=BATCH,
            loglevel="ERROR",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()


class SoloCelery(PlainCelery):
    """One task at a time, in the worker's main thread."""

    pool = "solo"


class CeleryWithResults(PlainCelery):
    """With its DynamoDB backend, and `task_track_started`, so that a user can ask how a job is."""

    results = True
