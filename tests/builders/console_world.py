"""The console on an AWS in the process: pages asked as a browser asks them."""

from __future__ import annotations

import base64
import gzip
import html
import json
import random
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlencode

from botocore.client import BaseClient

from adbot_queue.console import sessions, snapshot
from adbot_queue.console.sessions import Person, Session, Sessions
from adbot_queue.core import aws
from adbot_queue.core.clock import iso
from adbot_queue.core.settings import settings
from adbot_queue.jobs import job_queues
from adbot_queue.jobs.model import JobState
from tests.builders.world import AwsHarness, FakeContext, world

ENV = {
    "STACK_NAME": "adbot-queue",
    "ENVIRONMENT_NAME": "staging",
    "CONSOLE_URL": "",
    "USER_POOL_ID": "eu-central-1_pool",
    "URL_SUFFIX": "amazonaws.com",
    "SIGN_IN_BASE": "https://sign-in.example.com",
    "AWS_REGION": "eu-central-1",
}
ORIGIN = "https://abc.execute-api.eu-central-1.amazonaws.com"


@dataclass
class Shown:
    """What the console answered."""

    raw: dict[str, Any]

    @property
    def status(self) -> int:
        return int(self.raw["statusCode"])

    @property
    def headers(self) -> dict[str, str]:
        found: dict[str, str] = self.raw["headers"]
        return found

    @property
    def bytes(self) -> bytes:
        """As they are sent."""
        return base64.b64decode(self.raw["body"]) if self.raw.get("isBase64Encoded") else self.raw["body"].encode()

    @property
    def text(self) -> str:
        return (gzip.decompress(self.bytes) if self.headers.get("content-encoding") == "gzip" else self.bytes).decode()

    @property
    def cookies(self) -> dict[str, str]:
        return {line.partition("=")[0]: line.partition("=")[2] for line in self.raw.get("cookies", [])}

    @property
    def words(self) -> str:
        """The text that a person reads, its spaces joined."""
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", self.text)).split())

    def key(self, dialog: str) -> str:
        """The form key of a dialog or a button's form."""
        return self.field(dialog, "key")

    def field(self, dialog: str, name: str) -> str:
        """The value of a field of a dialog's form."""
        form = re.search(rf'<form [^>]*id="{dialog}(?:-form)?".*?</form>', self.text, re.DOTALL)
        assert form, f"there is no form {dialog}"
        return _value(form[0], name)

    def hidden(self, name: str) -> str:
        """The value of a field anywhere in the answer."""
        return _value(self.text, name)


