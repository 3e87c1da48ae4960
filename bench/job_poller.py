"""Lambda's poller as `bench.jobs` plays it: a process of its own, which no function's process has to pay for.

It receives ten messages at a time, one batch ahead of the function, and deletes in one call what the function did.
Batches are handled one after the other, as by one Lambda environment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from adbot_queue.core import aws
from bench.job_workload import BATCH, Calls, Course

AHEAD = 2
"""Batches that are not deleted yet: one is handled, one is ready."""

Batch = list[dict[str, Any]]


def drive(url: str, course: Course, calls: Calls, handle: Callable[[Batch], Batch]) -> None:
    """Poll a queue and handle its batches here until the course is over.

    Args:
        url: of the queue.
        course: counts the deleted messages.
        calls: in the end includes those of the poller.
        handle: handles a batch and returns the messages that are done.
    """
    spawn = get_context("spawn")
    here, there = spawn.Pipe()
    ended, ending = spawn.Pipe(duplex=False)
    poller = spawn.Process(target=_poll, args=(url, there, ending), daemon=True)
    poller.start()
    made: dict[str, int] = {}

    def listen() -> None:
        while not course.over.is_set():
            number, made_until_now = ended.recv()
            made.update(made_until_now)
            course.done(number)

    threading.Thread(target=listen, daemon=True).start()
    while not course.over.is_set():
        if here.poll(0.2):
            here.send([message["ReceiptHandle"] for message in handle(here.recv())])
    poller.terminate()
    calls.names.update(made)


def _poll(url: str, pipe: Connection[Any, Any], ending: Connection[Any, Any]) -> None:
    """The process."""
    sqs, calls, room = aws.sqs(), Calls(), threading.Semaphore(AHEAD)
    calls.watch(sqs)

    def give() -> None:
        while True:
            room.acquire()
            messages: Any = None
            while not messages:
                messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=1).get(
                    "Messages"
                )
            pipe.send(messages)

    threading.Thread(target=give, daemon=True).start()
    while True:
        done = pipe.recv()
        room.release()
        entries: Any = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(done)]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
        ending.send((len(done), dict(calls.names)))
