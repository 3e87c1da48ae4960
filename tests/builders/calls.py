"""AWS services that jobs call, without a socket: Bedrock by its stand-in, Lambda by what a test says it answers."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from adbot_queue.core import aws
from adbot_queue.providers import registry
from tests.builders.providers import Peers

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def providers(**changes: dict[str, str]) -> Iterator[None]:
    """PROVIDERS with other settings for some: `providers(bedrock={"model": ""})`."""
    places: dict[str, dict[str, str]] = json.loads(os.environ["PROVIDERS"])
    for name, settings in changes.items():
        places[name] = places.get(name, {}) | settings
    with patch.dict(os.environ, {"PROVIDERS": json.dumps(places)}):
        registry._places.cache_clear()
        yield
    registry._places.cache_clear()


def answer_calls(client: Any, answer: Callable[[AWSPreparedRequest], Answer]) -> None:
    """Have a client's requests answered here: they are made and read by botocore, and go nowhere."""

    def before_send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        status, headers, body = answer(request)
        return AWSResponse(request.url, status, headers, _Raw(body))

    client.meta.events.register_first("before-send", before_send)


def reach_bedrock(monkeypatch: pytest.MonkeyPatch, peers: Peers) -> None:
    """Have every Bedrock client reach the stand-in."""
    made = aws.bedrock

    def bedrock(endpoint: str, read_s: int) -> Any:
        def ask(request: AWSPreparedRequest) -> Answer:
            headers = {name: _text(value) for name, value in request.headers.items()}
            try:
                status, body, answered = peers.answer("POST", request.url, headers, _text(request.body), read_s)
            except TimeoutError:
                from botocore.exceptions import ReadTimeoutError  # noqa: PLC0415

                raise ReadTimeoutError(endpoint_url=request.url) from None
            return status, answered, body.encode()

        made.cache_clear()
        client = made(endpoint, read_s)
        answer_calls(client, ask)
        return client

    monkeypatch.setattr(aws, "bedrock", bedrock)


class _Raw(io.BytesIO):
    """A body as urllib3 hands it over."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()

    def release_conn(self) -> None:
        """There is no connection."""


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
