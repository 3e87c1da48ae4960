"""Kills the code under test right after one of its AWS calls: the call took effect, nothing after it happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adbot_queue.core import aws


class Killed(BaseException):
    """The function died here. Not an Exception: no handler in the code may survive it."""


class Calls:
    """Counts AWS calls that change something or read, by name."""

    def __init__(self) -> None:
        self.names: list[str] = []


@contextmanager
def crash_after(call: int | None, *also: Any) -> Iterator[Calls]:
    """Inside, the AWS call number `call` (from 1) is carried out and then the process dies; None only counts.

    `also` are clients beside those that the platform itself uses.

    Raises:
        Killed: out of the code under test.
    """
    calls = Calls()

    def seen(model: Any, **_: Any) -> None:
        calls.names.append(model.name)
        if call is not None and len(calls.names) == call:
            raise Killed(f"after call {call}: {model.name}")

    clients = [aws.dynamodb(), aws.sqs(), aws.events(), aws.scheduler(), aws.sns(), *also]
    for client in clients:
        client.meta.events.register("after-call", seen, unique_id="crash")
    try:
        yield calls
    finally:
        for client in clients:
            client.meta.events.unregister("after-call", unique_id="crash")


def every_call(calls: int) -> Iterator[int]:
    """1 to `calls`: to die once after each."""
    yield from range(1, calls + 1)


@contextmanager
def sent_twice(client: Any, operation: str, number: int) -> Iterator[None]:
    """The answer to call `number` (from 1) of that name gets lost on the way, and the client sends it once more."""
    calls: list[str] = []

    def lost(**_: Any) -> float | None:
        calls.append(operation)
        return 0 if len(calls) == number else None

    event = f"needs-retry.{client.meta.service_model.endpoint_prefix}.{operation}"
    client.meta.events.register_first(event, lost, unique_id="lost")
    try:
        yield
    finally:
        client.meta.events.unregister(event, unique_id="lost")