def _joined(query: str) -> dict[str, str]:
    """Parameters as API Gateway hands them over: values of the same name are joined with commas."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return {name: ",".join(values) for name, values in found.items()}


def _value(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found, f"there is no field {name}"
    return html.unescape(found[1])


@contextmanager
def counted_calls() -> Iterator[list[str]]:
    """The operations of AWS that a block calls."""
    calls: list[str] = []
    real = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        calls.append(operation)
        return real(client, operation, parameters)

    with patch.object(BaseClient, "_make_api_call", call):
        yield calls


@dataclass
class ConsoleWorld:
    """The console, and people who are signed in: one for each role."""

    world: AwsHarness
    groups: dict[str, frozenset[str] | None] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def person(self, role: str, *groups: str) -> str:
        """Sign a person in and return the session's id."""
        self.groups[role] = frozenset(groups or ([] if role == "nobody" else [role]))
        started = sessions.from_env().start(Person(f"sub-{role}", role, role.title()))
        assert started
        self.cookies[role] = started
        return started

    def session(self, role: str) -> Session:
        found = sessions.from_env().find(self.cookies.get(role) or self.person(role))
        assert found
        return found

    def get(self, path: str, role: str | None = "owner", **headers: str) -> Shown:
        """Open a page."""
        return self.ask("GET", path, role, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def tick(self, path: str, role: str = "owner", **headers: str) -> Shown:
        """Refresh a page's live region as its script does, which tells what the page has already."""
        have = " ".join(re.findall(r'data-digest="(\w+)"', self.get(path, role).text))
        return self.get(path, role, **{"hx_request": "true", "x_tick": "1", "x_have": have, **headers})

    def post(
        self,
        path: str,
        fields: dict[str, str] | None = None,
        role: str | None = "owner",
        *,
        script: bool = True,
        **headers: str | None,
    ) -> Shown:
        """Send a form as a page of ours does; a header that is None is left out."""
        fields = {"key": secrets.token_hex(8), **(fields or {})}
        if role and "csrf" not in fields:
            fields["csrf"] = self.session(role).csrf
        sent: dict[str, str | None] = {
            "content-type": "application/x-www-form-urlencoded",
            "sec-fetch-site": "same-origin",
            "referer": f"{ORIGIN}{path.rpartition('/')[0]}",
            **({"hx-request": "true"} if script else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        kept = {name: value for name, value in sent.items() if value is not None}
        return self.ask("POST", path, role, headers=kept, body=urlencode(fields))

    def ask(
        self, method: str, path: str, role: str | None, *, headers: dict[str, str] | None = None, body: str = ""
    ) -> Shown:
        """Call the function as API Gateway does."""
        bare, _, query = path.partition("?")
        sent = {"accept": "text/html", "accept-encoding": "gzip, deflate, br", "host": ORIGIN[8:], **(headers or {})}
        if role:
            cookie = self.cookies.get(role) or self.person(role)
            sent["cookie"] = f"__Host-s-adbot-queue={cookie}; {sent.get('cookie', '')}"
        event = {
            "version": "2.0",
            "routeKey": "ANY /console/{proxy+}",
            "rawPath": bare,
            "rawQueryString": query,
            "queryStringParameters": _joined(query) or None,
            "headers": sent,
            "requestContext": {"requestId": "req-1", "domainName": ORIGIN[8:], "http": {"method": method}},
            "body": base64.b64encode(body.encode()).decode() if body else None,
            "isBase64Encoded": bool(body),
        }
        return Shown(json.loads(json.dumps(self.world.app("console").handler(event, FakeContext()))))


def busy(now: int) -> dict[str, Any]:
    """Figures of a full hour with an incident: as a shop of 13,000 jobs an hour sees it."""
    chance = random.Random(7)
    hour = {
        name: [chance.randrange(196, 224) - 60 * (minute > 40) for minute in range(60)]
        for name in ("enqueued", "completed")
    }
    hour["failed"] = [chance.randrange(1, 12) if 40 <= minute < 52 else 0 for minute in range(60)]
    return {
        "names": {"sub-owner": "Olga Okafor", "sub-0": "Daniel Osei", "sub-1": "Lucia Ferrer"},
        "mode": {"name": "async_queue", "since": iso(now - 90_000_000), "by": "sub-owner", "reason": "", "version": 12},
        "bots": {"queued": 14, "missing": 96, "free": 412, "parked": 1, "oldest_ms": 97_200_000},
        "queues": [
            {
                "name": name,
                "money": name == "money",
                "levels": {state.value: chance.randrange(1, 2_000) for state in JobState},
                "oldest_at": now - chance.randrange(1_000, 800_000) - 900_000 * (name == "messages"),
                "paused": name == "plugin",
                "paused_at": iso(now - 3_600_000) if name == "plugin" else None,
                "paused_by": "sub-owner" if name == "plugin" else None,
                "paused_why": "the import runs until 16:00" if name == "plugin" else "",
                "version": chance.randrange(20),
                "per_minute": chance.randrange(1, 2_000) / 10,
                "failed": chance.randrange(50),
                "wait_p95": chance.randrange(100, 900_000),
                "run_p95": chance.randrange(100, 9_000),
                "spark": [chance.randrange(36, 60) for _ in range(15)],
                "spark_bad": [int(10 <= bucket < 13) for bucket in range(15)],
            }
            for name in job_queues.QUEUES
        ],
        "circuits": [
            {
                "provider": "sendgrid",
                "state": "open",
                "opened_at": now - 660_000,
                "open_until": now + 33_000,
                "reason": None,
                "not_before": None,
            }
        ],
        "past": [
            [now // 3_600_000 - ago, *(chance.randrange(1, most) for most in (40, 900, 9_000, 600, 4, 30_000))]
            for ago in range(24, -1, -1)
        ],
        "hour": {"at": now, **hour},
        "changes": [
            {
                "at": iso(now - count * 1_234_567),
                "actor": f"sub-{count % 2}",
                "action": "queue.pause",
                "target": f"queue:{name}",
                "reason": f"ticket {chance.randrange(10**6)}",
            }
            for count, name in enumerate(list(job_queues.QUEUES)[:5])
        ],
    }


@contextmanager
def console_world() -> Iterator[ConsoleWorld]:
    """The console on an empty AWS."""
    # A machine under load takes longer than a snapshot is fresh: what a test counts must not depend on that.
    with (
        world() as made,
        patch.dict("os.environ", ENV),
        patch.multiple(snapshot, FRESH_MS=60_000, FRESH_FOR_A_PAGE_MS=60_000),
    ):
        console = ConsoleWorld(made)
        kept = Sessions(aws.dynamodb(), settings().system_table, lambda name, _: console.groups.get(name))
        with patch.object(sessions, "from_env", lambda: kept):
            yield console
