"""An address that came in by the API reaches nothing inside, whatever the environment of a function names."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from adbot_queue.core import outbound
from adbot_queue.core.errors import Invalid
from adbot_queue.core.outbound import BadAddress, Outbound, check_url
from adbot_queue.core.settings import settings
from adbot_queue.testing.tables import template
from local.stand_ins.push import PushService
from tests.builders.receiver import Receiver, only_loopback, receiving
from tests.builders.world import AwsHarness, world

HOSTS = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0",
    "0.0.0.0",  # noqa: S104
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "user@127.0.0.1",
    "user:pw@localhost",
    "hooks.example.com@127.0.0.1",
    "127.0.0.1%2e",
    "service.internal",
    "service.local",
    "service",
    "10.0.0.7",
    "169.254.169.254",
    "[fd00:ec2::254]",
]


@pytest.fixture(autouse=True)
def _no_sockets() -> None:
    """Not here: `tried` forbids less."""


@pytest.fixture(autouse=True)
def tried() -> Iterator[list[Any]]:
    """The addresses of attempted connections; only loopback is let through."""
    with only_loopback() as addresses:
        yield addresses


@pytest.fixture(scope="module")
def on() -> Iterator[AwsHarness]:
    with world() as made:
        yield made


@pytest.fixture
def receiver(on: AwsHarness) -> Iterator[Receiver]:
    """What listens inside, named by every setting that ever made an exception of it."""
    with receiving() as made:
        named = ",".join(
            f"{host}:{port}" for host in (*HOSTS, "hooks.example.com", "hooks.test") for port in (made.port, 443, 80)
        )
        environment = {"WEBHOOK_TRUSTED_HOSTS": named, "LOCAL_RECEIVERS": f"hooks.test={made.port}"}
        with patch.dict("os.environ", environment):
            settings.cache_clear()
            outbound.from_env.cache_clear()
            yield made
    settings.cache_clear()
    outbound.from_env.cache_clear()


def urls(port: int) -> list[str]:
    return [f"{scheme}://{host}:{port}/hook" for host in HOSTS for scheme in ("http", "https", "HTTP", "HTTPS")]


def test_no_webhook_of_a_job_is_for_an_address_inside(receiver: Receiver, on: AwsHarness) -> None:
    for url in urls(receiver.port):
        body = {"type": "analytics-track", "payload": {"event": "x", "user_id": "u"}, "webhook_url": url}
        answer = on.http("jobs", "POST /jobs", role="owner", body=body)
        assert (answer.status, answer.fields) == (422, ["webhook_url"]), url
        with pytest.raises(Invalid):
            check_url(url)
    assert receiver.seen == []


def test_no_request_of_a_job_is_for_an_address_inside(receiver: Receiver, on: AwsHarness) -> None:
    for url in (f"https://{host}:{receiver.port}/hook" for host in HOSTS):
        request = {"type": "http-request", "payload": {"url": url}}
        workflow = {"type": "run-workflow", "payload": {"name": "ask", "steps": [{"id": "first", **request}]}}
        schedule = {"name": "ask", "expression": "rate(1 day)", **request}
        for function, route, body, field in (
            ("jobs", "POST /jobs", request, "payload.url"),
            ("jobs", "POST /jobs", workflow, "payload.steps.0.payload.url"),
            ("schedules", "POST /schedules", schedule, "payload.url"),
        ):
            answer = on.http(function, route, role="owner", body=body)
            assert (answer.status, answer.fields) == (422, [field]), (url, answer.text)
    assert receiver.seen == []


def test_no_browser_subscribes_with_an_address_inside(receiver: Receiver, on: AwsHarness) -> None:
    browser = PushService("https://push.example.com").subscribe()
    for role in ("customer", "admin", "owner"):
        for url in urls(receiver.port):
            answer = on.http("delivery", "POST /push/subscriptions", role=role, body=browser | {"endpoint": url})
            assert (answer.status, answer.fields) == (422, ["endpoint"]), url


def test_nothing_is_posted_to_an_address_inside_that_was_stored_before(receiver: Receiver, tried: list[Any]) -> None:
    for url in urls(receiver.port):
        with pytest.raises(BadAddress):
            outbound.from_env().post(url, b"{}", {}, 5)
    assert tried == []


INSIDE = [
    "127.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "10.0.0.7",
    "169.254.169.254",
    "fd00:ec2::254",
    "0.0.0.0",  # noqa: S104
    "100.64.0.1",
]


@pytest.mark.parametrize("address", INSIDE)
@pytest.mark.parametrize("others", [[], ["93.184.216.34"]], ids=["alone", "among public ones"])
def test_a_public_name_that_leads_inside_is_refused(
    receiver: Receiver, address: str, others: list[str], monkeypatch: pytest.MonkeyPatch, tried: list[Any]
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, receiver.port)) for one in (*others, address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: found)
    for name in ("hooks.example.com", "HOOKS.example.com.", "hooks.test"):
        with pytest.raises(BadAddress):
            outbound.from_env().post(f"https://{name}:{receiver.port}/hook", b"{}", {}, 5)
    assert tried == []
    assert receiver.seen == []


@pytest.mark.parametrize("host", HOSTS)
def test_a_redirect_leads_nowhere_inside(receiver: Receiver, host: str) -> None:
    with receiving() as first:
        for scheme in ("http", "https"):
            first.answers = [(307, {"Location": f"{scheme}://{host}:{receiver.port}/hook"})]
            with pytest.raises(BadAddress):
                Outbound(receivers={"hooks.test": first.port}).post("https://hooks.test/", b"{}", {}, 5)
        assert len(first.seen) == 2
    assert receiver.seen == []


LOCAL = "http://127.0.0.1:4566"


@pytest.mark.parametrize(
    ("endpoint", "receivers", "found"),
    [
        (LOCAL, "hooks.test=4711", {"hooks.test": 4711}),
        ("http://localhost:4566", "hooks.test=4711, Push.TEST=8099,", {"hooks.test": 4711, "push.test": 8099}),
        ("", "hooks.test=4711", {}),
        ("https://dynamodb.eu-central-1.amazonaws.com", "hooks.test=4711", {}),
        ("http://127.0.0.1.example.com", "hooks.test=4711", {}),
        ("http://10.0.0.7:4566", "hooks.test=4711", {}),
        (LOCAL, "hooks.example.com=4711,test=1,127.0.0.1=4711,localhost=4711,nottest=5", {}),
        (LOCAL, "hooks.test=10.0.0.7,hooks.test=,hooks.test", {}),
        (LOCAL, "", {}),
    ],
)
def test_names_of_this_machine_exist_in_a_local_run_alone(
    endpoint: str, receivers: str, found: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("LOCAL_RECEIVERS", receivers)
    assert outbound.local_receivers() == found


def test_the_template_gives_no_function_such_names() -> None:
    text = str(template())
    assert "LOCAL_RECEIVERS" not in text
    assert "AWS_ENDPOINT_URL" not in text
    assert "TRUSTED" not in text
