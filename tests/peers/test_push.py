"""Web push against a push service and browsers that others wrote: they check the signature, and really decrypt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from adbot_queue.core import outbound
from adbot_queue.core.outbound import Outbound
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.messaging.jobs.send_push import SendPush, send_push
from adbot_queue.providers import registry, web_push
from local import seed
from tests.builders.world import world
from tests.support import peers

KEY = seed.new_vapid_key()
HOST = "push.test"


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with peers.web_push() as base:
        yield base


@pytest.fixture(scope="module", autouse=True)
def _on_aws() -> Iterator[None]:
    with world():
        yield


@pytest.fixture(autouse=True)
def _ours(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our key, and a name for the service: loopback is out of reach."""
    named = Outbound(receivers={HOST: urlsplit(service).port or 0})
    held = {"private_key": KEY, "subject": "mailto:bots@example.com"}
    monkeypatch.setattr(outbound, "from_env", lambda: named)
    monkeypatch.setattr(registry, "credential", lambda _provider, field: held[field])


def browser(service: str) -> tuple[dict[str, Any], str]:
    """A new one as its subscription, and the name under which the service knows it."""
    wanted = {"applicationServerKey": web_push.public_key(), "userVisibleOnly": "true"}
    made = requests.post(f"{service}/subscribe", json=wanted, timeout=10).json()["data"]
    endpoint = urlsplit(made["endpoint"])._replace(scheme="https", netloc=HOST).geturl()
    return {"endpoint": endpoint, "keys": made["keys"]}, made["clientHash"]


def push(subscription: dict[str, Any], **changes: Any) -> dict[str, Any]:
    now = round(time.time() * 1000)
    context = Context("job-1", 1, "job-1", now + 20_000, lambda: now, lambda: False, lambda *_: None)
    payload = SendPush.model_validate({"subscription": subscription, "title": "Your bot runs", **changes})
    return send_push(payload, context)


def test_an_independent_browser_decrypts_what_we_send(service: str) -> None:
    subscription, name = browser(service)

    assert push(subscription, body="Ünïcode ✓", data={"n": 1})["status"] == 201
    assert push(subscription, title="x" * 200, data={"text": "x" * 3600})["status"] == 201

    got = requests.post(f"{service}/get-notifications", json={"clientHash": name}, timeout=10).json()["data"][
        "messages"
    ]
    first, second = (json.loads(message) if isinstance(message, str) else message for message in got)
    assert (first["title"], first["body"], first["data"]) == ("Your bot runs", "Ünïcode ✓", {"n": 1})
    assert second["data"]["text"] == "x" * 3600


def test_what_another_key_has_signed_it_does_not_take(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subscription, _ = browser(service)
    monkeypatch.setattr(
        registry,
        "credential",
        lambda _provider, field: {"private_key": seed.new_vapid_key()}.get(field, "mailto:a@b.example"),
    )

    with pytest.raises(PermanentError, match="refused"):
        push(subscription)


def test_a_browser_that_has_unsubscribed_is_gone(service: str) -> None:
    subscription, name = browser(service)
    requests.post(f"{service}/expire-subscription/{name}", timeout=10)

    with pytest.raises(PermanentError, match=r"the subscription is gone \(HTTP 410\)"):
        push(subscription)
