"""Two judges of what is written at once: Amazon's DynamoDB Local, and roto, which needs no Java and is twice as fast.

Where they differ DynamoDB Local decides. roto has no PartiQL, no streams, does not honour ClientRequestToken, and says
of a refused single write not which item refused it: clients for it read the item then.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import dynamodb_local

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PROGRAM = Path(sys.executable).with_name("roto-server")
START_SECONDS = 20


class RotoEndpoint(str):
    """Where roto listens."""

    __slots__ = ()


@contextmanager
def roto() -> Iterator[RotoEndpoint]:
    """A fresh, empty roto in memory, on loopback, for the length of the block.

    Raises:
        RuntimeError: it did not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(PROGRAM) if PROGRAM.exists() else shutil.which("roto-server") or "roto-server"
    process = subprocess.Popen(
        [program, "--ephemeral", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, port)
        yield RotoEndpoint(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"roto did not start (exit code {process.poll()})")


def client(endpoint: str) -> DynamoDBClient:
    """A client as the functions have it, of either engine."""
    made = dynamodb_local.client(endpoint)
    if isinstance(endpoint, RotoEndpoint):
        _hand_back_items(made, dynamodb_local.client(endpoint))
    return made


def _hand_back_items(on: DynamoDBClient, reader: DynamoDBClient) -> None:
    def remember(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if params.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
            source = params.get("Key") or params["Item"]
            key = {name: source[name] for name in ("pk", "sk") if name in source}
            context["refused"] = {"TableName": params["TableName"], "Key": key, "ConsistentRead": True}

    def add(parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        refused = parsed.get("Error", {}).get("Code") == "ConditionalCheckFailedException"
        if refused and "refused" in context and (item := reader.get_item(**context["refused"]).get("Item")):
            parsed["Item"] = item

    for operation in ("PutItem", "UpdateItem", "DeleteItem"):
        on.meta.events.register(f"provide-client-params.dynamodb.{operation}", remember)
        on.meta.events.register(f"after-call.dynamodb.{operation}", add)
