"""Plays outages of one second against the project's AWS clients, with whatever botocore this interpreter has.

Run as a program: prints JSON, `{"botocore": version, "<service> <kind>": {"calls", "attempts", "failed"}}`.
A server on loopback fails until a second has passed since the first request of an outage, then answers. Pauses advance
a clock of its own instead of taking time, so that many outages with one client take a moment.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OUTAGES = 40
OUTAGE_S = 1.0

THROTTLED = {
    "dynamodb": "ProvisionedThroughputExceededException",
    "sqs": "RequestThrottled",
    "secretsmanager": "ThrottlingException",
    "events": "ThrottlingException",
}


class Clock:
    """Time that passes when a client pauses."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.waiting: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.0)
        self.waiting()

    def monotonic(self) -> float:
        return self.now


class Outage:
    """One outage after the other: each begins with its first request."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kind, self.service = "", ""
        self.began: float | None = None
        self.attempts = 0

    def is_over(self) -> bool:
        self.began = self.clock.now if self.began is None else self.began
        return self.clock.now - self.began >= OUTAGE_S


class Handler(BaseHTTPRequestHandler):
    """Fails as the outage says, then answers as the service would."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer in two parts would wait 40 ms for the first one's receipt
    outage: Outage

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        outage = self.outage
        outage.attempts += 1
        if outage.is_over():
            self._say(200, _answer(self.headers.get("X-Amz-Target") or "", body))
        elif outage.kind in {"reset", "refused"}:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif outage.kind == "throttled":
            self._say(400, {"__type": THROTTLED[outage.service], "message": "slow down"})
        elif outage.kind == "cancelled":
            reasons = [{"Code": "None"}, {"Code": "ThrottlingError", "Message": "slow down"}]
            kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
            self._say(400, {"__type": kind, "CancellationReasons": reasons})
        else:
            self._say(int(outage.kind), {"__type": "InternalServerError", "message": "down"})

    def _say(self, status: int, answer: Any) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _answer(target: str, body: bytes) -> Any:
    import hashlib  # noqa: PLC0415

    operation = target.rpartition(".")[2]
    if operation == "SendMessage":
        text = json.loads(body)["MessageBody"].encode()
        return {"MessageId": "m", "MD5OfMessageBody": hashlib.md5(text, usedforsecurity=False).hexdigest()}
    answers: dict[str, Any] = {
        "GetItem": {"Item": {"pk": {"S": "a"}}},
        "GetSecretValue": {"SecretString": "{}", "Name": "s", "ARN": "a"},
        "PutEvents": {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]},
    }
    return answers.get(operation, {})


def calls() -> dict[str, list[Callable[[], Any]]]:
    """What each service is asked, by the clients of the project."""
    from adbot_queue.core import aws  # noqa: PLC0415

    key: Any = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    items: Any = [{"Put": {"TableName": "t", "Item": key}}, {"Put": {"TableName": "u", "Item": key}}]
    return {
        "dynamodb": [
            lambda: aws.dynamodb().get_item(TableName="t", Key=key),
            lambda: aws.dynamodb().put_item(TableName="t", Item=key),
            lambda: aws.dynamodb().transact_write_items(TransactItems=items),
        ],
        "sqs": [lambda: aws.sqs().send_message(QueueUrl=f"{os.environ['AWS_ENDPOINT_URL']}/1/q", MessageBody="{}")],
        "secretsmanager": [lambda: aws.secrets_manager().get_secret_value(SecretId="s")],
        "events": [lambda: aws.events().put_events(Entries=[{"Source": "s", "DetailType": "d", "Detail": "{}"}])],
    }


def play(outage: Outage, service: str, kind: str, asked: list[Callable[[], Any]], server: Server) -> dict[str, Any]:
    """Many outages, one call in each, with one client."""
    outage.service, outage.kind, outage.attempts = service, kind, 0
    failed: list[str] = []
    for number in range(OUTAGES):
        outage.began = None
        outage.clock.now += 60
        if kind == "refused":
            server.stop()
            outage.began = outage.clock.now
            outage.clock.waiting = lambda: server.start() if outage.is_over() else None
        try:
            asked[number % len(asked)]()
        except Exception as error:  # noqa: BLE001  what reached the caller
            failed.append(f"{type(error).__name__}: {error}"[:120])
        outage.clock.waiting = lambda: None
        server.start()
    return {"calls": OUTAGES, "attempts": outage.attempts, "failed": failed}


class Server:
    """Listens on one port of loopback, or refuses connections to it."""

    def __init__(self, outage: Outage) -> None:
        self._handler = type("Bound", (Handler,), {"outage": outage})
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        if self._server is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
            self._server.daemon_threads = True
            self.port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def main() -> None:
    """Play every kind of outage against every service."""
    clock = Clock()
    outage = Outage(clock)
    server = Server(outage)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    import botocore  # noqa: PLC0415

    asked = calls()
    time.sleep, time.monotonic = clock.sleep, clock.monotonic
    found: dict[str, Any] = {"botocore": botocore.__version__}
    for service, operations in asked.items():
        kinds = ["500"] if service == "events" else ["500", "503", "throttled", "reset", "refused"]
        for kind in kinds:
            found[f"{service} {kind}"] = play(outage, service, kind, operations, server)
    found["dynamodb cancelled"] = play(outage, "dynamodb", "cancelled", asked["dynamodb"][2:], server)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
