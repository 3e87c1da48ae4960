"""Unit tests: no network, an AWS in the process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from adbot_queue.core import aws
from tests.builders.world import AwsHarness, world


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a unit test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True, scope="module")
def _clients_stay_as_they_are() -> Iterator[None]:
    """A handler that a test leaves on a client of the process slows or changes every later test."""
    before = _handlers()
    yield
    left = _handlers()
    assert {name: left[name] for name in before.keys() & left.keys()} == {
        name: before[name] for name in before.keys() & left.keys()
    }


def _handlers() -> dict[str, int]:
    made = (aws.dynamodb, aws.sqs, aws.events, aws.sns, aws.secrets_manager, aws.s3, aws.functions, aws.cognito)
    return {
        one.__name__: _count(one().meta.events._emitter._handlers._root)  # type: ignore[attr-defined]
        for one in made
        if one.cache_info().currsize
    }


def _count(node: dict[str, Any]) -> int:
    """Count the handlers in a part of botocore's tree of events."""
    return sum(map(len, node["values"] or ())) + sum(map(_count, node["children"].values()))


@pytest.fixture
def on_aws() -> Iterator[AwsHarness]:
    """The project on an empty AWS."""
    with world() as made:
        yield made
