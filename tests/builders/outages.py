"""Providers that fail, throttle or refuse us for as long as a test says, in the shapes of their own answers.

`Weather` is in front of the stand-ins (`tests.builders.providers`) and of the AWS clients that jobs call. `Story` plays
a job by the test's clock: each attempt at the moment that the platform chose.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from urllib3.exceptions import NewConnectionError

from adbot_queue.core import aws
from adbot_queue.core.outbound import Answer as Answered
from adbot_queue.core.outbound import Endpoint, Outbound, Unreachable
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.worker.message import JobMessage
from adbot_queue.messaging import otp_codes as codes
from adbot_queue.platform import circuit_breaker as circuits
from adbot_queue.platform import rate_limits as limits
from adbot_queue.tickets.jobs import nft_mint as nft
from tests.builders.calls import _Raw, reach_bedrock
from tests.builders.jobs import Jobs
from tests.builders.providers import Peers

Shape = tuple[int, Any, dict[str, str]]
RETRY = {"retry-after": "20"}


def aws_error(status: int, code: str, message: str = "no") -> Shape:
    return status, {"__type": code, "message": message}, {"x-amzn-errortype": code}


def stripe_error(status: int, kind: str, code: str, headers: dict[str, str] | None = None) -> Shape:
    return status, {"error": {"type": kind, "code": code, "message": "no"}}, headers or {}


def sendgrid_error(status: int, message: str, headers: dict[str, str] | None = None) -> Shape:
    return status, {"errors": [{"message": message, "field": None, "help": None}]}, headers or {}


def twilio_error(status: int, code: int, headers: dict[str, str] | None = None) -> Shape:
    return status, {"code": code, "message": "no", "more_info": "", "status": status}, headers or {}


SHAPES: dict[str, dict[str, Shape]] = {
    "stripe": {
        "500": stripe_error(500, "api_error", "api_error", {"stripe-should-retry": "true"}),
        "503": stripe_error(503, "api_error", "api_error"),
        "throttled with headers": stripe_error(429, "rate_limit_error", "rate_limit", RETRY),
        "throttled": stripe_error(429, "rate_limit_error", "rate_limit", {"stripe-should-retry": "true"}),
        "revoked key": stripe_error(401, "invalid_request_error", "api_key_expired"),
        "quota": stripe_error(403, "invalid_request_error", "account_invalid"),
    },
    "sendgrid": {
        "500": sendgrid_error(500, "Internal Server Error"),
        "503": sendgrid_error(503, "Service Unavailable"),
        "throttled with headers": sendgrid_error(429, "too many requests", RETRY),
        "throttled": sendgrid_error(429, "too many requests", {"x-ratelimit-remaining": "0"}),
        "revoked key": sendgrid_error(401, "The provided authorization grant is invalid, expired, or revoked"),
        "quota": sendgrid_error(401, "Maximum credits exceeded"),
    },
    "twilio": {
        "500": twilio_error(500, 20500),
        "503": twilio_error(503, 20503),
        "throttled with headers": twilio_error(429, 20429, RETRY),
        "throttled": twilio_error(429, 20429),
        "revoked key": twilio_error(401, 20003),
        "quota": twilio_error(429, 63038),
    },
    "segment": {
        "500": (500, {"success": False}, {}),
        "503": (503, "<html>", {}),
        "throttled with headers": (429, {"success": False}, RETRY),
        "throttled": (429, {"success": False}, {}),
        "revoked key": (401, {"success": False, "message": "invalid write key"}, {}),
        "quota": (402, {"success": False}, {}),
    },
    "solana": {
        "500": (500, "<html>", {}),
        "503": (503, "<html>", {}),
        "throttled with headers": (429, {"jsonrpc": "2.0", "error": {"code": 429, "message": "Too many"}}, RETRY),
        "throttled": (200, {"jsonrpc": "2.0", "error": {"code": -32005, "message": "limit reached"}}, {}),
        "revoked key": (401, {"error": "invalid api key"}, {}),
        "quota": (402, {"error": "plan"}, {}),
    },
    "bedrock": {
        "500": aws_error(500, "InternalServerException"),
        "503": aws_error(503, "ServiceUnavailableException"),
        "throttled with headers": aws_error(429, "ThrottlingException", RETRY),
        "throttled": aws_error(429, "ThrottlingException"),
        "revoked key": aws_error(403, "AccessDeniedException"),
        "quota": aws_error(400, "ServiceQuotaExceededException"),
    },
    "cognito": {
        "500": aws_error(500, "InternalErrorException"),
        "503": aws_error(503, "ServiceUnavailable"),
        "throttled with headers": aws_error(400, "TooManyRequestsException", RETRY),
        "throttled": aws_error(400, "TooManyRequestsException"),
        "revoked key": aws_error(400, "NotAuthorizedException"),
        "quota": aws_error(400, "LimitExceededException"),
    },
    "plugins": {
        "500": aws_error(500, "ServiceException"),
        "503": aws_error(503, "ServiceUnavailableException"),
        "throttled with headers": aws_error(429, "TooManyRequestsException", RETRY),
        "throttled": aws_error(429, "TooManyRequestsException"),
        "revoked key": aws_error(403, "AccessDeniedException"),
        "quota": (
            429,
            {"message": "Rate Exceeded.", "Reason": "ConcurrentInvocationLimitExceeded"},
            {"x-amzn-errortype": "TooManyRequestsException"},
        ),
    },
    "push": {
        "500": (500, "", {}),
        "503": (503, "", {}),
        "throttled with headers": (429, "", RETRY),
        "throttled": (406, "", {}),
        "revoked key": (403, {"reason": "BadJwtToken"}, {}),
        "quota": (429, "", {}),
    },
}
FAILURES = ("refused", "timeout", *SHAPES["stripe"])
SPENT = {"refused", "timeout", "500", "503"}
"""Those in which an attempt is spent: the provider was out of order."""


REFUSED: dict[str, Callable[[], Exception]] = {
    "stripe": lambda: stripe.APIConnectionError("connection refused", should_retry=True),
    "push": lambda: Unreachable("could not connect (ConnectionRefusedError)"),
    "bedrock": lambda: EndpointConnectionError(endpoint_url="https://bedrock.test"),
    **dict.fromkeys(("twilio", "segment", "solana"), lambda: NewConnectionError(None, "refused")),  # type: ignore[arg-type,return-value]
}


class Weather:
    """What becomes of calls while `failure` or `shape` is set; `calls` names the provider of each that was made."""

    def __init__(self, peers: Peers) -> None:
        self.failure: str | None = None
        self.shape: Shape | None = None
        self.calls: list[str] = []
        self.done: list[str] = []
        self._answer, self._pushed = peers.answer, peers.pushed

    @property
    def bad(self) -> bool:
        return self.failure is not None or self.shape is not None

    def of(self, provider: str) -> Shape:
        """The answer of a provider that fails so; raises where there is none."""
        if self.shape:
            return self.shape
        if self.failure == "timeout":
            raise TimeoutError("timed out")
        if self.failure == "refused":
            error = REFUSED.get(provider, ConnectionRefusedError)()
            raise error
        return SHAPES[provider][str(self.failure)]

    def answer(self, method: str, url: str, *rest: Any) -> tuple[int, str, dict[str, str]]:
        """As `Peers.answer`."""
        provider = urlsplit(url).path.split("/")[1]
        self.calls.append(provider)
        if not self.bad:
            return self._answer(method, url, *rest)
        status, body, headers = self.of(provider)
        return status, body if isinstance(body, str) else json.dumps(body), headers

    def pushed(self, place: Endpoint, *rest: Any) -> Answered:
        """As `Peers.pushed`."""
        self.calls.append("push")
        if not self.bad:
            return self._pushed(place, *rest)
        try:
            status, body, headers = self.of("push")
        except TimeoutError as error:
            raise Unreachable("no answer (TimeoutError)") from error
        return Answered(status, headers, json.dumps(body).encode())

    def before_send(self, name: str, request: Any) -> AWSResponse | None:
        """What an AWS client gets: of Lambda, or of Cognito."""
        self.calls.append(name)
        if not self.bad:
            if name == "cognito":
                return None  # moto answers
            self.done.append(json.loads(request.body)["idempotency_key"])
            return AWSResponse(request.url, 200, {"x-amzn-requestid": "r"}, _Raw(b'{"done": true}'))
        try:
            status, body, headers = self.of(name)
        except TimeoutError:
            raise ReadTimeoutError(endpoint_url=request.url) from None
        except ConnectionRefusedError:
            raise EndpointConnectionError(endpoint_url=request.url) from None
        return AWSResponse(request.url, status, headers, _Raw(json.dumps(body).encode()))


@contextmanager
def weather(monkeypatch: pytest.MonkeyPatch, peers: Peers) -> Iterator[Weather]:
    """Every provider, under a weather that the test makes."""
    made = Weather(peers)
    monkeypatch.setattr(peers, "answer", made.answer)
    reach_bedrock(monkeypatch, peers)
    outbounds = Outbound(receivers={"peers.test": 80})
    monkeypatch.setattr(outbounds, "_post", made.pushed)
    monkeypatch.setattr("adbot_queue.core.outbound.from_env", lambda: outbounds)
    plugins = aws.plugins

    def plugin_client(read_s: int) -> Any:
        plugins.cache_clear()
        client = plugins(read_s)
        client.meta.events.register_first("before-send", lambda request, **_: made.before_send("plugins", request))
        return client

    def cognito(request: Any, **_: Any) -> AWSResponse | None:
        return made.before_send("cognito", request)

    monkeypatch.setattr(aws, "plugins", plugin_client)
    aws.cognito().meta.events.register_first("before-send", cognito)
    monkeypatch.setattr(nft, "pause", lambda _seconds: None)
    try:
        yield made
    finally:
        aws.cognito().meta.events.unregister("before-send", cognito)
        plugins.cache_clear()


def by_clock(monkeypatch: pytest.MonkeyPatch, jobs: Jobs) -> None:
    """Circuits, rates and codes go by the clock of the test."""
    for module in (circuits, limits, codes):
        module.from_env.cache_clear()
        monkeypatch.setattr(module.from_env(), "_now", jobs.clock)
    monkeypatch.setattr(circuits.from_env(), "_seconds", lambda: jobs.clock() / 1000)


def attempt(jobs: Jobs, job: Job) -> Job:
    """One attempt at a job, at the moment that is its turn."""
    current = jobs.get(job)
    jobs.clock.now = max(jobs.clock(), current.run_at or 0)
    jobs.worker.work([JobMessage(current.id, current.queue, current.rank)], lambda: 200_000)
    return jobs.get(job)


def tries(job: Job) -> int:
    """Attempts that were spent, as far as the row remembers them."""
    free = {"snoozed", "throttled", "provider_closed"}
    return sum(one.failure is None or one.failure.kind not in free for one in job.attempts)


def browser(peers: Peers) -> dict[str, Any]:
    """A browser's subscription, as callers give it."""
    made = peers.stand_ins.push.subscribe()
    return {"endpoint": made["endpoint"], "keys": made["keys"]}
