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
from urllib3 import HTTPResponse, Timeout
from urllib3.exceptions import ReadTimeoutError
from werkzeug.test import Client

from adbot_queue.core import outbound
from adbot_queue.core.outbound import Answer as Answered
from adbot_queue.core.outbound import Endpoint, Outbound, Unreachable
from adbot_queue.providers import registry, segment, solana, stripe_client, twilio
from local.settings import PUSH_HOST
from local.stand_ins.app import StandIns

PEERS = "http://peers.test"
STRIPE_BASE, SENDGRID_BASE = f"{PEERS}/stripe", f"{PEERS}/sendgrid"
Answer = Callable[[], tuple[int, Any]]


@dataclass
class Peers:
    """The stand-ins, and what comes before them: `instead` answers are given first, one a request."""

    stand_ins: StandIns
    instead: list[Answer] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    reports: list[Callable[[], None]] = field(default_factory=list)

    @property
    def texts(self) -> list[dict[str, Any]]:
        """Messages that Twilio took."""
        return list(self.stand_ins.twilio.messages)

    def report(self) -> None:
        """Have Twilio tell how far its messages came."""
        while self.reports:
            self.reports.pop(0)()

    @property
    def mails(self) -> list[dict[str, Any]]:
        return [entry["message"] for entry in self.stand_ins.sendgrid.messages]

    @property
    def notifications(self) -> list[dict[str, Any]]:
        return [entry["message"] for entry in self.stand_ins.push.messages]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [entry["event"] for entry in self.stand_ins.segment.events]

    def effects(self, provider: str) -> dict[str, dict[str, int]]:
        """What `GET /_effects` tells of a provider."""
        shown: dict[str, dict[str, int]] = Client(self.stand_ins).get("/_effects").get_json()[provider]
        return shown

    def pushed(self, place: Endpoint, body: bytes, headers: dict[str, str], deadline: float) -> Answered:
        """What a push service answers; every other place is not reached."""
        self.requests.append(f"POST {place.authority}{place.target}")
        self.timeouts.append(deadline)
        if self.instead:
            status, reported = self.instead.pop(0)()
            return Answered(status, reported)
        if place.authority != PUSH_HOST:
            raise Unreachable("could not connect (ConnectionRefusedError)")
        lower = {name.lower(): value for name, value in headers.items()}
        reply = self.stand_ins.push.respond("POST", place.target.removeprefix("/push"), lower, body)
        if reply.delay:
            raise Unreachable("no answer (TimeoutError)")
        refusal = json.dumps(reply.body).encode() if reply.status >= 400 else b""
        return Answered(reply.status, dict(reply.headers), refusal)

    def answer(
        self, method: str, url: str, headers: dict[str, str], body: str, timeout: float
    ) -> tuple[int, str, dict[str, str]]:
        """Call the stand-in that the address names; an answer later than `timeout` is a TimeoutError."""
        self.requests.append(f"{method} {url}")
        self.timeouts.append(timeout)
        if self.instead:
            status, answer = self.instead.pop(0)()
            return status, json.dumps(answer), {"request-id": "req_1"}
        address = urlsplit(url)
        _, name, path = address.path.split("/", 2)
        peer = getattr(self.stand_ins, name)
        lower = {key.lower(): value for key, value in headers.items()}
        reply = peer.respond(method.upper(), f"/{path}", lower, body or address.query)
        if reply.delay > timeout:
            raise TimeoutError("timed out")
        return reply.status, reply.body if isinstance(reply.body, str) else json.dumps(reply.body), dict(reply.headers)


class _StripeHttp(stripe.HTTPClient):
    name = "in-process"

    def __init__(self, peers: Peers, timeout: tuple[float, float]) -> None:
        super().__init__()
        self._peers = peers
        self._read_s = timeout[1]

    def request(self, method: str, url: str, headers: Any, post_data: Any = None) -> tuple[str, int, Any]:
        try:
            status, body, answered = self._peers.answer(method, url, dict(headers or {}), post_data or "", self._read_s)
        except TimeoutError as error:
            raise stripe.APIConnectionError("Request timed out", should_retry=True) from error
        return body, status, answered

    def _sleep_time_seconds(self, *_: Any, **__: Any) -> float:
        return 0.0

    def close(self) -> None:
        """Nothing to close."""


class _Pool:
    """urllib3's pool manager, as far as it is used."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def request(
        self, method: str, url: str, *, body: bytes | None, headers: dict[str, str], timeout: Timeout, retries: bool
    ) -> HTTPResponse:
        assert timeout.total is not None
        assert retries is False, "the job is what is tried again"
        try:
            status, text, answered = self._peers.answer(
                method, url, headers, (body or b"").decode(), float(timeout.total)
            )
        except TimeoutError as error:
            raise ReadTimeoutError(None, url, "Read timed out") from error  # type: ignore[arg-type]
        return HTTPResponse(body=text.encode(), headers=answered, status=status)


class _Answered:
    def __init__(self, status: int, body: str, headers: Message) -> None:
        self.getcode = lambda: status
        self.read = body.encode
        self.info = lambda: headers


def connect(monkeypatch: pytest.MonkeyPatch) -> Peers:
    """Have both libraries reach the stand-ins."""
    peers = Peers(StandIns("http://peers.test", lambda _payload, _headers: 200, lambda: "whsec_test"))

    peers.stand_ins.twilio.later = peers.reports.append

    def open_mail(_client: Any, _opener: Any, request: Any, timeout: float | None = None) -> _Answered:
        assert timeout or _client.timeout, "a mail must not be sent without a timeout"
        status, body, headers = peers.answer(
            request.get_method(),
            request.full_url,
            dict(request.headers),
            request.data.decode(),
            timeout or _client.timeout,
        )
        answered = Message()
        for name, value in headers.items():
            answered[name] = value
        if status >= 400:
            raise handle_error(HTTPError(request.full_url, status, "refused", answered, io.BytesIO(body.encode())))
        return _Answered(status, body, answered)

    monkeypatch.setattr(stripe, "RequestsClient", lambda timeout: _StripeHttp(peers, timeout))
    sending = Outbound()
    monkeypatch.setattr(sending, "_post", peers.pushed)
    monkeypatch.setattr(outbound, "from_env", lambda: sending)
    monkeypatch.setattr(segment, "_pool", lambda: _Pool(peers))
    monkeypatch.setattr(solana, "_pool", lambda: _Pool(peers))
    monkeypatch.setattr(twilio, "_pool", lambda: _Pool(peers))
    monkeypatch.setattr(python_http_client.Client, "_make_request", open_mail)
    places = {name: {"secret": name, "base": f"{PEERS}/{name}"} for name in registry.PROVIDERS}
    monkeypatch.setenv("PROVIDERS", json.dumps(places))
    registry._places.cache_clear()
    stripe_client.make.cache_clear()
    return peers


def down() -> tuple[int, Any]:
    """The network is."""
    raise stripe.APIConnectionError("connection refused", should_retry=True)


def refusing(status: int, message: str = "no", kind: str = "api_error") -> Answer:
    return lambda: (status, {"error": {"message": message, "type": kind}})
