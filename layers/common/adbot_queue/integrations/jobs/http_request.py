"""`http-request`: one HTTPS request to a team's own code, signed, retried, and never to an address inside.

The receiver verifies the Standard Webhooks signature (https://www.standardwebhooks.com) and takes `webhook-id` as its
idempotency key: it is the same at every attempt. Each receiver (host and port) has a circuit of its own.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from adbot_queue.core import outbound, telemetry
from adbot_queue.core.schema import Input
from adbot_queue.integrations import receivers
from adbot_queue.integrations.standard_webhooks import signed, signing_secrets
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.errors import PermanentError
from adbot_queue.jobs.job_types import DAY_S, HOUR_S, JobType
from adbot_queue.jobs.masking import MASK

MAX_BODY = 64 * 1024
"""Bytes of a request's body."""

MAX_ANSWER = 16 * 1024
"""Bytes of an answer's body that the job's result keeps."""

MAX_HEADERS = 50

OURS = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
        "proxy-connection",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
)
"""Headers that the sender sets itself."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e]{0,4096}")

Status = Annotated[int, Field(ge=200, le=599)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class HttpRequest(Input):
    """An HTTPS request.

    `authorization`, `cookie`, `secret_headers` and `secret_path` are masked wherever the job is shown.
    """

    url: str = Field(min_length=1, max_length=outbound.MAX_URL)
    secret_path: str = Field(
        default="", max_length=outbound.MAX_URL, description="Rest of the URL, from a slash on, where it is a secret"
    )
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict, max_length=MAX_HEADERS)
    secret_headers: list[Name] = Field(default_factory=list, max_length=MAX_HEADERS)
    body: Any = Field(default=None, description="Text is sent as it is, anything else as JSON")
    expected_statuses: list[Status] = Field(
        default_factory=list, max_length=50, description="Statuses that mean success; any 2xx when empty"
    )
    timeout_seconds: int = Field(default=15, ge=1, le=30)

    @field_validator("url")
    @classmethod
    def _url_can_be_reached(cls, url: str) -> str:
        try:
            outbound.from_env().place(url)
        except outbound.BadAddress as error:
            raise ValueError(str(error)) from error
        return url

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        names = [name.lower() for name in headers]
        for name, value in headers.items():
            if not _TOKEN.fullmatch(name):
                raise ValueError("names must be tokens of at most 128 characters, as RFC 9110 defines them")
            if name.lower() in OURS:
                raise ValueError(f"must not hold {name.lower()}: the sender sets it")
            if not _VALUE.fullmatch(value):
                raise ValueError(f"{name.lower()} must be printable ASCII of at most 4096 characters")
            if value == MASK:
                raise ValueError(f"{name.lower()} is masked: send its value")
        if len(set(names)) != len(names):
            raise ValueError("must name each header once, whatever its case")
        return headers

    @model_validator(mode="after")
    def _secret_path_ends_the_url(self) -> Self:
        if self.secret_path == MASK:
            raise ValueError("secret_path: it is masked: send its value")
        if self.secret_path and not self.secret_path.startswith("/"):
            raise ValueError("secret_path: must begin with /")
        try:
            outbound.from_env().place(self.address)
        except outbound.BadAddress as error:
            raise ValueError(f"secret_path: with it the URL {error}") from error
        return self

    @property
    def address(self) -> str:
        """The whole URL."""
        return self.url + self.secret_path

    @model_validator(mode="after")
    def _body_can_be_sent(self) -> Self:
        if self.body is not None and self.method == "GET":
            raise ValueError("body: a GET has none")
        if len(self.content()[0]) > MAX_BODY:
            raise ValueError(f"body: must be at most {MAX_BODY} bytes")
        return self

    def content(self) -> tuple[bytes, str]:
        """Return the body's bytes and their content type."""
        if self.body is None:
            return b"", ""
        if isinstance(self.body, str):
            return self.body.encode(), "text/plain; charset=utf-8"
        return json.dumps(self.body, separators=(",", ":"), allow_nan=False).encode(), "application/json"


def http_request(payload: HttpRequest, context: Context) -> dict[str, Any]:
    """Send the request.

    Returns:
        status; body: the answer's, JSON or text, its first 16 KB; truncated: it was longer; message_id: the
        `webhook-id` that was sent, the same at every attempt.

    Raises:
        PermanentError: the receiver refused it (a 4xx other than 408, 409, 425 and 429), or its address is not public.
        TransientError: no answer, or a status that asks to come again.
        CircuitIsOpen: the receiver is failing, and is not asked.
        NotConfigured, Unavailable: as `signing_secrets`.
    """
    content, content_type = payload.content()
    message_id = f"msg_{context.idempotency_key}"
    headers = {"user-agent": "adbot-queue"} | ({"content-type": content_type} if content_type else {})
    headers |= {name.lower(): value for name, value in payload.headers.items()}
    headers |= signed(message_id, context.now(), content.decode(), signing_secrets())
    answer = receivers.call(
        payload.address,
        payload.timeout_seconds,
        context,
        lambda seconds: outbound.from_env().request(
            payload.method, payload.address, content, headers, seconds, MAX_ANSWER + 1
        ),
        payload.expected_statuses,
    )
    expected = payload.expected_statuses or range(HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES)
    if answer.status in expected:
        telemetry.count("HttpRequestsSent")
        return {"status": answer.status, "message_id": message_id, **_shown(answer)}
    if answer.status < HTTPStatus.BAD_REQUEST:
        raise PermanentError(f"the receiver answered HTTP {answer.status}, which is not expected")
    raise receivers.refusal(answer, context)


def _shown(answer: outbound.Answer) -> dict[str, Any]:
    text = answer.body[:MAX_ANSWER].decode(errors="replace")
    cut = len(answer.body) > MAX_ANSWER
    if not cut and "json" in answer.headers.get("content-type", ""):
        try:
            return {"body": json.loads(text, parse_constant=_refuse), "truncated": False}
        except (ValueError, RecursionError):
            pass
    return {"body": text, "truncated": cut}


def _refuse(constant: str) -> None:
    raise ValueError(constant)


JOB = JobType(
    queue="http",
    payload=HttpRequest,
    handler=http_request,
    timeout_s=35,
    horizon_s=DAY_S,
    cap_s=HOUR_S,
    example={"url": "https://example.com/orders", "headers": {"x-shop": "7"}, "body": {"order_id": "ord_1"}},
)
