"""The providers' own libraries, talking to the stand-ins without a socket."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
import python_http_client
import stripe
from python_http_client.exceptions import handle_error

from adbot_queue.payments import stripe_api
from local.stand_ins.app import StandIns

STRIPE_BASE, SENDGRID_BASE = "http://peers.test/stripe", "http://peers.test/sendgrid"
Answer = Callable[[], tuple[int, Any]]


@dataclass
class Peers:
    """The stand-ins, and what comes before them: `instead` answers are given first, one a request."""

    stand_ins: StandIns
    instead: list[Answer] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def mails(self) -> list[dict[str, Any]]:
        return [entry["message"] for entry in self.stand_ins.sendgrid.messages]

    def answer(self, method: str, url: str, headers: dict[str, str], body: str) -> tuple[int, str, dict[str, str]]:
        self.requests.append(f"{method} {url}")
        if self.instead:
            status, answer = self.instead.pop(0)()
            return status, json.dumps(answer), {"request-id": "req_1"}
        path = urlsplit(url).path
        name, peer = (
            ("/stripe", self.stand_ins.stripe)
            if path.startswith("/stripe/")
            else ("/sendgrid", self.stand_ins.sendgrid)
        )
        lower = {key.lower(): value for key, value in headers.items()}
        reply = peer.respond(method.upper(), path.removeprefix(name), lower, body)
        return reply.status, reply.body if isinstance(reply.body, str) else json.dumps(reply.body), dict(reply.headers)


class _StripeHttp(stripe.HTTPClient):
    name = "in-process"

    def __init__(self, peers: Peers) -> None:
        super().__init__()
        self._peers = peers

    def request(self, method: str, url: str, headers: Any, post_data: Any = None) -> tuple[str, int, Any]:
        status, body, answered = self._peers.answer(method, url, dict(headers or {}), post_data or "")
        return body, status, answered

    def _sleep_time_seconds(self, *_: Any, **__: Any) -> float:
        return 0.0

    def close(self) -> None:
        """Nothing to close."""


class _Answered:
    def __init__(self, status: int, body: str, headers: dict[str, str]) -> None:
        self.getcode = lambda: status
        self.read = body.encode
        self.info = lambda: headers


def connect(monkeypatch: pytest.MonkeyPatch) -> Peers:
    """Have both libraries reach the stand-ins."""
    peers = Peers(StandIns("http://peers.test", lambda _payload, _headers: 200, lambda: "whsec_test"))

    def open_mail(_client: Any, _opener: Any, request: Any, timeout: float | None = None) -> _Answered:
        assert timeout or _client.timeout, "a mail must not be sent without a timeout"
        status, body, headers = peers.answer(
            request.get_method(), request.full_url, dict(request.headers), request.data.decode()
        )
        if status >= 400:
            raise handle_error(HTTPError(request.full_url, status, "refused", Message(), io.BytesIO(body.encode())))
        return _Answered(status, body, headers)

    monkeypatch.setattr(stripe, "RequestsClient", lambda timeout: _StripeHttp(peers))
    monkeypatch.setattr(python_http_client.Client, "_make_request", open_mail)
    monkeypatch.setenv("STRIPE_API_BASE", STRIPE_BASE)
    monkeypatch.setenv("SENDGRID_API_BASE", SENDGRID_BASE)
    stripe_api._client.cache_clear()
    return peers


def down() -> tuple[int, Any]:
    """The network is."""
    raise stripe.APIConnectionError("connection refused", should_retry=True)


def refusing(status: int, message: str = "no", kind: str = "api_error") -> Answer:
    return lambda: (status, {"error": {"message": message, "type": kind}})
