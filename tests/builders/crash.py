"""Kills the code under test right after one of its AWS calls: the call took effect, nothing after it happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from adbot_queue.core import aws


class Killed(BaseException):
    """The function died here. Not an Exception: no handler in the code may survive it."""


class Calls:
    """Counts AWS calls that change something or read, by name."""

    def __init__(self) -> None:
        self.names: list[str] = []


@contextmanager
def crash_after(call: int | None, *also: Any) -> Iterator[Calls]:
    """Run AWS call number `call` (from 1) and then kill the process; None only counts.

    `also` are clients in addition to those of the platform.

    Raises:
        Killed: out of the code under test.
    """
    calls = Calls()

    def seen(model: Any, **_: Any) -> None:
        calls.names.append(model.name)
        if call is not None and len(calls.names) == call:
            raise Killed(f"after call {call}: {model.name}")

    clients = [aws.dynamodb(), aws.sqs(), aws.events(), aws.sns(), *also]
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


@contextmanager
def before_transactions(seen: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """`seen` is called with every transaction before it is sent, and may have others be faster."""

    def before(params: dict[str, Any], **_: Any) -> None:
        seen(params)

    events, name = aws.dynamodb().meta.events, "provide-client-params.dynamodb.TransactWriteItems"
    events.register(name, before, unique_id="before")
    try:
        yield
    finally:
        events.unregister(name, unique_id="before")


def conflict(code: str = "TransactionConflictException") -> ClientError:
    """Return DynamoDB's error for an item that another transaction holds."""
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "TransactWriteItems")


def tells_parents(transaction: dict[str, Any]) -> bool:
    """It creates jobs, and changes those that they wait for."""
    return any("Update" in item for item in transaction["TransactItems"])


def busy_parents(transaction: dict[str, Any]) -> None:
    """Workers are at the parents all the time: for `before_transactions`."""
    if tells_parents(transaction):
        raise conflict()
