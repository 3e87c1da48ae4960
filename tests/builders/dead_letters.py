"""Dead letters, on the job platform in the process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from adbot_queue import ledger
from adbot_queue.core import aws
from adbot_queue.core.attribute_values import encode
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.dead_letters import service as dead_letters
from adbot_queue.dead_letters.alerts import Alerts
from adbot_queue.dead_letters.model import DeadLetterFilter
from adbot_queue.dead_letters.pages import DeadLetterPages
from adbot_queue.dead_letters.replay_service import Replays
from adbot_queue.dead_letters.service import DeadLetters
from adbot_queue.jobs.model import BAD_ENDS, Job
from adbot_queue.jobs.store.items import item_of
from adbot_queue.jobs.worker.worker import Worker
from adbot_queue.ledger import Actor
from tests.builders.job_stream import claimed, died, failed
from tests.builders.jobs import Jobs
from tests.builders.world import ADMIN


class DeadLetterHarness:
    """Dead letters, their alerts and their replays, on the clock of the jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        env = jobs.world.env
        client = aws.dynamodb()
        self.topic = aws.sns().create_topic(Name="dead-letters")["TopicArn"]
        self.mailbox = aws.sqs().create_queue(QueueName="mailbox")["QueueUrl"]
        arn = aws.sqs().get_queue_attributes(QueueUrl=self.mailbox, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        aws.sns().subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn)
        self.store = DeadLetterPages(client, env["JOBS_TABLE"])
        self.alerts = Alerts(aws.sns, self.topic, self.store, client, env["SYSTEM_TABLE"], "https://bots.example.com")
        self.letters = DeadLetters(jobs.service, self.store, jobs.clock)
        self.replays = Replays(jobs.service, self.store, ledger.from_env(), jobs.clock)

    def dead_job(self, job_type: str = "mail", name: str = "a", goes: int = 3, **options: Any) -> Job:
        """A job that has spent its attempts; it goes well from then on."""
        job = self.jobs.enqueue(job_type, {"name": name, "goes": ["transient"] * goes}, **options)
        self.die(job)
        return self.jobs.get(job)

    def failed_job(self, job_type: str = "mail", name: str = "a", **options: Any) -> Job:
        """A job that its provider refused for good; it goes well from then on."""
        return self.jobs.run(job_type, {"name": name, "goes": ["permanent"]}, **options)

    def die(self, *jobs: Job) -> None:
        """Work until these are dead or failed."""
        for _ in range(20):
            alive = [job for job in map(self.jobs.get, jobs) if not job.is_terminal]
            if not alive:
                break
            for job in alive:
                if job.run_at:
                    self.jobs.clock.now = max(self.jobs.clock.now, job.run_at)
                self.jobs.work(job)
        assert {self.jobs.get(job).state for job in jobs} <= BAD_ENDS

    def lay(
        self, number: int, goes: int = 0, queue: str = "email", at: int | None = None, kind: str = "transient"
    ) -> list[Job]:
        """Dead letters, as their last attempt leaves them; retried they fail so often and then go well."""
        made = []
        for one in range(number):
            now = self.jobs.clock() if at is None else at
            payload = {"name": f"n{one}", "goes": ["transient"] * goes}
            new = Job(time_ordered_id(now), "mail" if queue == "email" else "charge", queue, payload, now).waiting(now)
            last = claimed(new, now).changed(attempt=3)
            made.append(failed(last, now, kind) if kind == "permanent" else died(last, now))
            aws.dynamodb().put_item(TableName=self.store.table, Item=encode(item_of(made[-1])))
        self.jobs.advance(1)
        return made

    def listed(self, **wanted: Any) -> list[str]:
        """Ids of all dead letters that match, newest first."""
        found, cursor = self.letters.page(DeadLetterFilter(**wanted), 100, None)
        assert cursor is None
        return [job.id for job in found]

    def start(self, rate: float = 100, actor: Actor = ADMIN, *, canary: bool = False, **wanted: Any) -> Job:
        chosen = DeadLetterFilter(**wanted)
        counted = self.replays.preview(chosen)
        return self.replays.start(chosen, rate, "fixed", actor, canary=canary, confirmed=counted).job

    def go_on(self, replay: Job, worker: Worker | None = None) -> Job:
        """One run of a replay; its job as it is then."""
        job = self.jobs.get(replay)
        if job.run_at:
            self.jobs.clock.now = max(self.jobs.clock.now, job.run_at)
        with self.on_this_clock():
            self.jobs.work(job, worker)
        return self.jobs.get(job)

    def finish(self, replay: Job, runs: int = 200) -> Job:
        """Run after run until it has ended."""
        for _ in range(runs):
            if (job := self.go_on(replay)).is_terminal:
                return job
        raise AssertionError("it does not end")

    @contextmanager
    def on_this_clock(self) -> Iterator[None]:
        """Replays that run inside find these dead letters."""
        with patch.object(dead_letters, "from_env", lambda _now: self.letters):
            yield

    def mails(self) -> list[tuple[str, str]]:
        """Subject and text of the alerts since the last look."""
        found: list[tuple[str, str]] = []
        while batch := aws.sqs().receive_message(QueueUrl=self.mailbox, MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                body = json.loads(message["Body"])
                found.append((body["Subject"], body["Message"]))
                aws.sqs().delete_message(QueueUrl=self.mailbox, ReceiptHandle=message["ReceiptHandle"])
        return found
