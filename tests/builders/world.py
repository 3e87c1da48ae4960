"""A whole AWS in the process (moto), with the project's tables and queues, and its functions to be called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends

from adbot_queue.adbots import service
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import Adbot
from adbot_queue.adbots.operator_order import AdbotSpec
from adbot_queue.adbots.service import AdbotService
from adbot_queue.core import aws
from adbot_queue.ledger import Actor, search
from adbot_queue.stock import service as stock
from adbot_queue.stock.service import Stock, Uploaded
from adbot_queue.stock.upload import parse_objects
from adbot_queue.testing.in_process_aws import in_process_aws
from local.openapi import load_app

ROOT = Path(__file__).resolve().parents[2]
ADMIN = Actor("ada", "admin", "req-1")


@dataclass
class AwsHarness:
    """The project on an empty AWS."""

    env: dict[str, str]
    queues: dict[str, str]
    adbots: AdbotService
    apps: dict[str, Any] = field(default_factory=dict)

    @property
    def stock(self) -> Stock:
        """Uploads."""
        return stock.from_env()

    def pool(self, name: str = "standard") -> str:
        self.adbots.pools.create(name, Command(ADMIN))
        return name

    def upload(self, *ids: str, pool: str = "standard", key: str | None = None) -> Uploaded:
        lines = parse_objects([{"session_id": one, "token": f"secret-{one}"} for one in ids])
        return self.stock.upload(pool, lines, Command(ADMIN, key=key))

    def create(self, required: int, user: str = "cara", pool: str = "standard", key: str | None = None) -> Adbot:
        wanted = AdbotSpec(user, required, pool)
        return self.adbots.create(wanted, Command(ADMIN, key=key, fingerprint=str(required)), self.time_left).adbot

    def bot(self, adbot_id: str) -> Adbot:
        return self.adbots.adbot(adbot_id, None)

    def sessions_of(self, adbot_id: str) -> list[str]:
        return self.adbots.sessions.session_ids(self.bot(adbot_id).runs)

    def resolve(self, pool: str = "standard") -> None:
        self.adbots.resolver.run(pool, self.time_left)

    @staticmethod
    def time_left() -> int:
        return 60_000

    def ledger(self, **filters: str) -> list[dict[str, Any]]:
        wanted: dict[str, Any] = {"actor": None, "action": None, "target": None, "since": None, "until": None}
        return search.read(self.adbots.ledger, **(wanted | filters), limit=100, cursor=None)[0]

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """What waits in a queue, taken out of it."""
        found: list[dict[str, Any]] = []
        while batch := aws.sqs().receive_message(QueueUrl=self.queues[queue], MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                found.append(json.loads(message["Body"]))
                aws.sqs().delete_message(QueueUrl=self.queues[queue], ReceiptHandle=message["ReceiptHandle"])
        return found

    def app(self, function: str) -> Any:
        if function not in self.apps:
            self.apps[function] = load_app(ROOT / "functions" / function / "app.py")
        return self.apps[function]

    def http(
        self,
        function: str,
        route: str,
        *,
        role: str | None = None,
        user: str = "ada",
        claims: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | list[tuple[str, str]] | None = None,
        base64: bool = False,
        method: str | None = None,
        **path: str,
    ) -> Answer:
        """Call a function as API Gateway would. `body` is text as it is, anything else as JSON.

        Pairs in `query` may repeat a name; API Gateway joins their values with commas. `method` is for routes whose
        key has none of its own; `claims` are those of a token that the gateway has verified, instead of a role's.
        """
        pairs = list(query.items()) if isinstance(query, dict) else query or []
        joined = {name: ",".join(value for other, value in pairs if other == name) for name, _ in pairs}
        text = body if isinstance(body, str) else json.dumps(body) if body is not None else None
        event: dict[str, Any] = {
            "version": "2.0",
            "routeKey": route,
            "rawPath": route.rsplit(" ", maxsplit=1)[-1],
            "headers": headers or {},
            "queryStringParameters": joined or None,
            "rawQueryString": urlencode(pairs),
            "pathParameters": path or None,
            "requestContext": {
                "requestId": "req-1",
                "domainName": "abc.execute-api.eu-central-1.amazonaws.com",
                "http": {"method": method or route.split(" ", maxsplit=1)[0]},
            },
            "body": text,
            "isBase64Encoded": base64,
        }
        if role:
            claims = {"sub": user, "cognito:groups": f"[{role}]", "token_use": "access"}
        if claims is not None:
            event["requestContext"]["authorizer"] = {"jwt": {"claims": claims, "scopes": None}}
        return Answer(self.app(function).handler(event, FakeContext()))


class Answer:
    """What a function answered."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.status: int = raw["statusCode"]
        self.headers: dict[str, str] = raw["headers"]
        self.text: str = raw["body"]

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def problem(self) -> str:
        """The last part of the problem's type; the answer must be a problem document."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.json["status"] == self.status
        return str(self.json["type"]).rsplit(":", 1)[1]

    @property
    def fields(self) -> list[str]:
        """The fields that the problem names."""
        return [error["field"] for error in self.json["errors"]]


@dataclass
class FakeContext:
    """Lambda's context, as far as the code looks at it."""

    aws_request_id: str = "req-1"
    function_name: str = "test"
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:000000000000:function:test"
    left: int = 60_000

    def get_remaining_time_in_millis(self) -> int:
        return self.left


def empty() -> None:
    """Drop what is in tables and queues, a hundred times quicker than making them anew."""
    for backends in dynamodb_backends.values():
        for table in (table for backend in backends.values() for table in backend.tables.values()):
            table.items.clear()
    for queues in sqs_backends.values():
        for queue in (queue for backend in queues.values() for queue in backend.queues.values()):
            queue._messages.clear()


@contextmanager
def world() -> Iterator[AwsHarness]:
    """The project on an empty AWS."""
    # One writer: the calls of an upload come in one order, for tests that stop it after each.
    with in_process_aws() as made, patch.object(stock, "WRITERS", 1):
        yield AwsHarness(made.env, made.queues, service.from_env())
